// What users do: jobs twice, jobs cancelled, and jobs that are none.
#include "tests/faults/fault_fixture.h"

#include <csignal>
#include <gtest/gtest.h>

namespace audiobookd::tests {
namespace {

using FaultInput = FaultFixture;

// Fault 28.
TEST_F(FaultInput, AJobThatIsAddedTwiceIsRenderedAndPublishedOnce) {
  place_.behave(10);
  const auto first = place_.start({.name = "first"});
  const auto second = place_.start({.name = "second"});
  for (int i = 0; i < 5; ++i) {
    enqueue("book", 1, 20);
    enqueue("key" + std::to_string(i), 2, 20, R"(,"idempotency_key":"same")");
  }
  EXPECT_TRUE(is_published("book", 1, 20));
  ASSERT_TRUE(comes([&] { return length("q:normal") == 0; }));
  enqueue("book", 1, 20); // and when it is done
  EXPECT_TRUE(comes([&] { return length("q:normal") == 0; }));
  EXPECT_EQ(published_.counts().size(), 2U);
  EXPECT_TRUE(is_published("book", 1, 20));
  EXPECT_EQ(rendered(1) + rendered(2), 40U);
  EXPECT_TRUE(has_event("book", "duplicate", "book"));
  EXPECT_EQ(first->end(SIGTERM), 0);
  EXPECT_EQ(second->end(SIGTERM), 0);
}

// Fault 29.
TEST_F(FaultInput, AJobThatIsCancelledWhileItRunsIsNotPublishedAndItsNeighbourIs) {
  place_.behave_until(10);
  const auto worker = place_.start({});
  enqueue("unwanted", 1, 60);
  enqueue("wanted", 2, 60);
  ASSERT_TRUE(reaches("unwanted", "running"));
  ASSERT_TRUE(reaches("wanted", "running"));
  command("cancel", "id", "unwanted");
  EXPECT_TRUE(reaches("unwanted", "cancelled"));
  EXPECT_TRUE(comes([&] { return has_logged("worker", "job unwanted: abandoned, nothing was published"); }));
  EXPECT_LT(rendered(1), 60U);
  place_.behave(5);
  EXPECT_TRUE(is_published("wanted", 2, 60));
  EXPECT_EQ(published_.count("unwanted.mp3"), 0);
  EXPECT_EQ(worker->end(SIGTERM), 0);
}

// Fault 30.
TEST_F(FaultInput, WhatIsNoJobIsBuriedWithItsReasonAndTheOthersRun) {
  const auto worker = place_.start({});
  const std::map<std::string, std::string> malformed = {
      {"", "JSON"},
      {"not json", "JSON"},
      {R"({"id":"open","text":"a)", "JSON"},
      {std::string("\0\0\0\0", 4), "JSON"},
      {"\xff\xfe{}", "JSON"},
      {std::string(100'000, '['), "deep"},
      {R"({"a":)" + std::string(50'000, '[') + std::string(50'000, ']') + "}", "deep"},
      {R"({"text":")" + std::string(4'194'304, 'x') + R"(","output":"huge.mp3"})", "4194304"},
      {R"({"text":"Hello.","output":"a.mp3","output":"b.mp3"})", "twice"},
      {R"({"text":"Hello.","output":"../../etc/passwd.mp3"})", "output"},
      {R"({"text":"Hello.","output":"a.mp3","max_attempts":1e308})", "max_attempts"},
      {R"(["a","list"])", "object"},
  };
  std::map<std::string, std::string> reasons; // entry id -> part of the reason
  for (const auto& [payload, reason] : malformed) {
    reasons[add("normal", payload)] = reason;
  }
  admin.command({"XADD", "tts:q:normal", "*", "nothing", "of interest"});
  enqueue("good", 1, 3);
  EXPECT_TRUE(is_published("good", 1, 3));
  EXPECT_TRUE(comes([&] { return length("dead") == static_cast<std::int64_t>(malformed.size()) + 1; }));
  for (const auto& [entry, reason] : reasons) {
    EXPECT_EQ(state(entry), "dead");
    EXPECT_NE(field(entry, "error").find(reason), std::string::npos) << reason << ": " << field(entry, "error");
  }
  EXPECT_EQ(published_.counts().size(), 1U);
  EXPECT_EQ(worker->end(SIGTERM), 0);
}

} // namespace
} // namespace audiobookd::tests
