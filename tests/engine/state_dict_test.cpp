// A model is told everything that is wrong with a checkpoint at once, and gets the right numbers from a good one.
#include "engine/models/chatterbox/synthetic_weights.h"
#include "engine/safetensors.h"
#include "engine/state_dict.h"
#include "tests/engine/golden.h"
#include "tests/engine/temp_dir.h"

#include <cstring>

namespace audiobookd::engine {
namespace {

using tests::message_of;

/// A source of the bytes of @p tensor.
TensorSource source(std::string name, Dtype dtype, const at::Tensor& tensor) {
  return {std::move(name), dtype, tensor.sizes().vec(),
          [tensor](std::span<std::byte> out) { std::memcpy(out.data(), tensor.data_ptr(), out.size()); }};
}

class StateDictFile : public testing::Test {
protected:
  StateDict open(const std::vector<TensorSource>& tensors) {
    write_safetensors(file_, tensors);
    return StateDict::from_safetensors(file_, at::kCPU);
  }

  tests::TempDir dir_;
  std::filesystem::path file_ = dir_.path() / "model.safetensors";
  at::Tensor values_ = at::arange(6, at::kFloat).reshape({2, 3}) / 4;
};

TEST_F(StateDictFile, ConvertsFloatingPointToFp32AndKeepsInt64) {
  const auto dict =
      open({source("f32", Dtype::f32, values_), source("f64", Dtype::f64, values_.to(at::kDouble)),
            source("odd", Dtype::boolean, at::ones({1}, at::kBool)), source("f16", Dtype::f16, values_.to(at::kHalf)),
            source("bf16", Dtype::bf16, values_.to(at::kBFloat16)),
            source("count", Dtype::i64, at::full({}, 7, at::kLong))});
  for (const char* name : {"f32", "f64", "f16", "bf16"}) {
    const at::Tensor tensor = dict.get(name, {2, 3});
    EXPECT_EQ(tensor.scalar_type(), at::kFloat) << name;
    EXPECT_TRUE(tensor.is_contiguous()) << name;
    EXPECT_TRUE(at::equal(tensor, values_)) << name;
  }
  EXPECT_EQ(dict.get("count", {}).scalar_type(), at::kLong);
  EXPECT_EQ(dict.get("count", {}).item<std::int64_t>(), 7);
  EXPECT_CONTAINS(message_of([&] { dict.verify(); }), "unexpected:\n  odd [1]");
}

TEST_F(StateDictFile, VerifyAcceptsAModelThatTookEverything) {
  const auto dict = open({source("a.w", Dtype::f32, values_), source("a.b", Dtype::f32, values_)});
  const auto part = dict.select("a.");
  EXPECT_TRUE(part.contains("w"));
  EXPECT_FALSE(part.contains("x"));
  (void)part.get("w", {2, 3});
  (void)dict.select("a").select(".").get("b", {2, 3});
  EXPECT_NO_THROW(dict.verify());
}

TEST_F(StateDictFile, VerifyListsEveryProblemAtOnceInOrder) {
  const auto dict = open({source("wide", Dtype::f32, values_), source("flat", Dtype::f32, values_),
                          source("bytes", Dtype::u8, at::zeros({1}, at::kByte)), source("extra.2", Dtype::f32, values_),
                          source("extra.1", Dtype::f32, values_)});
  (void)dict.get("gone.z", {4});
  (void)dict.get("gone.a", {});
  EXPECT_TRUE(at::equal(dict.get("wide", {2, 4}), at::zeros({2, 4})));
  (void)dict.get("flat", {6});
  (void)dict.get("bytes", {1});
  EXPECT_EQ(message_of([&] { dict.verify(); }), file_.string() +
                                                    ": the tensors are not those of the model\n"
                                                    "2 missing:\n  gone.a []\n  gone.z [4]\n"
                                                    "3 not as expected:\n"
                                                    "  bytes: expected dtype F32, F16, BF16, F64 or I64, found U8\n"
                                                    "  flat: expected shape [6], found [2,3]\n"
                                                    "  wide: expected shape [2,4], found [2,3]\n"
                                                    "2 unexpected:\n  extra.1 [2,3]\n  extra.2 [2,3]");
}

TEST_F(StateDictFile, IgnoredTensorsAreNotUnexpected) {
  const auto dict = open({source("tokenizer.a", Dtype::f32, values_), source("tokenizer.b", Dtype::f32, values_)});
  dict.ignore("tokenizer.");
  EXPECT_NO_THROW(dict.verify());
}

TEST_F(StateDictFile, ADamagedFileIsRefusedByName) {
  tests::write_file(file_, "short");
  EXPECT_CONTAINS(message_of([&] { (void)StateDict::from_safetensors(file_, at::kCPU); }), file_.string());
}

TEST(SyntheticStateDict, MakesEveryTensorByTheFormula) {
  const auto dict = StateDict::synthetic("synthetic t3", at::kCPU);
  std::vector<float> expected(704 * 64);
  const std::vector<std::int64_t> shape{704, 64};
  chatterbox::fill_synthetic("text_emb.weight", shape, expected);
  const at::Tensor tensor = dict.select("text_emb.").get("weight", shape);
  EXPECT_EQ(std::memcmp(tensor.data_ptr(), expected.data(), expected.size() * sizeof(float)), 0);
  EXPECT_EQ(dict.get("bn.num_batches_tracked", {}).scalar_type(), at::kLong);
  EXPECT_TRUE(dict.contains("anything"));
  EXPECT_FALSE(dict.contains("tokenizer.window"));
  EXPECT_NO_THROW(dict.verify());
}

} // namespace
} // namespace audiobookd::engine
