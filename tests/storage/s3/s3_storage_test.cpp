// Reading and publishing on a server that checks every signature with botocore.
#include "tests/storage/s3/s3_fixture.h"

namespace audiobookd::storage {
namespace {

using tests::FakeS3;
using tests::throws_with;

class S3StorageTest : public tests::S3Fixture {
protected:
  auto reading(const std::string& name, std::uint64_t max_bytes = 1000) {
    return [this, name, max_bytes] { (void)storage_->read_input(name, max_bytes); };
  }
  PublishResult publish(const std::string& content, IfExists if_exists, const std::function<bool()>& still_mine = {}) {
    return S3Fixture::publish(*storage_, "book.mp3", content, if_exists, still_mine);
  }
  /// How often a book was written that others saw.
  static int times_written() { return server_.object("books/out/book.mp3").value("written", 0); }

  std::unique_ptr<S3Storage> storage_ = make(settings());
};

TEST_F(S3StorageTest, ReadsInputsWithAllThatKeysMayContain) {
  for (const std::string name : {"plain.txt", "with space.txt", "a+b.txt", "100%.txt", "%41.txt", "Zürich/本.epub",
                                 "~tilde.txt", "a//b.txt", "q?m=1&n#x.txt", "quote'(star)*!.txt"}) {
    server_.put("books", "in/" + name, "content of " + name);
    EXPECT_EQ(storage_->read_input(name, 1000), "content of " + name);
    EXPECT_EQ(storage_->read_input("s3://books/in/" + name, 1000), "content of " + name);
  }
  server_.put("books", "in/empty.txt", "");
  EXPECT_EQ(storage_->read_input("empty.txt", 0), "");
}

TEST_F(S3StorageTest, RefusesAnInputAboveTheLimit) {
  server_.put("books", "in/a.txt", "Call me Ishmael.");
  EXPECT_EQ(storage_->read_input("a.txt", 16), "Call me Ishmael.");
  EXPECT_TRUE(
      throws_with<PermanentError>(reading("a.txt", 15), "'s3://books/in/a.txt' is too large: 16 bytes, at most 15"));
}

TEST_F(S3StorageTest, SaysWhyAnInputCannotBeRead) {
  EXPECT_TRUE(throws_with<PermanentError>(reading("lost.txt"), "'s3://books/in/lost.txt': HTTP 404 NoSuchKey"));
  EXPECT_TRUE(throws_with<PermanentError>(reading("../out/a.txt"), "'..'"));
  EXPECT_TRUE(throws_with<PermanentError>(reading("s3://books/out/a.txt"), "below none of the configured roots"));
  const auto other_place = [&](const std::string& root) {
    const S3Storage other(settings(), {{s3::parse_root(root)}, {}}, wallet(FakeS3::secret_access_key));
    (void)other.read_input("a.txt", 10);
  };
  EXPECT_TRUE(throws_with<PermanentError>([&] { other_place("s3://no-bucket"); }, "there is no such bucket"));
  EXPECT_TRUE(throws_with<PermanentError>([&] { other_place("s3://forbidden-bucket"); },
                                          "'s3://forbidden-bucket/a.txt': HTTP 403 AccessDenied (Access Denied)"));
}

TEST_F(S3StorageTest, SaysWhyTheServerDoesNotTakeTheCredentials) {
  const S3Storage stranger(settings(), {{{"books", ""}}, {}}, wallet("wrong secret"));
  const auto reading_with_it = [&] { (void)stranger.read_input("a.txt", 10); };
  EXPECT_TRUE(throws_with<PermanentError>(reading_with_it, "SignatureDoesNotMatch"));
  EXPECT_FALSE(throws_with<PermanentError>(reading_with_it, "wrong secret"));
}

TEST_F(S3StorageTest, NamesTheRegionOfABucketThatIsElsewhere) {
  S3Settings elsewhere = settings();
  elsewhere.client.region = "us-east-1";
  EXPECT_TRUE(throws_with<PermanentError>([&] { (void)make(elsewhere)->read_input("a.txt", 10); },
                                          "the bucket is in region 'eu-test-1': set it in [s3]"));
}

TEST_F(S3StorageTest, NewCredentialsAreTakenWhenTheServerRejectsTheOldOnes) {
  class Changing final : public s3::CredentialSource {
  public:
    [[nodiscard]] std::optional<s3::Grant> look(std::string&, const std::stop_token&) const override {
      return s3::Grant{{FakeS3::access_key_id, FakeS3::secret_access_key, ++looks_ == 1 ? "expired" : "new"}, {}};
    }

  private:
    mutable int looks_ = 0;
  };
  server_.order({{"op", "set"}, {"accounts", {{FakeS3::access_key_id, {FakeS3::secret_access_key, "new"}}}}});
  server_.put("books", "a.txt", "text");
  std::vector<std::unique_ptr<s3::CredentialSource>> sources;
  sources.push_back(std::make_unique<Changing>());
  const S3Storage storage(settings(), {{{"books", ""}}, {}}, std::make_shared<s3::Wallet>(std::move(sources)));
  EXPECT_EQ(storage.read_input("a.txt", 10), "text") << "and a session token is sent and signed";
}

TEST_F(S3StorageTest, AClockThatIsWrongIsMadeUpFor) {
  server_.order({{"op", "set"}, {"clock_offset_s", 5000}});
  server_.put("books", "in/a.txt", "text");
  EXPECT_EQ(storage_->read_input("a.txt", 10), "text");
  EXPECT_EQ(storage_->read_input("a.txt", 10), "text");
  EXPECT_EQ(server_.count("GET"), 3) << "refused once, then known";
}

TEST_F(S3StorageTest, BucketsAreNamedByHostWhereThatIsWanted) {
  S3Settings by_host = settings();
  by_host.client.addressing = s3::Addressing::by_host;
  const std::string numeric = server_.endpoint();
  by_host.client.endpoint = "http://localhost" + numeric.substr(numeric.rfind(':')); // curl resolves *.localhost itself
  const auto storage = make(by_host);
  server_.put("books", "in/a+b c.txt", "text");
  EXPECT_EQ(storage->read_input("a+b c.txt", 10), "text");
  EXPECT_EQ(S3Fixture::publish(*storage, "book.mp3", long_content(250'000), IfExists::fail), PublishResult::published);
  EXPECT_FALSE(server_.object("books/out/book.mp3").is_null());
}

TEST_F(S3StorageTest, TrustsTheCertificatesThatAreNamedAndNoOthers) {
  tests::FakeS3 with_tls(folder_.path());
  with_tls.put("books", "in/a.txt", "text");
  S3Settings trusting = settings();
  trusting.client.endpoint = with_tls.endpoint();
  EXPECT_TRUE(throws_with<PermanentError>([&] { (void)make(trusting)->read_input("a.txt", 10); }, "certificate"));
  trusting.client.http.ca_file = folder_ / "cert.pem";
  EXPECT_EQ(make(trusting)->read_input("a.txt", 10), "text");
  trusting.client.http.ca_file = folder_ / "missing.pem";
  EXPECT_TRUE(throws_with<PermanentError>([&] { (void)make(trusting)->read_input("a.txt", 10); }, "missing.pem"));
}

TEST_F(S3StorageTest, RefusesAnEndpointThatIsNone) {
  for (const char* endpoint : {"s3.example.com", "ftp://s3.example.com", "http://", "https://host/path"}) {
    S3Settings wrong = settings();
    wrong.client.endpoint = endpoint;
    EXPECT_TRUE(throws_with<PermanentError>([&] { (void)make(wrong); }, endpoint));
  }
}

TEST_F(S3StorageTest, PublishesWithHeadersThatWereRewritten) {
  EXPECT_FALSE(storage_->output_exists("book.mp3"));
  const auto publication = storage_->open_output("book.mp3", "");
  publication->append(std::as_bytes(std::span(std::string_view("??? content"))));
  publication->overwrite(0, std::as_bytes(std::span(std::string_view("ID3"))));
  publication->note_fingerprint("11:abc");
  EXPECT_EQ(publication->target(), "s3://books/out/book.mp3");
  EXPECT_EQ(publication->commit(IfExists::fail, {}), PublishResult::published);
  EXPECT_TRUE(storage_->output_exists("book.mp3"));
  EXPECT_EQ(read_output(*storage_, "book.mp3"), "ID3 content");
  EXPECT_EQ(storage_->output_fingerprint("book.mp3"), "11:abc");
  EXPECT_EQ(storage_->output_fingerprint("other.mp3"), std::nullopt);
}

TEST_F(S3StorageTest, LargeOutputsTravelInParts) {
  const std::string content = long_content(250'001);
  EXPECT_EQ(publish(content, IfExists::fail), PublishResult::published);
  EXPECT_TRUE(read_output(*storage_, "book.mp3") == content);
  EXPECT_EQ(server_.count("PUT", "partNumber="), 1 + 3) << "one of the probe";
  EXPECT_TRUE(storage_->output_fingerprint("book.mp3").has_value());
  EXPECT_TRUE(server_.state().at("uploads").empty());
  EXPECT_EQ(publish(content, IfExists::fail), PublishResult::identical);
  EXPECT_EQ(publish(content + "x", IfExists::fail), PublishResult::exists);
  EXPECT_EQ(publish(content + "x", IfExists::skip), PublishResult::skipped);
  EXPECT_EQ(times_written(), 1);
  EXPECT_TRUE(server_.state().at("uploads").empty());
  EXPECT_EQ(publish(content + "x", IfExists::replace), PublishResult::published);
  EXPECT_EQ(server_.object("books/out/book.mp3").at("bytes"), content.size() + 1);
}

TEST_F(S3StorageTest, DoesWhatIfExistsSays) {
  EXPECT_EQ(publish("book", IfExists::fail), PublishResult::published);
  EXPECT_EQ(publish("other", IfExists::fail), PublishResult::exists);
  EXPECT_EQ(publish("other", IfExists::skip), PublishResult::skipped);
  EXPECT_EQ(publish("book", IfExists::fail), PublishResult::identical);
  EXPECT_EQ(times_written(), 1);
  EXPECT_EQ(publish("other", IfExists::replace), PublishResult::published);
  EXPECT_EQ(read_output(*storage_, "book.mp3"), "other");
}

TEST_F(S3StorageTest, WithoutAFingerprintTheContentIsCompared) {
  const std::string content = long_content(300'000);
  std::string other = content;
  other.back() ^= 1;
  server_.order({{"op", "put"}, {"bucket", "books"}, {"key", "out/book.mp3"}, {"data", "book"}});
  EXPECT_EQ(publish("book", IfExists::fail), PublishResult::identical);
  EXPECT_EQ(publish("bonk", IfExists::fail), PublishResult::exists);
  const auto publication = storage_->open_output("long.mp3", "");
  publication->append(std::as_bytes(std::span(content)));
  EXPECT_EQ(publication->commit(IfExists::fail, {}), PublishResult::published);
  EXPECT_EQ(S3Fixture::publish(*storage_, "long.mp3", content, IfExists::fail), PublishResult::identical);
  EXPECT_EQ(S3Fixture::publish(*storage_, "long.mp3", other, IfExists::fail), PublishResult::exists);
}

TEST_F(S3StorageTest, PublishesNothingThatIsNoLongerMine) {
  for (const std::size_t bytes : {10, 250'000}) {
    EXPECT_EQ(publish(long_content(bytes), IfExists::replace, [] { return false; }), PublishResult::lost);
    EXPECT_TRUE(throws_with<std::runtime_error>(
        [&] {
          publish(long_content(bytes), IfExists::fail, []() -> bool { throw std::runtime_error("redis is gone"); });
        },
        "redis is gone"));
  }
  EXPECT_TRUE(server_.object("books/out/book.mp3").is_null());
  EXPECT_TRUE(server_.state().at("uploads").empty());
}

TEST_F(S3StorageTest, AsksLastBeforeTheBookBecomesVisible) {
  std::size_t parts_before = 0;
  EXPECT_EQ(publish(long_content(250'000), IfExists::fail,
                    [&] {
                      parts_before = static_cast<std::size_t>(server_.count("PUT", "partNumber="));
                      return server_.object("books/out/book.mp3").is_null();
                    }),
            PublishResult::published);
  EXPECT_EQ(parts_before, 1U + 3U);
}

TEST_F(S3StorageTest, WhatWasNotCommittedLeavesNothing) {
  (void)storage_->open_output("book.mp3", "");
  EXPECT_TRUE(server_.state().at("objects").empty()) << "the probe goes, too";
  EXPECT_TRUE(server_.state().at("uploads").empty());
  EXPECT_TRUE(tests::list_names(folder_ / "stage").empty());
}

TEST_F(S3StorageTest, UploadsOfRunsThatDiedLongAgoAreRemoved) {
  server_.order({{"op", "begin_upload"}, {"bucket", "books"}, {"key", "out/book.mp3"}, {"age_s", 90'000}});
  server_.order({{"op", "begin_upload"}, {"bucket", "books"}, {"key", "out/book.mp3"}, {"age_s", 80'000}});
  server_.order({{"op", "begin_upload"}, {"bucket", "books"}, {"key", "out/book.mp3.txt"}, {"age_s", 95'000}});
  EXPECT_EQ(publish(long_content(150'000), IfExists::fail), PublishResult::published);
  EXPECT_EQ(server_.state().at("uploads"), nlohmann::json({"old-80000", "old-95000"}));
}

TEST_F(S3StorageTest, TheRightToWriteIsEnough) {
  server_.order({{"op", "set"}, {"forbidden", {"list", "delete"}}});
  EXPECT_EQ(publish(long_content(150'000), IfExists::fail), PublishResult::published);
}

TEST_F(S3StorageTest, AServerThatIgnoresConditionsIsFoundOutAndRefused) {
  server_.order({{"op", "set"}, {"knows", nlohmann::json::array()}});
  EXPECT_TRUE(throws_with<PermanentError>([&] { publish("book", IfExists::fail); }, "ignores If-None-Match"));
  EXPECT_TRUE(server_.state().at("objects").empty());
  S3Settings allowed = settings();
  allowed.fencing = Fencing::none;
  storage_ = make(allowed);
  const std::string content = long_content(150'000);
  for (const std::string& book : {std::string("book"), content}) {
    EXPECT_EQ(publish(book, IfExists::replace), PublishResult::published);
    EXPECT_EQ(publish(book, IfExists::fail), PublishResult::identical);
    EXPECT_EQ(publish("other", IfExists::fail), PublishResult::exists);
    EXPECT_EQ(publish("other", IfExists::skip), PublishResult::skipped);
  }
  EXPECT_EQ(times_written(), 2);
}

TEST_F(S3StorageTest, AServerThatKnowsConditionsOfSinglePutsOnlyGetsSuch) {
  server_.order({{"op", "set"}, {"knows", {"put"}}});
  const std::string content = long_content(250'000);
  EXPECT_EQ(publish(content, IfExists::fail), PublishResult::published);
  EXPECT_EQ(server_.count("PUT", "partNumber="), 1) << "of the probe";
  EXPECT_EQ(publish("other", IfExists::fail), PublishResult::exists);
  EXPECT_EQ(publish(content, IfExists::replace), PublishResult::published);
  EXPECT_EQ(server_.count("PUT", "partNumber="), 1 + 3);
  S3Settings small = settings();
  small.upload.max_put_bytes = 200'000;
  storage_ = make(small);
  EXPECT_TRUE(throws_with<PermanentError>([&] { publish(content, IfExists::fail); }, "250000 bytes"));
}

TEST_F(S3StorageTest, TheProbeIsMadeOnce) {
  EXPECT_EQ(publish("book", IfExists::fail), PublishResult::published);
  EXPECT_EQ(publish("book", IfExists::fail), PublishResult::identical);
  EXPECT_EQ(server_.count("DELETE"), 2) << "the probe's object and its upload in parts";
  S3Settings trusting = settings();
  trusting.fencing = Fencing::trust;
  storage_ = make(trusting);
  EXPECT_EQ(publish("other", IfExists::fail), PublishResult::exists);
  EXPECT_EQ(server_.count("DELETE"), 2);
}

TEST_F(S3StorageTest, RefusesAStagingFolderThatCannotBe) {
  S3Settings wrong = settings();
  tests::write_file(folder_ / "file", "");
  wrong.staging = folder_ / "file/stage";
  EXPECT_TRUE(throws_with<PermanentError>([&] { (void)make(wrong)->open_output("book.mp3", ""); }, "file/stage"));
}

} // namespace
} // namespace audiobookd::storage
