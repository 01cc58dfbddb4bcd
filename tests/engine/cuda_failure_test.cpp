// A GPU that fails for good in the middle of the work: whoever renders is told, and goes on living.
#include "engine/device.h"
#include "tests/engine/engine_run.h"
#include "tests/engine/golden.h"

#include <ATen/ATen.h>
#include <cstdlib>
#include <iostream>

namespace audiobookd::tests {
namespace {

/// Every call to the device fails from now on, in this process.
void break_device() {
  const auto on_device = at::TensorOptions(test_device());
  static_cast<void>(at::zeros({1}, on_device).index_select(0, at::full({1}, 7, on_device.dtype(at::kLong))));
}

/// @return exit status: 0 when the run ends with an error
int render_on_a_device_that_fails() {
  try {
    const std::unique_ptr<engine::Engine> engine = engine::Engine::load(tiny_options());
    Recorder recorder(some_utterances(40));
    bool broken = false;
    recorder.on_tokens = [&broken](engine::UtteranceId) {
      if (!broken) {
        broken = true;
        break_device();
      }
    };
    engine->run(recorder, recorder, recorder.stop.get_token());
  } catch (const std::exception& error) {
    std::cerr << "the run ends: " << error.what() << std::endl;
    return 0;
  }
  return 2;
}

/// @return exit status: 0 when it can be let go
int let_go_of_memory_that_the_device_reads() {
  const at::Tensor on_device = at::zeros({1000}, at::TensorOptions(test_device()));
  at::Tensor host = engine::host_tensor({1000}, at::kFloat, test_device());
  host.copy_(on_device, /*non_blocking=*/true);
  break_device();
  try {
    static_cast<void>(on_device.cpu());
  } catch (const c10::Error&) {
    host.reset();
    return 0;
  }
  return 2; // the device does not fail
}

class GpuFailure : public testing::Test {
protected:
  void SetUp() override { GTEST_FLAG_SET(death_test_style, "threadsafe"); } // a process that has not seen the device
};

TEST_F(GpuFailure, EndsTheRunWithAnErrorNotTheProcess) {
  EXPECT_EXIT(std::exit(render_on_a_device_that_fails()), testing::ExitedWithCode(0),
              "the run ends: CUDA error: device-side assert triggered\n");
}

TEST_F(GpuFailure, HostMemoryOutlivesTheDevice) {
  EXPECT_EXIT(std::exit(let_go_of_memory_that_the_device_reads()), testing::ExitedWithCode(0), "");
}

} // namespace
} // namespace audiobookd::tests
