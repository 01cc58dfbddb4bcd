// Whole daemons whose documents and books are on S3, and a server there that fails.
#include "jobs/redis_script.h"
#include "tests/faults/fault_fixture.h"
#include "tests/faults/tcp_proxy.h"
#include "tests/storage/s3/fake_s3.h"

#include <csignal>
#include <fmt/format.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>
#include <set>

namespace audiobookd::tests {
namespace {

class FaultS3 : public FaultFixture {
protected:
  /// A worker for which everything is on S3, as its environment says who it is.
  [[nodiscard]] Worker worker(const std::string& name) const {
    return {.name = name,
            .inputs = "s3://library/texts",
            .outputs = "s3://library/books",
            .s3_section = fmt::format("endpoint = '{}'\nregion = '{}'\nretry_seconds = 0.3\nstaging = 'staging'\n"
                                      "input_roots = ['s3://incoming']",
                                      s3_.endpoint(), FakeS3::region),
            .environment = {{"AWS_ACCESS_KEY_ID", FakeS3::access_key_id},
                            {"AWS_SECRET_ACCESS_KEY", FakeS3::secret_access_key}}};
  }
  void enqueue_s3(const std::string& id, int seed, int paragraphs, const std::string& more = "") {
    s3_.put("library", "texts/" + id + ".txt", book_text(seed, paragraphs));
    add("normal", R"({"id":")" + id + R"(","input":")" + id + R"(.txt","output":")" + id + R"(.mp3")" + more + "}");
  }
  /// Waits until the job is done. Its book must have been written exactly once and be whole.
  ::testing::AssertionResult is_on_s3(const std::string& id, int seed, int paragraphs) {
    if (auto done = reaches(id, "done"); !done) {
      return done;
    }
    const std::string path = "library/books/" + id + ".mp3";
    const nlohmann::json object = s3_.object(path);
    const int times = object.is_null() ? 0 : object.at("written").get<int>();
    write_file(place_.path("downloaded.mp3"), s3_.content(path));
    const std::size_t samples = times > 0 ? decoded_samples(place_.path("downloaded.mp3")) : 0;
    const bool is_listed = times > 0 && s3_listing(id).at("fingerprint") == field(id, "commit");
    if (times == 1 && samples == book_samples(seed, paragraphs) && is_listed) {
      return ::testing::AssertionSuccess();
    }
    return ::testing::AssertionFailure() << id << " was written " << times << " times and has " << samples
                                         << " samples of " << book_samples(seed, paragraphs)
                                         << (is_listed ? "" : ", and no listing of this book") << "; logs:\n"
                                         << place_.all_logs();
  }
  /// What audiobookctl prints, with the configuration of worker("worker").
  std::string ctl(std::vector<std::string> words) {
    words.insert(words.end(), {"--config", place_.path("worker.toml").string()});
    const fs::path printed = place_.path("printed");
    fs::remove(printed);
    EXPECT_EQ(Process(AUDIOBOOKCTL_PROGRAM, words, worker("worker").environment, printed).wait(), 0)
        << read_file(printed);
    return read_file(printed);
  }
  [[nodiscard]] nlohmann::json s3_listing(const std::string& id) {
    return nlohmann::json::parse(s3_.content("library/books/." + id + ".mp3.utterances.json"));
  }

  FakeS3 s3_;
};

TEST_F(FaultS3, BooksAreReadFromThereAndPublishedThere) {
  const auto running = place_.start(worker("worker"));
  enqueue_s3("book", 1, 5);
  EXPECT_TRUE(is_on_s3("book", 1, 5));
  s3_.put("incoming", "a+b/second book.txt", book_text(2, 5));
  add("normal",
      R"({"id":"second","input":"s3://incoming/a+b/second book.txt","output":"s3://library/books/second.mp3"})");
  EXPECT_TRUE(is_on_s3("second", 2, 5));
  add("normal", R"({"id":"third","input":"s3://elsewhere/a.txt","output":"third.mp3"})");
  ASSERT_TRUE(reaches("third", "dead"));
  EXPECT_NE(field("third", "error").find("below none of the configured roots"), std::string::npos);
  add("normal", R"({"id":"fourth","input":"lost.txt","output":"fourth.mp3"})");
  ASSERT_TRUE(reaches("fourth", "dead"));
  EXPECT_NE(field("fourth", "error").find("'s3://library/texts/lost.txt': HTTP 404"), std::string::npos);
  EXPECT_EQ(running->end(SIGTERM), 0);
  EXPECT_TRUE(list_names(place_.path("staging")).empty());
  EXPECT_EQ(place_.all_logs(1 << 20).find(FakeS3::secret_access_key), std::string::npos);
}

TEST_F(FaultS3, AnUtteranceIsListenedToAndRedoneThere) {
  const auto running = place_.start(worker("worker"));
  enqueue_s3("book", 1, 5);
  ASSERT_TRUE(is_on_s3("book", 1, 5));
  const std::string before = s3_.content("library/books/book.mp3");
  const nlohmann::json listed = nlohmann::json::parse(ctl({"utterances", "book", "--json"}));
  ASSERT_EQ(listed.at("utterances").size(), 5U);
  EXPECT_EQ(ctl({"redo", "book", "2", "--seed", "7"}), "book.redo-1\n");
  ASSERT_TRUE(reaches("book.redo-1", "done"));
  EXPECT_EQ(rendered(1), 6U) << "one more";
  EXPECT_NE(s3_.content("library/books/book.mp3"), before);
  const nlohmann::json after = s3_listing("book");
  EXPECT_EQ(after.at("fingerprint"), field("book.redo-1", "commit"));
  EXPECT_EQ(after.at("utterances").at(1).at("seed"), 7);
  EXPECT_EQ(after.at("utterances").at(2), listed.at("utterances").at(2)) << "the second is as long as before";
  EXPECT_EQ(running->end(SIGTERM), 0);
}

// Fault 24.
TEST_F(FaultS3, AServerThatFailsIsTriedAgainLaterAndNothingIsPublishedTwice) {
  const auto running = place_.start(worker("worker"));
  s3_.fault({{"key", "book"}, {"method", "GET"}, {"status", 503}, {"code", "SlowDown"}, {"times", 1'000'000}});
  enqueue_s3("book", 1, 20, R"(,"max_attempts":100)");
  ASSERT_TRUE(reaches("book", "retry_wait"));
  EXPECT_NE(field("book", "error").find("HTTP 503 SlowDown"), std::string::npos) << field("book", "error");
  s3_.order({{"op", "release"}});
  s3_.fault({{"key", "book"}, {"method", "PUT"}, {"reset", "before"}, {"times", 1'000'000}});
  ASSERT_TRUE(comes([&] { return field("book", "error").find("cannot write") != std::string::npos; }));
  EXPECT_TRUE(s3_.object("library/books/book.mp3").is_null());
  s3_.order({{"op", "release"}});
  EXPECT_TRUE(is_on_s3("book", 1, 20));
  EXPECT_EQ(rendered(1), 20U) << "the audio was kept";
  EXPECT_EQ(running->end(SIGTERM), 0);
}

// Fault 24: a server that answers no more.
TEST_F(FaultS3, AServerThatDoesNotAnswerKeepsNobodyFromStopping) {
  auto first = place_.start(worker("first"));
  s3_.fault({{"key", "books/book"}, {"method", "PUT"}, {"hold", true}, {"times", 1'000'000}});
  enqueue_s3("book", 1, 5);
  ASSERT_TRUE(comes([&] { return s3_.sprung() > 0; }));
  EXPECT_EQ(first->end(SIGTERM), 0);
  EXPECT_EQ(field("book", "attempts"), "0");
  EXPECT_NE(state("book"), "done");
  s3_.order({{"op", "release"}}); // what the first has sent may now be carried out, without it; its listing is there
  const auto second = place_.start(worker("second"));
  EXPECT_TRUE(is_on_s3("book", 1, 5));
  EXPECT_EQ(second->end(SIGTERM), 0);
}

// Faults 3 and 24: the worker dies between the upload and the end of its job.
TEST_F(FaultS3, ABookOfAWorkerThatDiedIsRecognisedWithoutReadingIt) {
  TcpProxy proxy(server.socket());
  proxy.hold_request(is_call_of(jobs::scripts::complete));
  Worker dying = worker("first");
  dying.url = proxy.url();
  auto first = place_.start(dying);
  enqueue_s3("book", 1, 5);
  ASSERT_TRUE(comes([&] { return proxy.has_sprung(); }));
  first->end(SIGKILL);
  proxy.cut();
  const auto second = place_.start(worker("second"));
  EXPECT_TRUE(is_on_s3("book", 1, 5));
  EXPECT_EQ(result("book", "published_by_earlier_attempt"), "true");
  EXPECT_EQ(rendered(1, second->pid()), 0U);
  EXPECT_EQ(s3_.count("GET"), 1) << "of the document";
  EXPECT_EQ(second->end(SIGTERM), 0);
}

/// A book in several files there.
class FaultS3Folder : public FaultS3 {
protected:
  void enqueue_folder(const std::string& more = "") {
    s3_.put("library", "texts/book.txt", book_text(1, 5));
    add("normal",
        R"({"id":"book","input":"book.txt","output":"book","split":"chapters","subtitles":"vtt")" + more + "}");
  }
  /// Waits until the job is done. Its description must have been written once, and list all objects that there are.
  ::testing::AssertionResult is_whole() {
    if (auto done = reaches("book", "done"); !done) {
      return done;
    }
    const nlohmann::json description = nlohmann::json::parse(s3_.content("library/books/book/metadata.json"));
    const nlohmann::json& files = description.at("files");
    std::size_t found = 0;
    for (const nlohmann::json& file : files) {
      const nlohmann::json object = s3_.object("library/books/book/" + file.at("name").get<std::string>());
      found += !object.is_null() && object.at("bytes") == file.at("bytes") ? 1 : 0;
    }
    std::size_t objects = 0;
    const nlohmann::json state = s3_.state();
    for (const auto& [path, object] : state.at("objects").items()) {
      objects += path.starts_with("library/books/book/") ? 1 : 0;
    }
    const int times = s3_.object("library/books/book/metadata.json").at("written").get<int>();
    if (times == 1 && found == 3 && files.size() == 3 && objects == 4) {
      return ::testing::AssertionSuccess();
    }
    return ::testing::AssertionFailure() << "described " << times << " times, " << found << " of " << files.size()
                                         << " files are there, among " << objects << " objects; logs:\n"
                                         << place_.all_logs();
  }
};

TEST_F(FaultS3Folder, IsListenedToAndRedoneWithNewNamesForWhatIsNew) {
  const auto running = place_.start(worker("worker"));
  enqueue_folder();
  ASSERT_TRUE(is_whole());
  const nlohmann::json listed = nlohmann::json::parse(ctl({"utterances", "book", "--json"}));
  EXPECT_EQ(listed.at("utterances").at(1).at("file"), "01 - Chapter 1.mp3");
  EXPECT_EQ(ctl({"redo", "book", "2", "--seed", "7"}), "book.redo-1\n");
  ASSERT_TRUE(reaches("book.redo-1", "done"));
  const nlohmann::json again = nlohmann::json::parse(ctl({"utterances", "book.redo-1", "--json"}));
  EXPECT_EQ(again.at("utterances").at(1).at("seed"), 7);
  const nlohmann::json description = nlohmann::json::parse(s3_.content("library/books/book/metadata.json"));
  std::set<std::string> expected = {"library/books/book/metadata.json"};
  for (const nlohmann::json& file : description.at("files")) {
    expected.insert("library/books/book/" + file.at("name").get<std::string>());
  }
  std::set<std::string> found;
  const nlohmann::json state = s3_.state();
  for (const auto& [path, object] : state.at("objects").items()) {
    if (path.starts_with("library/books/book/")) {
      found.insert(path);
    }
  }
  EXPECT_EQ(found, expected) << "what was replaced is gone";
  EXPECT_EQ(running->end(SIGTERM), 0);
}

// Fault 3: the worker dies between the description and the end of its job.
TEST_F(FaultS3Folder, OfAWorkerThatDiedAfterwardsIsRecognisedWithoutReadingIt) {
  TcpProxy proxy(server.socket());
  proxy.hold_request(is_call_of(jobs::scripts::complete));
  Worker dying = worker("first");
  dying.url = proxy.url();
  auto first = place_.start(dying);
  enqueue_folder();
  ASSERT_TRUE(comes([&] { return proxy.has_sprung(); }));
  first->end(SIGKILL);
  proxy.cut();
  const int reads = s3_.count("GET");
  const auto second = place_.start(worker("second"));
  EXPECT_TRUE(is_whole());
  EXPECT_EQ(result("book", "published_by_earlier_attempt"), "true");
  EXPECT_EQ(rendered(1, second->pid()), 0U);
  EXPECT_EQ(s3_.count("GET"), reads);
  EXPECT_EQ(second->end(SIGTERM), 0);
}

// Fault 1: the worker dies while it uploads.
TEST_F(FaultS3Folder, OfAWorkerThatDiedBeforeItWasDescribedIsTakenUpAndDescribedOnce) {
  s3_.fault({{"key", "metadata.json"}, {"method", "PUT"}, {"hold", true}, {"times", 1'000'000}});
  auto first = place_.start(worker("first"));
  enqueue_folder();
  ASSERT_TRUE(comes([&] { return s3_.sprung() > 0; }));
  first->end(SIGKILL);
  const auto second = place_.start(worker("second"));
  ASSERT_TRUE(comes([&] { return s3_.sprung() > 1; })) << "it waits for the same answer";
  s3_.order({{"op", "release"}});
  EXPECT_TRUE(is_whole());
  EXPECT_EQ(second->end(SIGTERM), 0);
}

// Fault 4: the worker falls asleep when it was allowed to publish.
TEST_F(FaultS3Folder, OfAWorkerThatSleptTooLongIsNoBook) {
  TcpProxy proxy(server.socket());
  proxy.hold_reply(passes_the_point_of_no_return());
  Worker sleepy = worker("late");
  sleepy.url = proxy.url();
  const auto late = place_.start(sleepy);
  enqueue_folder();
  ASSERT_TRUE(comes([&] { return proxy.has_sprung(); }));
  late->signal(SIGSTOP);
  const auto heir = place_.start(worker("heir"));
  ASSERT_TRUE(is_whole());
  proxy.let_go();
  late->signal(SIGCONT);
  EXPECT_TRUE(comes([&] {
    return has_logged("late", "the lease is gone, nothing was published by this run") ||
           has_logged("late", "job book: abandoned, nothing was published");
  }));
  EXPECT_TRUE(is_whole()) << "once";
  EXPECT_EQ(heir->end(SIGTERM), 0);
}

// Fault 25: 412.
TEST_F(FaultS3, ABookThatAppearsInTheLastMomentIsKept) {
  const auto running = place_.start(worker("worker"));
  for (const auto& [id, more, end] : {std::tuple("a", "", "dead"), std::tuple("b", R"(,"if_exists":"skip")", "done")}) {
    s3_.fault({{"key", fmt::format("books/{}.mp3", id)}, {"method", "PUT"}, {"hold", true}});
    enqueue_s3(id, 1, 5, more);
    ASSERT_TRUE(comes([&] { return s3_.sprung() > 0; }));
    s3_.put("library", fmt::format("books/{}.mp3", id), "somebody else's");
    s3_.order({{"op", "release"}});
    ASSERT_TRUE(reaches(id, end));
    EXPECT_EQ(s3_.content(fmt::format("library/books/{}.mp3", id)), "somebody else's");
    s3_.order({{"op", "reset"}});
  }
  EXPECT_NE(field("a", "error").find("exists already"), std::string::npos) << field("a", "error");
  EXPECT_EQ(result("b", "skipped"), "true");
  EXPECT_EQ(running->end(SIGTERM), 0);
}

// Fault 25: 409.
TEST_F(FaultS3, AConflictIsDoneAgain) {
  const auto running = place_.start(worker("worker"));
  s3_.fault({{"key", "books/book"}, {"method", "PUT"}, {"status", 409}, {"code", "ConditionalRequestConflict"}});
  enqueue_s3("book", 1, 5);
  EXPECT_TRUE(is_on_s3("book", 1, 5));
  EXPECT_EQ(s3_.sprung(), 1);
  EXPECT_EQ(field("book", "attempts"), "0");
  EXPECT_EQ(running->end(SIGTERM), 0);
}

TEST_F(FaultS3, AServerThatIgnoresConditionsIsRefused) {
  s3_.order({{"op", "set"}, {"knows", nlohmann::json::array()}});
  const auto running = place_.start(worker("worker"));
  enqueue_s3("book", 1, 5);
  ASSERT_TRUE(reaches("book", "dead"));
  EXPECT_NE(field("book", "error").find("ignores If-None-Match"), std::string::npos) << field("book", "error");
  EXPECT_EQ(rendered(1), 0U) << "known before anything is rendered";
  EXPECT_EQ(running->end(SIGTERM), 0);
}

TEST_F(FaultS3, WithoutCredentialsItSaysAtTheStartWhereItLooked) {
  Worker stranger = worker("worker");
  stranger.environment = {{"AWS_ACCESS_KEY_ID", ""},
                          {"AWS_SECRET_ACCESS_KEY", ""},
                          {"AWS_SHARED_CREDENTIALS_FILE", place_.path("none").string()},
                          {"AWS_EC2_METADATA_SERVICE_ENDPOINT", "http://127.0.0.1:1"}};
  EXPECT_EQ(place_.start(stranger)->wait(), 1);
  for (const char* place : {"AWS_ACCESS_KEY_ID", "none' does not exist", "instance metadata at http://127.0.0.1:1"}) {
    EXPECT_TRUE(has_logged("worker", place)) << place_.all_logs();
  }
}

TEST_F(FaultS3, CredentialsMayBeInAFile) {
  Worker with_file = worker("worker");
  with_file.environment = {{"AWS_ACCESS_KEY_ID", "of somebody else"}, {"AWS_SECRET_ACCESS_KEY", "wrong"}};
  write_file(place_.path("keys"), fmt::format("[books]\naws_access_key_id = {}\naws_secret_access_key = {}\n",
                                              FakeS3::access_key_id, FakeS3::secret_access_key));
  with_file.s3_section += "\ncredentials_file = 'keys'\nprofile = 'books'";
  const auto running = place_.start(with_file);
  enqueue_s3("book", 1, 5);
  EXPECT_TRUE(is_on_s3("book", 1, 5));
  EXPECT_EQ(running->end(SIGTERM), 0);
}

} // namespace
} // namespace audiobookd::tests
