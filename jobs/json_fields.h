// Reads the fields of a JSON object that a person wrote: every complaint names the field, what was found and what was
// expected, and a field that nobody asked for is an error.
//
// A JsonFields is used by one thread.
#pragma once

#include "jobs/job.h"

#include <cstdint>
#include <functional>
#include <limits>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace audiobookd::jobs {

/// Parses JSON with a cap on nesting and no duplicate keys.
/// @throws JobError saying what is wrong and where.
[[nodiscard]] nlohmann::json parse_json(std::string_view text, int max_depth);

/// A range of numbers; the ends belong to it unless open.
struct Range {
  double low = -std::numeric_limits<double>::infinity();
  double high = std::numeric_limits<double>::infinity();
  bool low_is_open = false;

  [[nodiscard]] bool contains(double value) const noexcept {
    return (low_is_open ? value > low : value >= low) && value <= high;
  }
};

/// The fields of one object. Each getter returns nothing if its field is absent and throws JobError if the value is not
/// what was asked for.
class JsonFields {
public:
  /// @param object must outlive this.
  /// @param path where the object stands in the job ("params"), empty at the top.
  /// @param known all fields that the object may have.
  /// @throws JobError if @p object is not a JSON object, or has unknown fields: it names them, each with the known
  /// field that looks like it, if any.
  JsonFields(const nlohmann::json& object, std::string path, std::vector<std::string_view> known);

  /// Text of at most @p max_bytes bytes without NUL; empty text is an error.
  std::optional<std::string> text(std::string_view name, std::size_t max_bytes) const;
  /// The same, or a number, as it is written.
  std::optional<std::string> text_or_number(std::string_view name, std::size_t max_bytes) const;
  std::optional<int> integer(std::string_view name, Range range) const;
  std::optional<std::uint64_t> unsigned_integer(std::string_view name) const;
  std::optional<std::int64_t> unix_time(std::string_view name) const;
  std::optional<float> number(std::string_view name, Range range) const;
  /// The same as number(), in full precision.
  std::optional<double> real(std::string_view name, Range range) const;
  std::optional<bool> boolean(std::string_view name) const;
  /// An object of names that the writer chose, each with a text, which may be empty.
  std::optional<std::map<std::string, std::string, std::less<>>> texts(std::string_view name) const;
  /// Index of the value among @p choices.
  std::optional<std::size_t> choice(std::string_view name, const std::vector<std::string_view>& choices) const;
  std::optional<JsonFields> object(std::string_view name, std::vector<std::string_view> known) const;

  /// A list of objects; empty if there is none.
  std::vector<JsonFields> objects(std::string_view name, const std::vector<std::string_view>& known) const;

  /// Whether the field's value is an object.
  [[nodiscard]] bool is_object(std::string_view name) const;

  [[noreturn]] void fail(std::string_view name, const std::string& complaint) const;

private:
  [[nodiscard]] const nlohmann::json* find(std::string_view name) const;
  void reject_unknown() const;
  [[noreturn]] void fail_type(std::string_view name, const nlohmann::json& value, std::string_view expected) const;
  [[nodiscard]] std::string suggestion_for(std::string_view name) const;

  const nlohmann::json& object_;
  std::string path_;
  std::vector<std::string_view> known_;
};

} // namespace audiobookd::jobs
