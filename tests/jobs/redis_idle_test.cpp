// A day without work, in less than a minute: Redis under an accelerated clock (libfaketime), and a worker that does all
// that an idle worker does.
#include "tests/jobs/redis_fixture.h"

#include <cstdio>
#include <fstream>
#include <gtest/gtest.h>
#include <set>
#include <unistd.h>

namespace audiobookd::jobs {
namespace {

using std::chrono::hours;
using std::chrono::milliseconds;
using std::chrono::seconds;

constexpr int acceleration = 3000;

class RedisIdleDay : public ::testing::Test {
protected:
  struct Sizes {
    std::set<std::string> keys; ///< but worker:<name>, which expires within the blink of an eye here
    std::int64_t key_bytes = 0;
    std::int64_t redis_bytes = 0;
    std::int64_t worker_bytes = 0;
  };

  [[nodiscard]] std::chrono::microseconds now() {
    const RedisValue time = admin_.command({"TIME"});
    return seconds(std::stoll(time.at(0).text)) + std::chrono::microseconds(std::stoll(time.at(1).text));
  }

  Sizes measure() {
    Sizes sizes;
    for (const RedisValue& name : admin_.command({"KEYS", "*"}).list) {
      if (name.text.starts_with("tts:worker:"))
        continue;
      sizes.keys.insert(name.text);
      sizes.key_bytes += admin_.command({"MEMORY", "USAGE", name.text, "SAMPLES", "0"}).integer;
    }
    const std::string info = admin_.command({"INFO", "memory"}).text;
    sizes.redis_bytes = std::stoll(info.substr(info.find("used_memory:") + 12));
    std::int64_t pages = 0;
    std::ifstream("/proc/self/statm") >> pages >> pages; // the second number: resident
    sizes.worker_bytes = pages * sysconf(_SC_PAGESIZE);
    return sizes;
  }

  /// Adds a job, which is done, dead or cancelled afterwards.
  void end_a_job(const std::string& how) {
    admin_.command({"XADD", "tts:q:normal", "*", "job",
                    R"({"input":"a.txt","output":"a.mp3","id":")" + how + R"(","idempotency_key":")" + how + "\"}"});
    worker_.intake();
    if (how == "cancelled") {
      admin_.command({"XADD", "tts:control", "*", "cmd", "cancel", "id", how});
      worker_.poll_control();
      return;
    }
    const auto claimed = worker_.claim();
    ASSERT_TRUE(claimed);
    if (how == "done")
      worker_.complete(claimed->lease, "{}");
    else
      worker_.fail(claimed->lease, "no such voice", FailureKind::permanent);
  }

  /// What a worker does every second or so while there is nothing to do. @return how often it did until @p end.
  int idle_until(std::chrono::microseconds end) {
    int rounds = 0;
    for (; now() < end; ++rounds) {
      EXPECT_TRUE(worker_.poll_control().empty());
      EXPECT_TRUE(worker_.intake().empty());
      worker_.promote();
      EXPECT_TRUE(worker_.reclaim().empty());
      EXPECT_TRUE(worker_.purged().empty());
      EXPECT_EQ(worker_.announce("{}"), WorkerOrder::work);
      EXPECT_FALSE(worker_.claim());
      EXPECT_FALSE(worker_.wait_for_work(milliseconds(500)));
    }
    return rounds;
  }

  // libc before the server's own allocator: that one asks for the time while it sets itself up, which libfaketime
  // cannot answer yet.
  RedisServer server_{{},
                      {{"LD_PRELOAD", "/usr/$LIB/faketime/libfaketime.so.1 libc.so.6"},
                       {"FAKETIME", "+0 x" + std::to_string(acceleration)}}};
  RedisConnection admin_{parse_redis_url(server_.url()), {}, "test"};
  RedisQueue worker_{[this] {
    RedisQueueSettings settings;
    settings.url = server_.url();
    settings.heartbeat = milliseconds(500);
    settings.lease = milliseconds(1'500); // one of them after connecting, here, RECLAIM begins
    settings.ended_retention = hours(6);
    settings.idempotency_retention = hours(3);
    return settings;
  }()};
};

TEST_F(RedisIdleDay, LeavesNothingBehind) {
  const auto start = now();
  for (const char* how : {"done", "dead", "cancelled"})
    end_a_job(how);
  EXPECT_EQ(admin_.command({"ZCARD", "tts:jobs"}).integer, 3);
  idle_until(start + hours(8));
  const Sizes morning = measure();
  const int rounds = idle_until(start + hours(8 + 24));
  const Sizes next_morning = measure();

  EXPECT_EQ(admin_.command({"ZRANGE", "tts:jobs", "0", "-1"}).list.size(), 1u) << "dead jobs wait for a person";
  EXPECT_EQ(morning.keys, next_morning.keys);
  for (const char* gone : {"tts:job:done", "tts:job:cancelled", "tts:idem:done", "tts:ended", "tts:purged"})
    EXPECT_FALSE(next_morning.keys.contains(gone)) << gone;
  EXPECT_LE(next_morning.key_bytes, morning.key_bytes);
  EXPECT_LT(next_morning.redis_bytes - morning.redis_bytes, 64 << 10) << "buffers of clients and of Lua breathe";
  EXPECT_LT(next_morning.worker_bytes - morning.worker_bytes, 1 << 20);
  EXPECT_GT(rounds, 100) << "the clock ran away from the worker";
  const auto number = [](std::int64_t value) { return static_cast<long long>(value); };
  std::printf(
      "24 hours, %d rounds: %zu -> %zu keys of %lld -> %lld bytes; Redis uses %lld -> %lld, the worker %lld -> %lld\n",
      rounds, morning.keys.size(), next_morning.keys.size(), number(morning.key_bytes), number(next_morning.key_bytes),
      number(morning.redis_bytes), number(next_morning.redis_bytes), number(morning.worker_bytes),
      number(next_morning.worker_bytes));
}

} // namespace
} // namespace audiobookd::jobs
