// How a benchmark says its result: a table for people, then one line of JSON for programs.
#pragma once

#include "bench/options.h"
#include "bench/profiler.h"
#include "bench/workload.h"

#include <nlohmann/json.hpp>
#include <string>

namespace audiobookd::bench {

using Json = nlohmann::ordered_json;

/// What a report begins with: model, device, threads, and how the workload was made.
Json settings(const Options& options, const std::vector<BenchUtterance>& workload);

/// Adds wall clock, x real time and tokens a second.
void add_rates(Json& result, const std::vector<BenchUtterance>& workload, double seconds);

/// Shares of @p activity by class of kernel, largest first, and how much of it the GPU was idle. They are of the
/// stretch that was watched, so those of classes and "idle" add up to 1 where streams do not overlap.
Json shares(const GpuActivity& activity);

/// Prints the kernels that took longest.
void print_kernels(const GpuActivity& activity);

/// Prints @p result (numbers, strings and objects of such, in the given order) as a table and as one JSON line.
void print_report(const std::string& benchmark, const Json& result);

} // namespace audiobookd::bench
