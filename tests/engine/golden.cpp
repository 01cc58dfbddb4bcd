#include "tests/engine/golden.h"

#include <ATen/Context.h>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <set>
#include <stdexcept>

namespace audiobookd::tests {
namespace {

at::ScalarType scalar_type(engine::Dtype dtype) {
  switch (dtype) {
  case engine::Dtype::f64: return at::kDouble;
  case engine::Dtype::f32: return at::kFloat;
  case engine::Dtype::f16: return at::kHalf;
  case engine::Dtype::bf16: return at::kBFloat16;
  case engine::Dtype::i64: return at::kLong;
  case engine::Dtype::i32: return at::kInt;
  case engine::Dtype::i16: return at::kShort;
  case engine::Dtype::i8: return at::kChar;
  case engine::Dtype::u8: return at::kByte;
  case engine::Dtype::boolean: return at::kBool;
  }
  throw std::logic_error("unknown dtype");
}

} // namespace

std::filesystem::path data_dir() {
  const char* dir = std::getenv("AUDIOBOOKD_TEST_DATA_DIR");
  return dir != nullptr ? std::filesystem::path(dir) : std::filesystem::path(AUDIOBOOKD_SOURCE_DIR) / "tests/data";
}

std::filesystem::path golden_dir() {
  const char* dir = std::getenv("AUDIOBOOKD_GOLDEN_DIR");
  return dir != nullptr ? std::filesystem::path(dir) : data_dir() / "golden";
}

at::Device test_device() {
  const char* name = std::getenv("AUDIOBOOKD_TEST_DEVICE");
  at::globalContext().setAllowTF32CuBLAS(false);
  at::globalContext().setAllowTF32CuDNN(false);
  return {name != nullptr ? name : "cpu"};
}

at::Tensor random_bf16(at::IntArrayRef shape) { return at::randn(shape).to(test_device(), at::kBFloat16); }

bool GoldenCase::exists(const std::string& name) {
  return std::filesystem::exists(golden_dir() / (name + ".safetensors"));
}

GoldenCase::GoldenCase(const std::string& name) : file_(golden_dir() / (name + ".safetensors")) {}

at::Tensor GoldenCase::at(const std::string& key) const {
  const engine::TensorView& view = file_.at(key);
  at::Tensor tensor = at::empty(view.shape, at::TensorOptions(scalar_type(view.dtype)));
  std::memcpy(tensor.data_ptr(), view.data.data(), view.data.size());
  return tensor;
}

std::vector<std::string> GoldenCase::units(const std::string& suffix) const {
  std::set<std::string> found;
  for (const auto& [key, view] : file_.tensors()) {
    const auto dot = key.find('.');
    if (dot != std::string::npos && key.substr(dot + 1) == suffix) {
      found.insert(key.substr(0, dot));
    }
  }
  return {found.begin(), found.end()};
}

double max_abs_diff(const at::Tensor& actual, const at::Tensor& expected) {
  if (expected.numel() == 0) {
    return 0;
  }
  const double diff =
      (actual.to(at::kCPU, at::kDouble) - expected.to(at::kCPU, at::kDouble)).abs().max().item<double>();
  return std::isnan(diff) ? std::numeric_limits<double>::infinity() : diff;
}

double relative_error(const at::Tensor& actual, const at::Tensor& expected) {
  const at::Tensor e = expected.to(at::kCPU, at::kDouble);
  return ((actual.to(at::kCPU, at::kDouble) - e).norm() / e.norm()).item<double>();
}

double signal_to_noise_db(const at::Tensor& actual, const at::Tensor& expected) {
  const at::Tensor signal = expected.to(at::kCPU, at::kDouble);
  const at::Tensor noise = actual.to(at::kCPU, at::kDouble) - signal;
  return 10 * std::log10(signal.square().sum().item<double>() / noise.square().sum().item<double>());
}

} // namespace audiobookd::tests
