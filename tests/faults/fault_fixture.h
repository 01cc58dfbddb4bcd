// A redis-server that keeps what it acknowledged, and a workplace with workers that are whole daemons with a fake
// engine. All periods are those of production times `scale`. Test thread only.
#pragma once

#include "tests/faults/books.h"
#include "tests/faults/publish_watch.h"
#include "tests/faults/workplace.h"
#include "tests/jobs/redis_fixture.h"

#include <chrono>
#include <cstddef>
#include <functional>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

namespace audiobookd::tests {

/// Asks again and again until @p holds; false if it does not within two minutes.
[[nodiscard]] bool comes_true(const std::function<bool()>& holds);

class FaultFixture : public jobs::RedisQueueFixture {
protected:
  static constexpr double scale = 0.05;
  static constexpr std::chrono::milliseconds lease{1500};

  explicit FaultFixture(std::vector<std::string> options = {"--appendonly", "yes"},
                        std::map<std::string, std::string> environment = {}, std::vector<std::string> wrapper = {})
      : RedisQueueFixture(std::move(options), std::move(environment), std::move(wrapper)) {}

  /// Adds a job for the book of @p seed, to be published as ID.mp3. @param more further fields of the job, each with a
  /// comma in front.
  void enqueue(const std::string& id, int seed, int paragraphs, const std::string& more = "") {
    enqueue_text(id, book_text(seed, paragraphs), more);
  }
  void enqueue_text(const std::string& id, const std::string& text, const std::string& more = "");

  /// Waits until @p condition holds. If it never does, the logs are part of what failed.
  ::testing::AssertionResult comes(const std::function<bool()>& condition);
  /// Waits until the record says so.
  ::testing::AssertionResult reaches(const std::string& id, const std::string& wanted_state);
  /// Waits until at least @p utterances of the book of @p seed were rendered.
  ::testing::AssertionResult is_midway(int seed, std::size_t utterances);
  /// Waits until the job is done. Its book must have been published exactly once and be whole, and the listing beside
  /// it must be of this book.
  ::testing::AssertionResult is_published(const std::string& id, int seed, int paragraphs);

  [[nodiscard]] std::size_t rendered(int seed, pid_t process = 0) const {
    return place_.rendered(beginning_of(seed), process);
  }
  [[nodiscard]] bool has_logged(const std::string& worker, const std::string& text) const {
    return read_file(place_.log(worker)).find(text) != std::string::npos;
  }
  /// The listing of the utterances of ID.mp3; empty if there is none.
  [[nodiscard]] nlohmann::json listing(const std::string& id) const;
  [[nodiscard]] std::string result(const std::string& id, const std::string& key);
  /// Starts redis-server again after server.kill().
  void start_redis();

  Workplace place_{server.url(), scale};
  PublishWatch published_{place_.path("out")};
};

} // namespace audiobookd::tests
