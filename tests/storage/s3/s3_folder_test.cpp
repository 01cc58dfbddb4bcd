// Folders on a server that checks every signature with botocore.
#include "storage/s3/aws_signature.h"
#include "tests/storage/s3/s3_fixture.h"

#include <map>
#include <nlohmann/json.hpp>

namespace audiobookd::storage {
namespace {

using Files = std::map<std::string, std::string>;
using tests::FakeS3;

class S3FolderTest : public tests::S3Fixture {
protected:
  std::unique_ptr<FolderPublication> staged(const Files& files, std::string* description) {
    auto publication = storage_->open_folder("book", "job");
    std::string version;
    for (const auto& [name, content] : files) {
      publication->add(name).append(std::as_bytes(std::span(content)));
      version += name + content;
    }
    nlohmann::json json;
    for (const std::string& name : publication->settle(version)) {
      json["files"].push_back({{"name", name}});
    }
    publication->note_fingerprint(std::to_string(std::hash<std::string>()(version)));
    *description = json.dump();
    return publication;
  }
  PublishResult publish(const Files& files, IfExists if_exists, const std::function<bool()>& still_mine = {}) {
    std::string description;
    const auto publication = staged(files, &description);
    return publication->commit(description, if_exists, still_mine);
  }
  /// The book as its description tells it, without the mark in names.
  Files book() {
    Files files;
    const std::string description = server_.content("books/out/book/metadata.json");
    if (description.empty()) {
      return files;
    }
    const nlohmann::json json = nlohmann::json::parse(description);
    for (const auto& file : json.at("files")) {
      const auto name = file.at("name").get<std::string>();
      const std::size_t dot = name.rfind('.');
      files[name.substr(0, dot - 9) + name.substr(dot)] =
          server_.content("books/out/book/" + s3::percent_encode_path(name));
    }
    return files;
  }
  std::vector<std::string> keys() {
    std::vector<std::string> names;
    const nlohmann::json state = server_.state();
    for (const auto& [path, object] : state.at("objects").items()) {
      if (path.find("probe") == std::string::npos) {
        names.push_back(path);
      }
    }
    return names;
  }
  static int times_published() {
    const nlohmann::json description = server_.object("books/out/book/metadata.json");
    return description.is_null() ? 0 : description.at("written").get<int>();
  }

  std::unique_ptr<S3Storage> storage_ = make(settings());
  const Files old_{{"1.mp3", "one"}, {"2+ä.mp3", "two"}};
  const Files new_{{"1.mp3", "ONE"}, {"3.mp3", "three"}};
};

TEST_F(S3FolderTest, IsABookOnceItsDescriptionIsThere) {
  std::string description;
  const auto publication = staged(old_, &description);
  EXPECT_TRUE(keys().empty()) << "nothing is uploaded before";
  EXPECT_EQ(publication->commit(description, IfExists::fail, {}), PublishResult::published);
  EXPECT_EQ(book(), old_);
  EXPECT_EQ(keys().size(), 3U);
  EXPECT_TRUE(storage_->output_exists("book/metadata.json"));
  EXPECT_TRUE(storage_->output_fingerprint("book/metadata.json").has_value());
  EXPECT_EQ(publication->target(), "s3://books/out/book");
}

TEST_F(S3FolderTest, DoesWhatIfExistsSays) {
  EXPECT_EQ(publish(old_, IfExists::skip), PublishResult::published);
  EXPECT_EQ(publish(old_, IfExists::fail), PublishResult::identical);
  EXPECT_EQ(publish(new_, IfExists::fail), PublishResult::exists);
  EXPECT_EQ(publish(new_, IfExists::skip), PublishResult::skipped);
  EXPECT_EQ(book(), old_);
  EXPECT_EQ(keys().size(), 3U) << "what is not published is not uploaded";
  EXPECT_EQ(times_published(), 1);
  EXPECT_EQ(publish(new_, IfExists::replace), PublishResult::published);
  EXPECT_EQ(book(), new_);
}

TEST_F(S3FolderTest, OfAReplacedBookNothingIsLeft) {
  publish(old_, IfExists::fail);
  server_.put("books", "out/book/notes.txt", "a listener's");
  server_.put("books", "out/book/1.12345678.mp3", "of a run that goes on");
  server_.order(
      {{"op", "put"}, {"bucket", "books"}, {"key", "out/book/1 + 2.12345679.mp3"}, {"data", "old"}, {"age_s", 90'000}});
  server_.order(
      {{"op", "put"}, {"bucket", "books"}, {"key", "out/book/old notes.txt"}, {"data", "old"}, {"age_s", 90'000}});
  publish(new_, IfExists::replace);
  EXPECT_EQ(book(), new_);
  const auto left = keys();
  EXPECT_EQ(left.size(), 3U + 3U) << "a listener's two files, those of a run that goes on; not those of one that died";
  EXPECT_TRUE(server_.object("books/out/book/1 + 2.12345679.mp3").is_null());
  EXPECT_EQ(server_.content("books/out/book/notes.txt"), "a listener's");
}

TEST_F(S3FolderTest, ADescriptionOfStrangersRemovesNothing) {
  server_.put("books", "out/other.12345678.mp3", "another book's");
  server_.put("books", "out/book/metadata.json",
              R"({"files":[{"name":"../other.12345678.mp3"},{"name":5},7,{"name":"notes.txt"}]})");
  server_.put("books", "out/book/notes.txt", "a listener's");
  EXPECT_EQ(publish(new_, IfExists::replace), PublishResult::published);
  EXPECT_EQ(server_.content("books/out/other.12345678.mp3"), "another book's");
  EXPECT_EQ(server_.content("books/out/book/notes.txt"), "a listener's");
}

TEST_F(S3FolderTest, WithoutTheRightToListOrRemoveItIsPublishedAllTheSame) {
  publish(old_, IfExists::fail);
  server_.order({{"op", "set"}, {"forbidden", {"list", "delete"}}});
  EXPECT_EQ(publish(new_, IfExists::replace), PublishResult::published);
  EXPECT_EQ(book(), new_);
}

TEST_F(S3FolderTest, WhatIsNoLongerMineIsNoBook) {
  EXPECT_EQ(publish(old_, IfExists::replace, [] { return false; }), PublishResult::lost);
  EXPECT_TRUE(keys().empty());
  int questions = 0;
  EXPECT_EQ(publish(old_, IfExists::replace, [&] { return ++questions < 3; }), PublishResult::lost);
  EXPECT_EQ(keys().size(), 2U) << "uploaded, and no book";
  EXPECT_EQ(times_published(), 0);
  EXPECT_EQ(publish(old_, IfExists::fail), PublishResult::published);
  EXPECT_EQ(keys().size(), 3U) << "the next run takes up what the first one has uploaded";
  for (const std::string& key : keys()) {
    EXPECT_EQ(server_.object(key).at("written"), 1);
  }
}

TEST_F(S3FolderTest, ABookThatAppearsInTheLastMomentIsKept) {
  std::string description;
  const auto slow = staged(new_, &description);
  int questions = 0;
  const auto somebody_is_faster = [&] {
    if (++questions == 3) {
      publish(old_, IfExists::fail);
    }
    return true;
  };
  EXPECT_EQ(slow->commit(description, IfExists::fail, somebody_is_faster), PublishResult::exists);
  EXPECT_EQ(book(), old_);
  EXPECT_EQ(times_published(), 1);
}

TEST_F(S3FolderTest, WhatIsClearedIsWrittenAnewAndLongFilesTravelInParts) {
  auto publication = storage_->open_folder("book", "job");
  publication->add("0.mp3").append(std::as_bytes(std::span(std::string_view("gone"))));
  publication->clear();
  publication->add("1.mp3").append(std::as_bytes(std::span(std::string_view("first"))));
  ByteSink& second = publication->add("2.mp3");
  std::string content = long_content(250'000);
  second.append(std::as_bytes(std::span(std::string_view("wrong"))));
  second.clear();
  second.append(std::as_bytes(std::span(content)));
  second.overwrite(10, std::as_bytes(std::span(std::string_view("header"))));
  EXPECT_EQ(second.size(), content.size());
  content.replace(10, 6, "header");
  const auto names = publication->settle("version");
  ASSERT_EQ(names.size(), 2U);
  EXPECT_EQ(publication->commit("{}", IfExists::fail, {}), PublishResult::published);
  EXPECT_EQ(server_.content("books/out/book/" + names[0]), "first");
  EXPECT_TRUE(server_.content("books/out/book/" + names[1]) == content);
}

} // namespace
} // namespace audiobookd::storage
