// Books of which utterances are redone, by workers that die or sleep meanwhile.
#include "jobs/redis_script.h"
#include "tests/faults/fault_fixture.h"
#include "tests/faults/tcp_proxy.h"

#include <csignal>
#include <gtest/gtest.h>

namespace audiobookd::tests {
namespace {

class FaultRedo : public FaultFixture {
protected:
  static constexpr int paragraphs = 12;

  /// Adds the job that gives @p count utterances of the book of job @p id, which is done, another seed.
  void enqueue_redo(const std::string& id, int count) {
    const nlohmann::json listed = listing(id);
    nlohmann::json job = listed.at("payload");
    job["id"] = id + ".redo-1";
    job["if_exists"] = "replace";
    job["redo"] = {{"gain_db", listed.at("gain_db")}, {"utterances", nlohmann::json::array()}};
    for (int i = 0; i < count; ++i) {
      const nlohmann::json& one = listed.at("utterances").at(i);
      job["redo"]["utterances"].push_back({{"number", one.at("number")}, {"key", one.at("key")}, {"seed", 7}});
    }
    add("normal", job.dump());
  }
  /// A listing without what differs from job to job.
  [[nodiscard]] nlohmann::json utterances(const std::string& id) const {
    nlohmann::json all = listing(id).at("utterances");
    for (nlohmann::json& one : all) {
      one.erase("file");
    }
    return all;
  }
};

// Fault 1.
TEST_F(FaultRedo, AKillInTheMiddleOfARedoGivesTheSameBook) {
  place_.behave(1);
  {
    const auto undisturbed = place_.start({.name = "undisturbed", .loudness = true});
    for (const char* id : {"whole", "book"}) {
      enqueue(id, 1, paragraphs);
      ASSERT_TRUE(is_published(id, 1, paragraphs));
    }
    enqueue_redo("whole", 6);
    ASSERT_TRUE(reaches("whole.redo-1", "done"));
    EXPECT_EQ(undisturbed->end(SIGTERM), 0);
  }
  EXPECT_NE(read_file(place_.output("whole")), read_file(place_.output("book")));
  const std::size_t before = place_.rendered();
  place_.behave_until(before + 3);
  auto first = place_.start({.name = "first", .loudness = true}); // with a store of its own, so that much is missing
  enqueue_redo("book", 6);
  ASSERT_TRUE(comes([&] { return place_.rendered() >= before + 3; }));
  first->end(SIGKILL);
  place_.behave(1);
  const auto second = place_.start({.name = "first", .loudness = true});
  ASSERT_TRUE(reaches("book.redo-1", "done"));
  EXPECT_TRUE(read_file(place_.output("book")) == read_file(place_.output("whole")));
  EXPECT_EQ(utterances("book"), utterances("whole"));
  EXPECT_EQ(listing("book").at("fingerprint"), field("book.redo-1", "commit"));
  EXPECT_EQ(second->end(SIGTERM), 0);
}

// Fault 4: allowed to publish, and then asleep. What it has staged of the listing goes as what it has of the book.
TEST_F(FaultRedo, AWorkerThatSleptPublishesNeitherBookNorListing) {
  place_.behave(1);
  TcpProxy proxy(server.socket());
  {
    const auto worker = place_.start({.name = "worker", .chunks = "shared"});
    enqueue("book", 1, paragraphs);
    ASSERT_TRUE(is_published("book", 1, paragraphs));
    EXPECT_EQ(worker->end(SIGTERM), 0);
  }
  proxy.hold_reply(passes_the_point_of_no_return());
  const auto late = place_.start({.name = "late", .url = proxy.url(), .chunks = "shared"});
  enqueue_redo("book", 2);
  ASSERT_TRUE(comes([&] { return proxy.has_sprung(); }));
  late->signal(SIGSTOP);
  EXPECT_EQ(listing("book").at("job"), "book") << "nothing of it is seen before";
  const auto heir = place_.start({.name = "heir", .chunks = "shared"});
  ASSERT_TRUE(reaches("book.redo-1", "done"));
  EXPECT_EQ(heir->end(SIGTERM), 0);
  const std::string book = read_file(place_.output("book"));
  const nlohmann::json listed = listing("book");
  EXPECT_EQ(listed.at("job"), "book.redo-1");
  proxy.let_go();
  late->signal(SIGCONT);
  EXPECT_TRUE(comes([&] {
    return has_logged("late", "the lease is gone, nothing was published by this run") ||
           has_logged("late", "job book.redo-1: abandoned, nothing was published");
  }));
  late->end(SIGKILL);
  EXPECT_TRUE(read_file(place_.output("book")) == book);
  EXPECT_EQ(listing("book"), listed);
  EXPECT_EQ(listed.at("fingerprint"), field("book.redo-1", "commit"));
}

} // namespace
} // namespace audiobookd::tests
