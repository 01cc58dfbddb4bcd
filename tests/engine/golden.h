// Reading the recorded outputs of the reference implementation in golden tests.
//
// Case files come from AUDIOBOOKD_GOLDEN_DIR (default tests/data/golden); the device from AUDIOBOOKD_TEST_DEVICE
// (default cpu). Tests enumerate what a file holds and know neither counts nor lengths.
#pragma once

#include "engine/safetensors.h"

#include <ATen/ATen.h>
#include <filesystem>
#include <gtest/gtest.h>
#include <string>
#include <vector>

namespace audiobookd::tests {

/// tests/data/golden or AUDIOBOOKD_GOLDEN_DIR.
std::filesystem::path golden_dir();
/// tests/data: checkpoints, tensor lists. AUDIOBOOKD_TEST_DATA_DIR says where the folder lies when the tests run on
/// another machine than the one they were built on.
std::filesystem::path data_dir();
/// The device under test; TF32 is off.
at::Device test_device();
/// Normally distributed numbers on test_device(), rounded to bf16.
at::Tensor random_bf16(at::IntArrayRef shape);

class GoldenCase {
public:
  /// @param name file name without extension, e.g. "t3_prefill".
  static bool exists(const std::string& name);
  explicit GoldenCase(const std::string& name);

  /// As given to the constructor.
  [[nodiscard]] std::string name() const { return file_.path().stem().string(); }
  [[nodiscard]] bool contains(const std::string& key) const { return file_.contains(key); }
  /// A copy on the CPU in its stored dtype.
  [[nodiscard]] at::Tensor at(const std::string& key) const;
  /// A copy on test_device().
  [[nodiscard]] at::Tensor on_device(const std::string& key) const { return at(key).to(test_device()); }
  /// A text of the file's metadata.
  [[nodiscard]] const std::string& note(const std::string& key) const { return file_.metadata().at(key); }
  /// The distinct parts before the first '.' of keys that end in `.suffix`: "u0", "u1_cfg0", …
  [[nodiscard]] std::vector<std::string> units(const std::string& suffix) const;

private:
  engine::SafetensorsFile file_;
};

/// Largest absolute difference; both are compared in double on the CPU and must have the same shape.
double max_abs_diff(const at::Tensor& actual, const at::Tensor& expected);
/// || actual - expected || / || expected ||, in double on the CPU.
double relative_error(const at::Tensor& actual, const at::Tensor& expected);
/// 10 log10(power of expected / power of difference), in dB.
double signal_to_noise_db(const at::Tensor& actual, const at::Tensor& expected);

} // namespace audiobookd::tests

/// Skips the test when the case file is not in the golden folder.
#define AUDIOBOOKD_REQUIRE_CASE(name)                                                                                  \
  if (!audiobookd::tests::GoldenCase::exists(name)) {                                                                  \
    GTEST_SKIP() << "golden case is absent: " << (audiobookd::tests::golden_dir() / (name)).string();                  \
  }

/// Compares tensors with an absolute tolerance and says where and by how much they differ.
#define EXPECT_TENSOR_NEAR(actual, expected, tolerance)                                                                \
  [](const at::Tensor& actual_, const at::Tensor& expected_, double tolerance_) {                                      \
    ASSERT_EQ(actual_.sizes().vec(), expected_.sizes().vec()) << #actual;                                              \
    EXPECT_LE(audiobookd::tests::max_abs_diff(actual_, expected_), tolerance_) << #actual;                             \
  }((actual), (expected), (tolerance))
