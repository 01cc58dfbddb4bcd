#include "bench/profiler.h"

#include "bench/gpu.h"
#include "bench/kernel_classes.h"

#include <algorithm>
#include <kineto/ActivityType.h>
#include <map>
#include <stdexcept>
#include <string_view>
#include <torch/csrc/autograd/profiler_kineto.h>

namespace audiobookd::bench {
namespace {

namespace kineto = torch::autograd::profiler;
using torch::profiler::impl::ProfilerConfig;
using torch::profiler::impl::ProfilerState;

constexpr double seconds_per_ns = 1e-9;

bool is_gpu_work(const kineto::KinetoEvent& event) {
  const auto type = static_cast<libkineto::ActivityType>(event.activityType());
  return type == libkineto::ActivityType::CONCURRENT_KERNEL || type == libkineto::ActivityType::GPU_MEMCPY ||
         type == libkineto::ActivityType::GPU_MEMSET;
}

GpuActivity gpu_activity(const std::vector<kineto::KinetoEvent>& events) {
  struct Interval {
    std::uint64_t begin, end;
  };
  std::vector<Interval> intervals;
  std::map<std::string, KernelTime> by_name;
  for (const kineto::KinetoEvent& event : events) {
    if (is_gpu_work(event)) {
      intervals.push_back({event.startNs(), event.endNs()});
      KernelTime& kernel = by_name[event.name()];
      ++kernel.launches;
      kernel.seconds += seconds_per_ns * static_cast<double>(event.durationNs());
    }
  }
  GpuActivity activity;
  if (intervals.empty()) {
    return activity;
  }
  std::sort(intervals.begin(), intervals.end(), [](const auto& a, const auto& b) { return a.begin < b.begin; });
  std::uint64_t covered = intervals.front().begin; // everything up to here is counted
  std::uint64_t busy = 0;
  for (const Interval& interval : intervals) {
    const std::uint64_t begin = std::max(interval.begin, covered);
    busy += interval.end > begin ? interval.end - begin : 0;
    covered = std::max(covered, interval.end);
  }
  activity.seconds = seconds_per_ns * static_cast<double>(covered - intervals.front().begin);
  activity.busy_seconds = seconds_per_ns * static_cast<double>(busy);
  for (auto& [name, kernel] : by_name) {
    kernel.name = name;
    activity.kernels.push_back(std::move(kernel));
  }
  std::sort(activity.kernels.begin(), activity.kernels.end(),
            [](const KernelTime& a, const KernelTime& b) { return a.seconds > b.seconds; });
  return activity;
}

} // namespace

double GpuActivity::seconds_of(std::string_view wanted) const {
  double sum = 0;
  for (const KernelTime& kernel : kernels) {
    sum += kernel_class(kernel.name) == wanted ? kernel.seconds : 0;
  }
  return sum;
}

Profiler::Profiler(at::Device device) : device_(device) {
  std::set<torch::profiler::impl::ActivityType> activities{torch::profiler::impl::ActivityType::CPU};
  if (device.is_cuda()) {
    activities.insert(torch::profiler::impl::ActivityType::CUDA);
  }
  ProfilerConfig config(ProfilerState::KINETO);
  config.experimental_config.profile_all_threads = true;
  synchronize(device);
  kineto::prepareProfiler(config, activities);
  kineto::enableProfiler(config, activities, {at::RecordScope::FUNCTION, at::RecordScope::USER_SCOPE});
}

Profiler::~Profiler() {
  if (running_) {
    kineto::disableProfiler();
  }
}

GpuActivity Profiler::stop(const std::filesystem::path& trace) {
  synchronize(device_);
  running_ = false;
  const auto result = kineto::disableProfiler();
  if (!trace.empty()) {
    std::filesystem::remove(trace);
    result->save(trace.string());
    if (!std::filesystem::exists(trace)) { // save() only logs
      throw std::runtime_error("the trace " + trace.string() + " could not be written");
    }
  }
  GpuActivity activity = gpu_activity(result->events());
  if (device_.is_cuda() && activity.kernels.empty()) {
    throw std::runtime_error("the profiler saw no GPU kernel: is libcupti of the wheel in the library path?");
  }
  return activity;
}

} // namespace audiobookd::bench
