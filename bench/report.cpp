#include "bench/report.h"

#include "bench/kernel_classes.h"
#include "engine/device.h"

#include <algorithm>
#include <cstdio>
#include <map>

namespace audiobookd::bench {
namespace {

void print_table(const Json& object, int indent) {
  for (const auto& [name, value] : object.items()) {
    const int width = std::max(1, 30 - indent);
    if (value.is_object()) {
      std::printf("%*s%s\n", indent, "", name.c_str());
      print_table(value, indent + 2);
    } else if (value.is_number_float()) {
      std::printf("%*s%-*s %.4g\n", indent, "", width, name.c_str(), value.get<double>());
    } else {
      std::printf("%*s%-*s %s\n", indent, "", width, name.c_str(),
                  value.is_string() ? value.get<std::string>().c_str() : value.dump().c_str());
    }
  }
}

} // namespace

Json settings(const Options& options, const std::vector<BenchUtterance>& workload) {
  return {{"checkpoint", options.checkpoint.filename().string()},
          {"device", engine::device_name(engine::resolve_device(options.device))},
          {"dtype", "fp32"},
          {"cpu_threads", options.threads},
          {"utterances", static_cast<int>(workload.size())},
          {"lengths", "forced, 388 +- 90 tokens"},
          {"audio_seconds", audio_seconds(workload)}};
}

void add_rates(Json& result, const std::vector<BenchUtterance>& workload, double seconds) {
  result["wall_seconds"] = seconds;
  result["times_real_time"] = audio_seconds(workload) / seconds;
  result["tokens_per_second"] = 25 * audio_seconds(workload) / seconds;
}

Json shares(const GpuActivity& activity) {
  std::map<std::string, double> seconds;
  for (const KernelTime& kernel : activity.kernels) {
    seconds[std::string(kernel_class(kernel.name))] += kernel.seconds;
  }
  std::vector<std::pair<std::string, double>> classes(seconds.begin(), seconds.end());
  std::sort(classes.begin(), classes.end(), [](const auto& a, const auto& b) { return a.second > b.second; });
  Json result;
  for (const auto& [name, class_seconds] : classes) {
    result[name] = class_seconds / activity.seconds;
  }
  result["idle"] = 1 - activity.busy_seconds / activity.seconds;
  return result;
}

void print_kernels(const GpuActivity& activity) {
  constexpr std::size_t most_kernels = 15;
  constexpr int most_characters = 120;
  std::printf("\n  share   launches  us each  class             kernel\n");
  for (std::size_t i = 0; i < std::min(most_kernels, activity.kernels.size()); ++i) {
    const KernelTime& kernel = activity.kernels[i];
    std::printf("  %5.1f %% %8lld %8.1f  %-17s %.*s\n", 100 * kernel.seconds / activity.seconds,
                static_cast<long long>(kernel.launches), 1e6 * kernel.seconds / static_cast<double>(kernel.launches),
                kernel_class(kernel.name).data(), most_characters, kernel.name.c_str());
  }
  std::printf("  %5.1f %% idle, of %.3f s watched\n\n", 100 * (1 - activity.busy_seconds / activity.seconds),
              activity.seconds);
}

void print_report(const std::string& benchmark, const Json& result) {
  std::printf("%s\n", benchmark.c_str());
  print_table(result, 2);
  Json line = {{"benchmark", benchmark}};
  line.update(result);
  std::printf("%s\n", line.dump().c_str());
  std::fflush(stdout);
}

} // namespace audiobookd::bench
