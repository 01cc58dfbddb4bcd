#include "bench/report.h"

#include <cstdio>

namespace audiobookd::bench {

void print_report(const std::string& benchmark, const nlohmann::ordered_json& result) {
  std::printf("%s\n", benchmark.c_str());
  for (const auto& [name, value] : result.items()) {
    if (value.is_number_float()) {
      std::printf("  %-24s %.3f\n", name.c_str(), value.get<double>());
    } else {
      std::printf("  %-24s %s\n", name.c_str(),
                  value.is_string() ? value.get<std::string>().c_str() : value.dump().c_str());
    }
  }
  nlohmann::ordered_json line = {{"benchmark", benchmark}};
  line.update(result);
  std::printf("%s\n", line.dump().c_str());
  std::fflush(stdout);
}

} // namespace audiobookd::bench
