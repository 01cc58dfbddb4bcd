// Faults 24 and 25: a server that fails, breaks off, is slow, and others that write to the same key.
#include "tests/storage/s3/s3_fixture.h"
#include "tests/storage/small_disk.h"

#include <atomic>
#include <thread>

namespace audiobookd::storage {
namespace {

using nlohmann::json;
using tests::FakeS3;
using tests::throws_with;

class FaultS3Storage : public tests::S3Fixture {
protected:
  FaultS3Storage() {
    server_.put("books", "in/a.txt", short_);
    server_.put("books", "in/long.txt", long_text_);
    publish_probe();
  }
  /// So that the probe is over before faults begin.
  void publish_probe() const { (void)storage_->open_output("probe.mp3", ""); }

  PublishResult publish(const std::string& content, IfExists if_exists = IfExists::fail,
                        const std::function<bool()>& still_mine = {}) {
    return S3Fixture::publish(*storage_, "book.mp3", content, if_exists, still_mine);
  }
  static int times_written() {
    const json object = server_.object("books/out/book.mp3");
    return object.is_null() ? 0 : object.at("written").get<int>();
  }
  static bool has_no_uploads() { return server_.state().at("uploads").empty(); }

  const std::string short_ = "Call me Ishmael.";
  const std::string long_text_ = std::string(1'000'000, 'a') + std::string(1'000'000, 'b');
  const std::string parts_ = long_content(250'000); // three
  std::unique_ptr<S3Storage> storage_ = make(settings());
};

TEST_F(FaultS3Storage, WhatMayPassIsTriedAgain) {
  for (const int status : {500, 502, 503, 504, 429, 408}) {
    server_.fault({{"method", "GET"}, {"status", status}, {"times", 3}});
    EXPECT_EQ(storage_->read_input("a.txt", 100), short_) << status;
  }
  EXPECT_EQ(server_.sprung(), 6 * 3);
  server_.fault({{"method", "GET"}, {"status", 400}, {"code", "RequestTimeout"}});
  server_.fault({{"method", "GET"}, {"reset", "before"}});
  server_.fault({{"method", "GET"}, {"reset", "after"}});
  EXPECT_EQ(storage_->read_input("a.txt", 100), short_);
  EXPECT_EQ(server_.sprung(), 6 * 3 + 3);
}

TEST_F(FaultS3Storage, WhatDoesNotPassIsTransientAndSaysWhatFailed) {
  server_.fault({{"status", 503}, {"code", "SlowDown"}, {"times", 1000}});
  const auto begin = std::chrono::steady_clock::now();
  EXPECT_TRUE(throws_with<TransientError>([&] { (void)storage_->read_input("a.txt", 100); },
                                          "cannot read 's3://books/in/a.txt': HTTP 503 SlowDown"));
  EXPECT_GT(server_.sprung(), 10) << "of 500 ms, with waits of at most 10";
  EXPECT_GE(std::chrono::steady_clock::now() - begin, std::chrono::milliseconds(400));
  server_.order({{"op", "release"}});
  server_.fault({{"status", 403}, {"code", "AccessDenied"}, {"times", 1000}});
  EXPECT_TRUE(throws_with<PermanentError>([&] { (void)storage_->read_input("a.txt", 100); }, "HTTP 403 AccessDenied"));
  EXPECT_LE(server_.sprung(), 2);
}

TEST_F(FaultS3Storage, AServerThatIsNotThereIsTransient) {
  S3Settings gone = settings();
  gone.client.endpoint = "http://127.0.0.1:1";
  EXPECT_TRUE(throws_with<TransientError>([&] { (void)make(gone)->output_exists("book.mp3"); },
                                          "'s3://books/out/book.mp3': http://127.0.0.1:1"));
}

TEST_F(FaultS3Storage, AServerThatDoesNotAnswerIsGivenUpAfterTheStallTimeout) {
  server_.fault({{"method", "GET"}, {"hold", true}});
  EXPECT_EQ(storage_->read_input("a.txt", 100), short_);
  EXPECT_EQ(server_.sprung(), 1);
  server_.order({{"op", "release"}});
}

TEST_F(FaultS3Storage, ADownloadGoesOnWhereItBroke) {
  server_.fault({{"method", "GET"}, {"reset", "midway"}, {"times", 3}});
  EXPECT_TRUE(storage_->read_input("long.txt", 2'000'000) == long_text_);
  EXPECT_EQ(server_.sprung(), 3);
  std::vector<std::string> ranges;
  const json now = server_.state();
  for (const json& request : now.at("requests")) {
    if (request.at("method") == "GET") {
      ranges.push_back(request.at("range"));
    }
  }
  ASSERT_EQ(ranges.size(), 4U);
  EXPECT_EQ(ranges.front(), "");
  for (std::size_t i = 1; i < ranges.size(); ++i) {
    EXPECT_TRUE(ranges[i].starts_with("bytes=")) << ranges[i];
  }
}

TEST_F(FaultS3Storage, ADownloadThatStallsGoesOnAsWell) {
  server_.fault({{"method", "GET"}, {"stall", "midway"}});
  EXPECT_TRUE(storage_->read_input("long.txt", 2'000'000) == long_text_);
  EXPECT_EQ(server_.sprung(), 1);
  server_.order({{"op", "release"}});
}

TEST_F(FaultS3Storage, AServerThatKnowsNoRangesMayBeginAnew) {
  server_.order({{"op", "set"}, {"forbidden", {"range"}}});
  server_.fault({{"method", "GET"}, {"reset", "midway"}});
  EXPECT_TRUE(storage_->read_input("long.txt", 2'000'000) == long_text_);
}

TEST_F(FaultS3Storage, ADownloadThatNeverGetsFurtherIsGivenUp) {
  server_.order({{"op", "set"}, {"forbidden", {"range"}}});
  server_.fault({{"method", "GET"}, {"reset", "midway"}, {"times", 1'000'000}});
  EXPECT_TRUE(
      throws_with<TransientError>([&] { (void)storage_->read_input("long.txt", 2'000'000); }, "given up after"));
}

TEST_F(FaultS3Storage, AnObjectThatChangesMeanwhileIsNotMixed) {
  server_.fault({{"method", "GET"}, {"reset", "midway"}, {"then_put", std::string(1'500'000, 'c')}});
  EXPECT_TRUE(throws_with<TransientError>([&] { (void)storage_->read_input("long.txt", 2'000'000); },
                                          "it was changed while it was read"));
}

TEST_F(FaultS3Storage, PublishingSurvivesFailuresOfEveryRequest) {
  for (const json& failure : {json{{"status", 503}}, json{{"reset", "before"}}, json{{"reset", "after"}}}) {
    server_.order({{"op", "reset"}});
    publish_probe();
    for (const json& request :
         {json{{"method", "PUT"}, {"query", "partNumber=1"}}, json{{"method", "PUT"}, {"query", "partNumber=3"}},
          json{{"method", "POST"}, {"query", "uploads"}}, json{{"method", "POST"}, {"query", "uploadId"}}}) {
      json fault = failure;
      fault.update(request);
      server_.fault(fault);
    }
    EXPECT_EQ(publish(parts_), PublishResult::published) << failure;
    EXPECT_EQ(server_.sprung(), 4) << failure;
    EXPECT_TRUE(read_output(*storage_, "book.mp3") == parts_);
    EXPECT_EQ(times_written(), 1) << failure;
  }
}

TEST_F(FaultS3Storage, AReplyThatGotLostIsNotTakenForAnotherRunsBook) {
  server_.fault({{"method", "PUT"}, {"key", "book.mp3"}, {"reset", "after"}});
  EXPECT_EQ(publish("book"), PublishResult::published);
  EXPECT_EQ(server_.sprung(), 1);
  EXPECT_EQ(times_written(), 1);
}

TEST_F(FaultS3Storage, AnErrorThatFollowsAStatusOf200IsOne) {
  server_.fault({{"method", "POST"}, {"query", "uploadId"}, {"late_error", true}});
  EXPECT_EQ(publish(parts_), PublishResult::published);
  EXPECT_EQ(server_.sprung(), 1);
}

TEST_F(FaultS3Storage, WhatCannotBeUploadedIsGivenUpAndNothingIsPublished) {
  server_.fault({{"method", "PUT"}, {"query", "partNumber=2"}, {"status", 500}, {"times", 1000}});
  EXPECT_TRUE(throws_with<TransientError>([&] { publish(parts_); },
                                          "cannot write a part of 's3://books/out/book.mp3': HTTP 500"));
  EXPECT_EQ(times_written(), 0);
  EXPECT_TRUE(has_no_uploads());
  server_.order({{"op", "release"}});
  EXPECT_EQ(publish(parts_), PublishResult::published);
}

TEST_F(FaultS3Storage, EachAttemptToPublishAsksAgain) {
  for (const json& request :
       {json{{"method", "PUT"}, {"key", "book.mp3"}}, json{{"method", "POST"}, {"query", "uploadId"}}}) {
    json fault = request;
    fault.update({{"status", 503}, {"times", 1000}});
    server_.fault(fault);
    int questions = 0;
    const std::string& content = request.contains("query") ? parts_ : short_;
    EXPECT_EQ(publish(content, IfExists::replace, [&] { return ++questions < 3; }), PublishResult::lost);
    EXPECT_EQ(questions, 3);
    EXPECT_EQ(server_.sprung(), 2) << "no request after the answer was no";
    server_.order({{"op", "release"}});
  }
  EXPECT_EQ(times_written(), 0);
  EXPECT_TRUE(has_no_uploads());
}

TEST_F(FaultS3Storage, AConflictIsDoneAllAgain) {
  server_.fault({{"method", "PUT"}, {"key", "book.mp3"}, {"status", 409}, {"code", "ConditionalRequestConflict"}});
  EXPECT_EQ(publish(short_), PublishResult::published);
  server_.fault({{"method", "POST"}, {"query", "uploadId"}, {"status", 409}, {"code", "ConditionalRequestConflict"}});
  EXPECT_EQ(S3Fixture::publish(*storage_, "long.mp3", parts_, IfExists::fail), PublishResult::published);
  EXPECT_EQ(server_.count("PUT", "partNumber=3"), 2) << "as S3 wants it: with a new upload";
  EXPECT_TRUE(has_no_uploads());
  server_.fault({{"method", "PUT"}, {"key", "third.mp3"}, {"status", 409}, {"times", 1000}});
  EXPECT_TRUE(throws_with<TransientError>([&] { S3Fixture::publish(*storage_, "third.mp3", "x", IfExists::fail); },
                                          "others write to it at the same time"));
}

TEST_F(FaultS3Storage, ABookThatAppearsInTheLastMomentIsNotReplaced) {
  for (const std::string& content : {short_, parts_}) {
    server_.order({{"op", "reset"}});
    const auto other_is_faster = [&] {
      server_.put("books", "out/book.mp3", "other");
      return true;
    };
    EXPECT_EQ(publish(content, IfExists::fail, other_is_faster), PublishResult::exists);
    EXPECT_EQ(publish(content, IfExists::skip, other_is_faster), PublishResult::skipped);
    EXPECT_EQ(read_output(*storage_, "book.mp3"), "other");
    EXPECT_EQ(publish(content, IfExists::replace, other_is_faster), PublishResult::published);
    EXPECT_TRUE(has_no_uploads());
  }
}

TEST_F(FaultS3Storage, OfManyConcurrentPublishersExactlyOneWins) {
  for (int round = 0; round < 5; ++round) {
    server_.order({{"op", "reset"}});
    std::atomic<int> winners = 0;
    {
      std::vector<std::jthread> publishers;
      for (int i = 0; i < 6; ++i) {
        publishers.emplace_back([&, i] {
          const std::string content = std::string(i % 2 == 0 ? 10 : 150'000, static_cast<char>('a' + i));
          const PublishResult result = publish(content);
          winners += result == PublishResult::published ? 1 : 0;
          EXPECT_TRUE(result == PublishResult::published || result == PublishResult::exists);
        });
      }
    }
    EXPECT_EQ(winners, 1);
    EXPECT_EQ(times_written(), 1);
    EXPECT_TRUE(has_no_uploads());
  }
}

TEST_F(FaultS3Storage, AnUploadThatSomebodyEndedIsTriedAgainLater) {
  server_.fault({{"method", "PUT"}, {"query", "partNumber=2"}, {"status", 404}, {"code", "NoSuchUpload"}});
  EXPECT_TRUE(throws_with<TransientError>([&] { publish(parts_); }, "somebody has ended its multipart upload"));
}

TEST_F(FaultS3Storage, AStopEndsTheWaitingBetweenAttempts) {
  S3Settings patient = settings();
  patient.client.first_wait = patient.client.longest_wait = std::chrono::hours(1);
  patient.client.patience = std::chrono::hours(10);
  const auto storage = make(patient);
  server_.fault({{"method", "GET"}, {"status", 503}, {"times", 1000}});
  std::stop_source stop;
  const std::jthread stopper([&] {
    while (server_.sprung() == 0) {
    }
    stop.request_stop();
  });
  EXPECT_THROW((void)storage->read_input("a.txt", 100, stop.get_token()), StoppedError);
}

TEST_F(FaultS3Storage, AStopEndsARequestThatIsUnderWay) {
  S3Settings patient = settings();
  patient.client.http.stall_timeout = std::chrono::hours(1);
  const auto storage = make(patient);
  server_.fault({{"method", "PUT"}, {"query", "partNumber=2"}, {"hold", true}});
  std::stop_source stop;
  const auto publication = storage->open_output("book.mp3", "", stop.get_token());
  publication->append(std::as_bytes(std::span(parts_)));
  const std::jthread stopper([&] {
    while (server_.sprung() == 0) {
    }
    stop.request_stop();
  });
  EXPECT_THROW(publication->commit(IfExists::fail, {}), StoppedError);
  EXPECT_TRUE(has_no_uploads()) << "given up all the same";
  server_.order({{"op", "release"}});
}

TEST_F(FaultS3Storage, AFullStagingDiskIsTransientAndPublishesNothing) {
  const int status = tests::on_small_disk(folder_.path(), 1 << 20, [&] {
    return throws_with<TransientError>([&] { publish(long_content(2 << 20)); }, "ENOSPC") ? 0 : 1;
  });
  EXPECT_EQ(status, 0);
  EXPECT_EQ(times_written(), 0);
}

} // namespace
} // namespace audiobookd::storage
