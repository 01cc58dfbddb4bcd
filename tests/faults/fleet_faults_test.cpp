// Several workers: of several releases, on several hosts.
#include "jobs/redis_script.h"
#include "tests/faults/fault_fixture.h"
#include "tests/storage/ffmpeg.h"

#include <csignal>
#include <fmt/format.h>
#include <gtest/gtest.h>
#include <map>
#include <memory>
#include <stdexcept>
#include <vector>

namespace audiobookd::tests {
namespace {

// --- Rolling upgrade ------------------------------------------------------------------------------------------------

using FaultUpgrade = FaultFixture;

// Fault 34.
TEST_F(FaultUpgrade, WorkersAreReplacedOneByOneWithJobsInFlight) {
  place_.behave_until(0);
  constexpr int num_workers = 4;
  std::vector<std::unique_ptr<Process>> workers;
  for (int i = 0; i < num_workers; ++i) {
    workers.push_back(place_.start({.name = "old" + std::to_string(i), .chunks = "shared", .max_jobs = 2}));
  }
  constexpr int num_books = 12;
  for (int i = 1; i <= num_books; ++i) {
    enqueue("book" + std::to_string(i), i, 20);
  }
  for (int i = 0; i < num_workers; ++i) {
    const auto enough = static_cast<std::size_t>(30 * (i + 1));
    place_.behave_until(enough);
    ASSERT_TRUE(comes([&] { return place_.rendered() >= enough; }));
    auto& worker = workers[static_cast<std::size_t>(i)];
    EXPECT_EQ(worker->end(SIGTERM), 0);
    worker = place_.start({.name = "new" + std::to_string(i), .chunks = "shared", .max_jobs = 2});
  }
  place_.behave(5);
  for (int i = 1; i <= num_books; ++i) {
    const std::string id = "book" + std::to_string(i);
    EXPECT_TRUE(is_published(id, i, 20));
    EXPECT_EQ(field(id, "attempts"), "0");
  }
  EXPECT_LE(place_.rendered(), std::size_t{20 * num_books + num_workers})
      << "of what the old ones had made, only what they were in the middle of was lost";
}

/// A worker of the next release, as far as the queue sees it: it knows jobs of format 2 as well.
class NextRelease {
public:
  explicit NextRelease(jobs::RedisConnection& connection) : connection_(connection) {}

  /// The next job. @return its id; empty when there is none.
  std::string claim() {
    const jobs::RedisValue reply = jobs::run_script(connection_, jobs::scripts::claim,
                                                    "tts:", {"next", "secret", "2", "1500", "1", "3000", "60", "low"});
    return reply.at(0).text == "job" ? reply.at(1).text : "";
  }
  std::string heartbeat(const std::string& id) {
    return call(jobs::scripts::heartbeat, id, {"running", "0.5", "1", "", "60"});
  }
  std::string complete(const std::string& id) { return call(jobs::scripts::complete, id, {"{}", "60"}); }

private:
  std::string call(const jobs::RedisScript& script, const std::string& id, std::vector<std::string> more) {
    more.insert(more.begin(), {id, "next", "secret"});
    return jobs::run_script(connection_, script, "tts:", more).text;
  }
  jobs::RedisConnection& connection_;
};

TEST_F(FaultUpgrade, JobsOfANewerFormatWaitForANewerWorkerAndTheOthersDoNot) {
  const auto today = place_.start({});
  add("normal", R"({"v":2,"id":"newer","holograms":true,"text":"Hello.","output":"newer.mp3"})");
  enqueue("book", 1, 5);
  EXPECT_TRUE(is_published("book", 1, 5)) << "although a job it does not know came first";
  EXPECT_EQ(state("newer"), "queued");
  EXPECT_EQ(field("newer", "attempts"), "0");
  NextRelease next(admin);
  EXPECT_EQ(next.claim(), "newer");
  EXPECT_EQ(next.heartbeat("newer"), "held");
  EXPECT_EQ(next.complete("newer"), "held");
  EXPECT_EQ(state("newer"), "done");
  EXPECT_EQ(today->end(SIGTERM), 0);
}

TEST_F(FaultUpgrade, AJobThatANewerWorkerLeftBehindIsTakenOver) {
  enqueue("book", 1, 5);
  ASSERT_EQ(make_worker("taker-in")->intake().size(), 1U);
  NextRelease next(admin);
  ASSERT_EQ(next.claim(), "book");
  ASSERT_EQ(next.heartbeat("book"), "held"); // and is never heard of again
  const auto today = place_.start({});
  EXPECT_TRUE(is_published("book", 1, 5));
  EXPECT_EQ(field("book", "attempts"), "0");
  EXPECT_EQ(next.complete("book"), "lost");
  EXPECT_EQ(today->end(SIGTERM), 0);
}

// --- Hosts ----------------------------------------------------------------------------------------------------------

/// A network of three hosts, each a network namespace: Redis on host 0, cables from it to 1 and 2.
class Network {
public:
  Network() {
    add_host({"/usr/bin/unshare", "-rn"});
    for (const int i : {1, 2}) {
      std::vector<std::string> inside = on(0); // of host 0's user namespace, so that it may lay cables
      inside.insert(inside.end(), {"/usr/bin/unshare", "-n"});
      add_host(inside);
      run(0, fmt::format("link add cable{} type veth peer name eth0 netns {}", i, hosts_.back()->pid()));
      run(0, fmt::format("addr add 10.77.{0}.1/24 dev cable{0}", i));
      run(0, fmt::format("link set cable{} up", i));
      run(i, fmt::format("addr add 10.77.{}.2/24 dev eth0", i));
      run(i, "link set eth0 up");
    }
  }

  /// What a program is started with to run on @p host.
  [[nodiscard]] std::vector<std::string> on(int host) const {
    const std::string pid = std::to_string(hosts_[static_cast<std::size_t>(host)]->pid());
    return {"/usr/bin/nsenter", "-t", pid, "-U", "-n", "--preserve-credentials", "--"};
  }
  void pull_cable(int host) { run(0, fmt::format("link set cable{} down", host)); }
  void plug_cable(int host) { run(0, fmt::format("link set cable{} up", host)); }

private:
  void add_host(std::vector<std::string> words) {
    words.insert(words.end(), {"/bin/sleep", "infinity"});
    hosts_.push_back(std::make_unique<Process>(words.front(), std::vector(words.begin() + 1, words.end()),
                                               std::map<std::string, std::string>{}, "/dev/null"));
    const std::string name = "/proc/" + std::to_string(hosts_.back()->pid()) + "/comm";
    if (!comes_true([&] { return !hosts_.back()->is_running() || read_file(name) == "sleep\n"; }) ||
        !hosts_.back()->is_running()) {
      throw std::runtime_error("network namespaces are not permitted here (unshare -rn)");
    }
  }
  void run(int host, const std::string& ip_command) const {
    std::string command;
    for (const std::string& word : on(host)) {
      command += word + " ";
    }
    output_of(command + "ip " + ip_command); // throws
  }

  std::vector<std::unique_ptr<Process>> hosts_;
};

class FaultHosts : private Network, public FaultFixture {
protected:
  FaultHosts()
      : FaultFixture({"--appendonly", "yes", "--port", "6379", "--bind", "0.0.0.0", "--protected-mode", "no"}, {},
                     on(0)) {}

  [[nodiscard]] Worker worker_on(int host) const {
    return {.name = "host" + std::to_string(host),
            .url = fmt::format("redis://10.77.{}.1:6379", host),
            .chunks = "shared",
            .wrapper = on(host)};
  }
  using Network::plug_cable;
  using Network::pull_cable;
};

TEST_F(FaultHosts, TwoHostsShareTheQueue) {
  place_.behave_until(0);
  Worker one = worker_on(1);
  Worker two = worker_on(2);
  one.max_jobs = two.max_jobs = 1;
  const auto first = place_.start(one);
  const auto second = place_.start(two);
  for (int i = 1; i <= 8; ++i) {
    enqueue("book" + std::to_string(i), i, 8);
  }
  ASSERT_TRUE(comes([&] { return has_logged("host1", ": attempt ") && has_logged("host2", ": attempt "); }));
  place_.behave(5);
  for (int i = 1; i <= 8; ++i) {
    EXPECT_TRUE(is_published("book" + std::to_string(i), i, 8));
  }
  EXPECT_GT(place_.rendered("", first->pid()), 0U);
  EXPECT_GT(place_.rendered("", second->pid()), 0U);
  EXPECT_EQ(place_.rendered(), 64U);
  EXPECT_EQ(first->end(SIGTERM), 0);
  EXPECT_EQ(second->end(SIGTERM), 0);
}

TEST_F(FaultHosts, AHostWhoseCableIsPulledLosesItsJobToTheOtherAndPublishesNothing) {
  place_.behave_until(5, "one");
  Worker one = worker_on(1);
  one.engine = "one"; // stands still until the other has published
  const auto first = place_.start(one);
  enqueue("book", 1, 40, R"(,"if_exists":"replace")");
  ASSERT_TRUE(comes([&] { return place_.rendered("", 0, "one") == 5; }));
  const auto second = place_.start(worker_on(2));
  ASSERT_TRUE(comes([&] { return has_logged("host2", "queue: connected"); }));
  pull_cable(1);
  EXPECT_TRUE(is_published("book", 1, 40));
  EXPECT_EQ(rendered(1, second->pid()), 35U);
  plug_cable(1);
  place_.behave(1, "", "one");
  EXPECT_TRUE(comes([&] {
    return has_logged("host1", "the lease is gone, nothing was published by this run") ||
           has_logged("host1", "job book: abandoned, nothing was published");
  }));
  EXPECT_EQ(published_.count("book.mp3"), 1);
  EXPECT_EQ(first->end(SIGTERM), 0);
  EXPECT_EQ(second->end(SIGTERM), 0);
}

} // namespace
} // namespace audiobookd::tests
