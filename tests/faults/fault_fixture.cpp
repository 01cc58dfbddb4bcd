#include "tests/faults/fault_fixture.h"

#include <nlohmann/json.hpp>
#include <thread>

namespace audiobookd::tests {

bool comes_true(const std::function<bool()>& holds) {
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::minutes(2);
  while (!holds()) {
    if (std::chrono::steady_clock::now() > deadline) {
      return false;
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(5)); // between two looks, not instead of one
  }
  return true;
}

void FaultFixture::enqueue_text(const std::string& id, const std::string& text, const std::string& more) {
  write_file(place_.path("in") / (id + ".txt"), text);
  add("normal", R"({"id":")" + id + R"(","input":")" + id + R"(.txt","output":")" + id + R"(.mp3","title":"A book")" +
                    more + "}");
}

::testing::AssertionResult FaultFixture::comes(const std::function<bool()>& condition) {
  if (comes_true(condition)) {
    return ::testing::AssertionSuccess();
  }
  return ::testing::AssertionFailure() << "still not after two minutes; logs:\n" << place_.all_logs();
}

::testing::AssertionResult FaultFixture::reaches(const std::string& id, const std::string& wanted_state) {
  auto result = comes([&] { return state(id) == wanted_state; });
  return result ? result : result << "job " << id << " is " << state(id) << " " << field(id, "error");
}

::testing::AssertionResult FaultFixture::is_midway(int seed, std::size_t utterances) {
  return comes([&] { return rendered(seed) >= utterances; });
}

::testing::AssertionResult FaultFixture::is_published(const std::string& id, int seed, int paragraphs) {
  if (auto done = reaches(id, "done"); !done) {
    return done;
  }
  const int times = published_.count(id + ".mp3");
  const std::size_t samples = times > 0 ? decoded_samples(place_.output(id)) : 0;
  const bool is_listed = times > 0 && listing(id).value("fingerprint", "") == field(id, "commit");
  if (times == 1 && samples == book_samples(seed, paragraphs) && is_listed) {
    return ::testing::AssertionSuccess();
  }
  return ::testing::AssertionFailure() << id << " was published " << times << " times and has " << samples
                                       << " samples of " << book_samples(seed, paragraphs)
                                       << (is_listed ? "" : ", and no listing of this book") << "; logs:\n"
                                       << place_.all_logs();
}

std::string FaultFixture::result(const std::string& id, const std::string& key) {
  const nlohmann::json json = nlohmann::json::parse(field(id, "result"));
  return json.contains(key) ? json.at(key).dump() : "";
}

nlohmann::json FaultFixture::listing(const std::string& id) const {
  const fs::path audio = place_.output(id);
  const fs::path file = audio.parent_path() / ("." + audio.filename().string() + ".utterances.json");
  return fs::exists(file) ? nlohmann::json::parse(read_file(file)) : nlohmann::json::object();
}

void FaultFixture::start_redis() {
  server.start();
  admin.connect();
}

} // namespace audiobookd::tests
