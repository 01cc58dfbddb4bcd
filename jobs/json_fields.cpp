// See json_fields.h.
#include "jobs/json_fields.h"

#include <algorithm>
#include <numeric>
#include <set>
#include <sstream>

namespace audiobookd::jobs {
namespace {

using nlohmann::json;

/// Watches the parser: stops at the depth limit and at the second key of the same name in one object.
class ParseGuard {
public:
  explicit ParseGuard(int max_depth) : max_depth_(max_depth) {}

  bool operator()(int depth, json::parse_event_t event, json& parsed) {
    const bool opens = event == json::parse_event_t::object_start || event == json::parse_event_t::array_start;
    if (opens && depth >= max_depth_)
      throw JobError("the job nests deeper than " + std::to_string(max_depth_) + " levels");
    if (event == json::parse_event_t::object_start)
      keys_.emplace_back();
    else if (event == json::parse_event_t::object_end)
      keys_.pop_back();
    else if (event == json::parse_event_t::key && !keys_.back().insert(parsed.get<std::string>()).second)
      throw JobError(parsed.get<std::string>() + ": the field is given twice");
    return true;
  }

private:
  int max_depth_;
  std::vector<std::set<std::string>> keys_;
};

std::size_t edit_distance(std::string_view a, std::string_view b) {
  std::vector<std::size_t> row(b.size() + 1);
  std::iota(row.begin(), row.end(), std::size_t{0});
  for (std::size_t i = 0; i < a.size(); ++i) {
    std::size_t diagonal = std::exchange(row[0], i + 1);
    for (std::size_t j = 0; j < b.size(); ++j) {
      const std::size_t replaced = diagonal + (a[i] == b[j] ? 0 : 1);
      diagonal = std::exchange(row[j + 1], std::min({row[j] + 1, row[j + 1] + 1, replaced}));
    }
  }
  return row.back();
}

/// @p value as JSON, shortened so that a message stays readable.
std::string shown(const json& value) {
  constexpr std::size_t longest = 60;
  std::string text = value.dump(-1, ' ', true);
  if (text.size() > longest)
    text = text.substr(0, longest) + "…";
  return text;
}

std::string shown(const Range& range) {
  std::ostringstream text;
  text << (range.low_is_open ? "(" : "[") << range.low << ", " << range.high << "]";
  return text.str();
}

} // namespace

json parse_json(std::string_view text, int max_depth) {
  try {
    return json::parse(text,
                       [guard = ParseGuard(max_depth)](int depth, json::parse_event_t event, json& parsed) mutable {
                         return guard(depth, event, parsed);
                       });
  } catch (const json::exception& error) {
    const std::string what = error.what();
    const std::size_t prefix_end = what.find("] ");
    throw JobError("not valid JSON: " + (prefix_end == std::string::npos ? what : what.substr(prefix_end + 2)));
  }
}

JsonFields::JsonFields(const json& object, std::string path, std::vector<std::string_view> known)
    : object_(object), path_(std::move(path)), known_(std::move(known)) {
  if (!object.is_object())
    throw JobError((path_.empty() ? std::string("the job") : path_) + ": expected a JSON object, found " +
                   shown(object));
  reject_unknown();
}

const json* JsonFields::find(std::string_view name) const {
  const auto found = object_.find(std::string(name));
  return found == object_.end() ? nullptr : &*found;
}

void JsonFields::fail(std::string_view name, const std::string& complaint) const {
  throw JobError((path_.empty() ? "" : path_ + ".") + std::string(name) + ": " + complaint);
}

void JsonFields::fail_type(std::string_view name, const json& value, std::string_view expected) const {
  fail(name, "expected " + std::string(expected) + ", found " + shown(value));
}

std::optional<std::string> JsonFields::text(std::string_view name, std::size_t max_bytes) const {
  const json* value = find(name);
  if (value == nullptr)
    return std::nullopt;
  if (!value->is_string())
    fail_type(name, *value, "a string");
  auto text = value->get<std::string>();
  if (text.empty())
    fail(name, "must not be empty (leave the field out instead)");
  if (text.size() > max_bytes)
    fail(name, std::to_string(text.size()) + " bytes, at most " + std::to_string(max_bytes) + " are allowed");
  if (text.find('\0') != std::string::npos)
    fail(name, "contains a NUL character");
  return text;
}

std::optional<std::string> JsonFields::text_or_number(std::string_view name, std::size_t max_bytes) const {
  const json* value = find(name);
  return value != nullptr && value->is_number() ? value->dump() : text(name, max_bytes);
}

std::optional<int> JsonFields::integer(std::string_view name, Range range) const {
  const json* value = find(name);
  if (value == nullptr)
    return std::nullopt;
  const std::string expected = "an integer in " + shown(range);
  if (!value->is_number_integer() || !range.contains(value->get<double>()))
    fail_type(name, *value, expected);
  return value->get<int>();
}

std::optional<std::uint64_t> JsonFields::unsigned_integer(std::string_view name) const {
  const json* value = find(name);
  if (value == nullptr)
    return std::nullopt;
  if (!value->is_number_unsigned())
    fail_type(name, *value, "an integer in [0, 18446744073709551615]");
  return value->get<std::uint64_t>();
}

std::optional<std::int64_t> JsonFields::unix_time(std::string_view name) const {
  constexpr std::uint64_t year_2200 = 7258118400;
  const json* value = find(name);
  if (value == nullptr)
    return std::nullopt;
  if (!value->is_number_unsigned() || value->get<std::uint64_t>() > year_2200)
    fail_type(name, *value, "a Unix time in whole seconds, at most 7258118400");
  return value->get<std::int64_t>();
}

std::optional<double> JsonFields::real(std::string_view name, Range range) const {
  const json* value = find(name);
  if (value == nullptr)
    return std::nullopt;
  if (!value->is_number() || !range.contains(value->get<double>()))
    fail_type(name, *value, "a number in " + shown(range));
  return value->get<double>();
}

std::optional<float> JsonFields::number(std::string_view name, Range range) const {
  const auto value = real(name, range);
  return value ? std::optional(static_cast<float>(*value)) : std::nullopt;
}

std::optional<bool> JsonFields::boolean(std::string_view name) const {
  const json* value = find(name);
  if (value == nullptr)
    return std::nullopt;
  if (!value->is_boolean())
    fail_type(name, *value, "true or false");
  return value->get<bool>();
}

std::optional<std::map<std::string, std::string, std::less<>>> JsonFields::texts(std::string_view name) const {
  const json* value = find(name);
  if (value == nullptr)
    return std::nullopt;
  if (!value->is_object())
    fail_type(name, *value, "an object like {\"written\": \"spoken\"}");
  std::map<std::string, std::string, std::less<>> texts;
  for (const auto& [key, text] : value->items()) {
    if (!text.is_string())
      fail(name, shown(json(key)) + ": expected a string, found " + shown(text));
    texts.emplace(key, text.get<std::string>());
  }
  return texts;
}

std::optional<std::size_t> JsonFields::choice(std::string_view name,
                                              const std::vector<std::string_view>& choices) const {
  const json* value = find(name);
  if (value == nullptr)
    return std::nullopt;
  if (value->is_string()) {
    const auto found = std::find(choices.begin(), choices.end(), value->get_ref<const std::string&>());
    if (found != choices.end())
      return static_cast<std::size_t>(found - choices.begin());
  }
  std::string expected;
  for (const std::string_view choice : choices)
    expected += (expected.empty() ? "\"" : ", \"") + std::string(choice) + "\"";
  fail_type(name, *value,
            choices.size() == 1 ? expected + " (this version supports nothing else)" : "one of " + expected);
}

std::optional<JsonFields> JsonFields::object(std::string_view name, std::vector<std::string_view> known) const {
  const json* value = find(name);
  if (value == nullptr)
    return std::nullopt;
  return JsonFields(*value, path_.empty() ? std::string(name) : path_ + "." + std::string(name), std::move(known));
}

std::vector<JsonFields> JsonFields::objects(std::string_view name, const std::vector<std::string_view>& known) const {
  const json* value = find(name);
  std::vector<JsonFields> all;
  if (value == nullptr)
    return all;
  if (!value->is_array())
    fail_type(name, *value, "a list of objects");
  for (std::size_t i = 0; i < value->size(); ++i) {
    const std::string place = std::string(name) + "[" + std::to_string(i) + "]";
    all.emplace_back((*value)[i], path_.empty() ? place : path_ + "." + place, known);
  }
  return all;
}

bool JsonFields::is_object(std::string_view name) const {
  const json* value = find(name);
  return value != nullptr && value->is_object();
}

std::string JsonFields::suggestion_for(std::string_view name) const {
  const auto nearest = std::min_element(known_.begin(), known_.end(), [&](const auto& a, const auto& b) {
    return edit_distance(name, a) < edit_distance(name, b);
  });
  if (name.size() > 64 || nearest == known_.end() || edit_distance(name, *nearest) > 1 + nearest->size() / 4)
    return "";
  return "; did you mean \"" + std::string(*nearest) + "\"?";
}

void JsonFields::reject_unknown() const {
  std::string complaints;
  for (const auto& [name, value] : object_.items()) {
    if (std::find(known_.begin(), known_.end(), name) != known_.end())
      continue;
    const std::string where = path_.empty() ? name : path_ + "." + name;
    complaints += (complaints.empty() ? "" : "\n") + shown(where) + ": unknown field" + suggestion_for(name);
  }
  if (!complaints.empty())
    throw JobError(complaints);
}

} // namespace audiobookd::jobs
