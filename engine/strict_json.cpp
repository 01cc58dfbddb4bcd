// A parser callback that watches depth and keys. Any thread.
#include "engine/strict_json.h"

#include <set>
#include <stdexcept>
#include <vector>

namespace audiobookd::engine {
namespace {

/// Called by the parser for each event; throws out of the parse.
class Watch {
public:
  Watch(const std::string& source, int max_depth) : source_(source), max_depth_(max_depth) {}

  bool operator()(int depth, nlohmann::json::parse_event_t event, const nlohmann::json& parsed) {
    using Event = nlohmann::json::parse_event_t;
    if ((event == Event::object_start || event == Event::array_start) && depth >= max_depth_) {
      throw std::runtime_error(source_ + ": JSON is nested deeper than " + std::to_string(max_depth_) + " levels");
    }
    if (event == Event::object_start) {
      keys_.emplace_back();
    } else if (event == Event::object_end) {
      keys_.pop_back();
    } else if (event == Event::key && !keys_.back().insert(parsed.get<std::string>()).second) {
      throw std::runtime_error(source_ + ": the key " + parsed.dump() + " occurs twice");
    }
    return true;
  }

private:
  const std::string& source_;
  const int max_depth_;
  std::vector<std::set<std::string>> keys_; // of every open object
};

} // namespace

nlohmann::json parse_strict_json(std::string_view text, const std::string& source, int max_depth) {
  Watch watch(source, max_depth);
  try {
    return nlohmann::json::parse(text, std::ref(watch));
  } catch (const nlohmann::json::exception& error) {
    throw std::runtime_error(source + ": not valid JSON: " + error.what());
  }
}

} // namespace audiobookd::engine
