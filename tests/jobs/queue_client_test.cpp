// The producer's and operator's side of the protocol, beside workers that use the scripts.
#include "jobs/queue_client.h"
#include "tests/jobs/redis_fixture.h"

#include <future>
#include <gtest/gtest.h>

namespace audiobookd::jobs {
namespace {

using std::chrono::milliseconds;

class RedisQueueClient : public RedisQueueFixture {
protected:
  QueueClient client{{.url = server.url()}};
  std::unique_ptr<RedisQueue> worker = make_worker("w-1");
};

TEST_F(RedisQueueClient, AnEntryCountsAsUntakenUntilAWorkerMadeAJobOfIt) {
  EXPECT_EQ(client.count_untaken(), 0u);
  const std::string entry = client.add("low", R"({"text":"Hello.","output":"a.mp3"})");
  EXPECT_EQ(client.count_untaken(), 1u);
  EXPECT_FALSE(client.find(entry));
  worker->intake();
  EXPECT_EQ(client.count_untaken(), 0u);
  const auto record = client.find(entry);
  ASSERT_TRUE(record);
  EXPECT_EQ(record->state(), "queued");
  EXPECT_EQ(record->text("queue"), "low");
  EXPECT_FALSE(record->has_ended());
}

TEST_F(RedisQueueClient, RecordsComeInTheOrderOfTheirIdsWithoutTokens) {
  add_job("normal", "a");
  add_job("normal", "b");
  worker->intake();
  worker->claim();
  const auto records = client.find(std::vector<std::string>{"b", "none", "a"});
  ASSERT_EQ(records.size(), 3u);
  EXPECT_EQ(records[0]->state(), "queued");
  EXPECT_FALSE(records[1]);
  EXPECT_EQ(records[2]->state(), "running");
  EXPECT_NE(field("a", "token"), "");
  EXPECT_FALSE(records[2]->fields.contains("token"));
}

TEST_F(RedisQueueClient, EachCommandGetsItsOwnOutcome) {
  add_job("normal", "a");
  auto outcomes = std::async(std::launch::async, [&] {
    return client.carry_out({{"cancel", "id", "a"}, {"cancel", "id", "a"}, {"purge", "id", "a"}, {"pause", "", ""}},
                            milliseconds(20'000), [] {});
  });
  EXPECT_TRUE(eventually([&] {
    worker->intake();
    worker->poll_control();
    return outcomes.wait_for(milliseconds(0)) == std::future_status::ready;
  }));
  const auto all = outcomes.get();
  ASSERT_EQ(all.size(), 4u);
  EXPECT_EQ(all[0].outcome, "cancelled");
  EXPECT_EQ(all[1].outcome, "already cancelled") << "not taken for the first one's";
  EXPECT_EQ(all[2].outcome, "purged");
  EXPECT_EQ(all[3].outcome, "paused");
  EXPECT_TRUE(all[0].is_success());
  EXPECT_FALSE(all[1].is_success());
}

TEST_F(RedisQueueClient, ACommandOfSomebodyElseIsNotTakenForOurs) {
  command("pause", "queue", "low");
  worker->poll_control(); // its event is there before
  int waits = 0;
  const auto outcomes = client.carry_out({{"pause", "queue", "low"}}, milliseconds(30), [&] { ++waits; });
  EXPECT_FALSE(outcomes.at(0).outcome);
  EXPECT_GE(waits, 1);
  EXPECT_EQ(length("control"), 1) << "it stays";
}

TEST_F(RedisQueueClient, EventsAreThoseOfTheJobFromTheOldestOn) {
  for (int i = 0; i < 1500; ++i) // more than one page
    admin.command({"XADD", "tts:events", "1-" + std::to_string(i + 1), "id", i % 500 == 0 ? "a" : "b", "event",
                   std::to_string(i), "detail", ""});
  const auto events = client.events_of("a");
  ASSERT_EQ(events.size(), 3u);
  EXPECT_EQ(events[0].event, "0");
  EXPECT_EQ(events[2].event, "1000");
  EXPECT_EQ(events[2].at, 1);
  EXPECT_EQ(client.events_of("a", "1-600").size(), 1u);
  EXPECT_TRUE(client.events_of("c").empty());
}

TEST_F(RedisQueueClient, MessagesThatAreNoneOfOursArePassedOver) {
  const auto messages = client.subscribe({"a", "b"});
  for (const char* text : {"nonsense", "[]", R"({"id":7,"event":{}})"})
    admin.command({"PUBLISH", "tts:events:a", text});
  admin.command({"PUBLISH", "tts:events:b", R"({"id":"b","event":"progress","progress":"0.5","eta":"9","at":"1700"})"});
  std::optional<JobEvent> event;
  EXPECT_TRUE(eventually([&] {
    event = messages->next(milliseconds(1000));
    return event && event->event == "progress";
  }));
  EXPECT_EQ(event->id, "b");
  EXPECT_EQ(event->progress, 0.5);
  EXPECT_EQ(event->eta, "9");
  EXPECT_EQ(event->at, 1700);
  EXPECT_FALSE(messages->next(milliseconds(1)));
}

TEST_F(RedisQueueClient, ThroughputIsOfTheTimeThatEventsReachBackTo) {
  const auto now = client.now();
  const auto done = [&](std::int64_t at, const std::string& seconds) {
    admin.command({"XADD", "tts:events", std::to_string(at) + "-1", "id", "a", "event", "done", "detail",
                   R"({"audio_seconds":)" + seconds + "}"});
  };
  done(now - 60'000, "100");
  done(now - 1'000, "20.5");
  auto stats = client.stats();
  EXPECT_EQ(stats.done, 2u);
  EXPECT_EQ(stats.audio_seconds, 120.5);
  EXPECT_GE(stats.window_ms, 60'000);
  EXPECT_LT(stats.window_ms, 120'000);
  admin.command({"DEL", "tts:events"});
  done(now - 3'700'000, "1000");
  done(now - 1'000, "20.5");
  stats = client.stats();
  EXPECT_EQ(stats.done, 1u) << "of the last hour";
  EXPECT_EQ(stats.window_ms, 3'600'000);
}

TEST_F(RedisQueueClient, DeadJobsAreReadPageByPageTheNewestFirst) {
  for (int i = 0; i < 250; ++i)
    admin.command({"XADD", "tts:dead", "*", "id", "j" + std::to_string(i), "queue", "low", "error", "broken"});
  EXPECT_EQ(client.dead(0).size(), 250u);
  EXPECT_EQ(client.dead(120).size(), 120u);
  EXPECT_EQ(client.dead(1).at(0).id, "j249") << "the newest first";
}

} // namespace
} // namespace audiobookd::jobs
