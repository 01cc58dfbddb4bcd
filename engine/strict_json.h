// Parsing JSON from files that may be damaged or hostile: bounded depth, no duplicate keys. Any thread.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

namespace audiobookd::engine {

/// Parses @p text; the top level has depth 1 and nothing may be nested deeper than @p max_depth.
/// @param source names the text in messages (a path).
/// @throws std::runtime_error naming @p source: not JSON (with the position), a key that occurs twice in one object,
/// nesting too deep.
[[nodiscard]] nlohmann::json parse_strict_json(std::string_view text, const std::string& source, int max_depth);

} // namespace audiobookd::engine
