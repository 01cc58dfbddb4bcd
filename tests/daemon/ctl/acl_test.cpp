// systemd/audiobookd.acl.example: a producer can do all of audiobookctl and nothing to anybody's lease; a worker can do
// its work.
#include "daemon/book_listing.h"
#include "jobs/redis_script.h"
#include "tests/daemon/ctl/ctl_fixture.h"

#include <gtest/gtest.h>
#include <sstream>

namespace audiobookd::daemon {
namespace {

using testing::Ran;

const std::string acl_file = AUDIOBOOKD_SOURCE_DIR "/systemd/audiobookd.acl.example";

class RedisAcl : public ::testing::Test {
protected:
  jobs::RedisServer server{{"--aclfile", acl_file}};
  jobs::RedisConnection producer{jobs::parse_redis_url(url("producer")), {}, "producer"};
  jobs::RedisQueue worker{worker_settings()};

  [[nodiscard]] std::string url(const std::string& user) const {
    return "unix://" + user + ":change-me-" + user + "@" + server.socket();
  }
  [[nodiscard]] jobs::RedisQueueSettings worker_settings() const {
    jobs::RedisQueueSettings settings;
    settings.url = url("worker");
    settings.worker = "w-1";
    settings.heartbeat = std::chrono::milliseconds(20);
    settings.lease = std::chrono::milliseconds(60);
    settings.retry_base = std::chrono::milliseconds(1);
    return settings;
  }
  Ran ctl(std::vector<std::string> words) {
    words.insert(words.end(), {"--redis", url("producer")});
    return testing::run_ctl(words);
  }
  /// Whether Redis refuses a command of the producer for want of permission.
  ::testing::AssertionResult refuses(std::vector<std::string_view> words) {
    try {
      producer.command(words);
    } catch (const jobs::RedisCommandError& error) {
      return error.code() == "NOPERM" ? ::testing::AssertionSuccess() : ::testing::AssertionFailure() << error.what();
    }
    return ::testing::AssertionFailure() << words.front() << " was executed";
  }
};

TEST_F(RedisAcl, AProducerCanDoAllOfAudiobookctl) {
  const testing::Upkeep upkeep(worker);
  const auto works = [&](std::vector<std::string> words) {
    const Ran ran = ctl(words);
    EXPECT_EQ(ran.status, 0) << words.front() << ": " << ran.err;
  };
  works({"enqueue", "--id", "tale", "--text", "Hello.", "-o", "a.mp3"});
  ASSERT_TRUE(jobs::eventually([&] { return ctl({"show", "tale"}).status == 0; }));
  const auto claimed = worker.claim();
  ASSERT_TRUE(claimed.has_value());
  worker.fail(claimed->lease, "broken", jobs::FailureKind::permanent);
  works({"ls"});
  works({"ls", "--state", "queued"});
  works({"dead", "ls"});
  works({"workers"});
  works({"stats"});
  works({"pause", "low"});
  works({"resume", "low"});
  works({"retry", "tale"});
  works({"cancel", "tale"});
  EXPECT_EQ(ctl({"follow", "tale"}).status, 6);
  BookListing listing;
  listing.job = "tale";
  listing.payload = R"({"text":"Hello.","output":"a.mp3"})";
  listing.utterances.resize(1);
  listing.utterances[0].number = 1;
  listing.utterances[0].key = "0123456789abcdef";
  const testing::TemporaryFolder folder;
  works({"redo", folder.write("utterances.json", to_json(listing)).string(), "1"});
  works({"purge", "tale"});
  works({"drain", "w-1"});
}

TEST_F(RedisAcl, AProducerCanNeitherReadNorForgeALease) {
  producer.command({"XADD", "tts:q:normal", "*", "job", R"({"id":"tale","text":"Hello.","output":"a.mp3"})"});
  worker.intake();
  const jobs::Lease lease = worker.claim().value().lease;
  const std::string entry = producer.command({"HGET", "tts:job:tale", "entry"}).text;
  EXPECT_NE(producer.command({"HGET", "tts:job:tale", "token"}).text, lease.token) << "only its hash is to be read";
  const std::string_view sha1 = jobs::scripts::complete.sha1;
  EXPECT_TRUE(refuses({"EVALSHA", sha1, "1", "tts:", "tale", "w-1", "guess", "{}", "60"}));
  EXPECT_TRUE(refuses({"EVALSHA", sha1, "0", "tale", "w-1", "guess", "{}", "60"}));
  EXPECT_TRUE(refuses({"EVAL", "return 1", "0"})) << "whatever the keys";
  EXPECT_TRUE(refuses({"FCALL", "f", "0"}));
  EXPECT_TRUE(refuses({"SCRIPT", "FLUSH"}));
  EXPECT_TRUE(refuses({"HSET", "tts:job:tale", "token", "mine"}));
  EXPECT_TRUE(refuses({"DEL", "tts:job:tale"}));
  EXPECT_TRUE(refuses({"XACK", "tts:q:normal", "render", entry}));
  EXPECT_TRUE(refuses({"XDEL", "tts:q:normal", entry}));
  EXPECT_TRUE(refuses({"XCLAIM", "tts:q:normal", "render", "me", "0", entry}));
  EXPECT_TRUE(refuses({"XREADGROUP", "GROUP", "render", "me", "STREAMS", "tts:q:normal", ">"}));
  EXPECT_TRUE(refuses({"XGROUP", "DESTROY", "tts:q:normal", "render"}));
  EXPECT_TRUE(refuses({"XTRIM", "tts:q:normal", "MAXLEN", "0"}));
  EXPECT_TRUE(refuses({"GET", "tts:claim:w-1"}));
  EXPECT_TRUE(refuses({"CONFIG", "GET", "*"}));
  EXPECT_TRUE(refuses({"MONITOR"}));
  EXPECT_TRUE(refuses({"FLUSHALL"}));
  EXPECT_EQ(worker.heartbeat(lease, {}), jobs::LeaseState::held);
}

TEST_F(RedisAcl, AProducerWritesNothingButJobsAndCommands) {
  for (const std::string_view stream : {"tts:q:mine", "tts:events", "tts:dead", "tts:job:x", "other:q:normal"}) {
    EXPECT_TRUE(refuses({"XADD", stream, "*", "job", "{}"})) << stream;
  }
  for (const std::string_view key : {"tts:paused", "tts:protocol", "tts:worker:x", "tts:idem:x"}) {
    EXPECT_TRUE(refuses({"SET", key, "1"})) << key;
  }
  EXPECT_TRUE(refuses({"ZADD", "tts:jobs", "1", "x"}));
  EXPECT_TRUE(refuses({"PUBLISH", "tts:events:x", "{}"}));
  EXPECT_TRUE(refuses({"SUBSCRIBE", "other"}));
  EXPECT_TRUE(refuses({"XRANGE", "tts:q:normal", "-", "+"})) << "texts of others";
}

TEST_F(RedisAcl, AWorkerCanDoItsWork) {
  const auto next = [&](const std::string& id) {
    producer.command({"XADD", "tts:q:normal", "*", "job", R"({"text":"Hello.","output":"a.mp3","id":")" + id + "\"}"});
    worker.intake();
    return worker.claim().value().lease;
  };
  worker.connect();
  worker.announce("{}");
  const jobs::Lease done = next("done");
  EXPECT_EQ(worker.heartbeat(done, {}), jobs::LeaseState::held);
  EXPECT_EQ(worker.begin_commit(done, "print"), jobs::LeaseState::held);
  EXPECT_EQ(worker.complete(done, "{}"), jobs::LeaseState::held);
  EXPECT_EQ(worker.fail(next("failed"), "disk full", jobs::FailureKind::transient), jobs::FailureOutcome::retry);
  EXPECT_TRUE(jobs::eventually([&] { return worker.promote() == 1; }));
  EXPECT_EQ(worker.release(worker.claim().value().lease), jobs::LeaseState::held);
  ASSERT_TRUE(worker.claim().has_value()); // and forgotten: another worker takes it back
  auto settings = worker_settings();
  settings.worker = "w-2";
  jobs::RedisQueue rescuer(settings);
  EXPECT_TRUE(jobs::eventually([&] { return rescuer.reclaim().size() == 1; }));
  producer.command({"XADD", "tts:control", "*", "cmd", "cancel", "id", "failed"});
  EXPECT_TRUE(worker.wait_for_work(std::chrono::milliseconds(100)));
  EXPECT_EQ(worker.poll_control().size(), 1U);
  EXPECT_EQ(worker.counts().dead, 0U);
  worker.retire();
}

TEST_F(RedisAcl, TheUserIsInTheUrlAndThePasswordInAFile) {
  const testing::TemporaryFolder folder;
  const auto file = folder.write("password", "change-me-producer\n");
  const Ran ran = testing::run_ctl({"ls", "--redis", "unix://producer:@" + server.socket(), "--password-file", file});
  EXPECT_EQ(ran.status, 0) << ran.err;
}

TEST_F(RedisAcl, NobodyElseComesIn) {
  EXPECT_EQ(testing::run_ctl({"ls", "--redis", server.url()}).status, 4);
  EXPECT_EQ(testing::run_ctl({"ls", "--redis", "unix://producer:wrong@" + server.socket()}).status, 4);
}

TEST(AclExample, IsWhatTheProtocolSays) {
  const std::string protocol = testing::read_file(AUDIOBOOKD_SOURCE_DIR "/jobs/PROTOCOL.md");
  std::istringstream users(testing::read_file(acl_file));
  int compared = 0;
  for (std::string line; std::getline(users, line);) {
    const std::size_t rules = line.find("resetkeys");
    if (rules != std::string::npos) {
      ++compared;
      EXPECT_NE(protocol.find(line.substr(rules)), std::string::npos) << line;
    }
  }
  EXPECT_EQ(compared, 2);
}

} // namespace
} // namespace audiobookd::daemon
