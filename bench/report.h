// How a benchmark says its result: a table for people, then one line of JSON for programs.
#pragma once

#include <nlohmann/json.hpp>
#include <string>

namespace audiobookd::bench {

/// Prints @p result (flat: names to numbers or strings, in the given order) as a table and as one JSON line.
void print_report(const std::string& benchmark, const nlohmann::ordered_json& result);

} // namespace audiobookd::bench
