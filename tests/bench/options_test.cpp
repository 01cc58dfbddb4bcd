#include "bench/options.h"

#include <gtest/gtest.h>
#include <stdexcept>

namespace audiobookd::bench {
namespace {

Options parse(std::vector<std::string> words) {
  words.insert(words.begin(), "audiobook-bench");
  std::vector<char*> arguments;
  for (std::string& word : words) {
    arguments.push_back(word.data());
  }
  return parse_options(static_cast<int>(arguments.size()), arguments.data());
}

TEST(BenchOptions, TakesSwitchesAndValuesInAnyOrder) {
  const Options options = parse({"decode", "--shares", "--device", "cuda:1", "--batch", "512", "--checkpoint", "c"});
  EXPECT_EQ(options.benchmark, "decode");
  EXPECT_TRUE(options.shares);
  EXPECT_EQ(options.device, "cuda:1");
  EXPECT_EQ(options.batch, 512);
  EXPECT_EQ(options.checkpoint.string(), "c");
}

TEST(BenchOptions, RefusesWhatItDoesNotUnderstand) {
  EXPECT_THROW(parse({}), std::invalid_argument);
  EXPECT_THROW(parse({"decode"}), std::invalid_argument); // no checkpoint
  EXPECT_THROW(parse({"decode", "--checkpoint"}), std::invalid_argument);
  EXPECT_THROW(parse({"decode", "--checkpoint", "c", "--bacth", "5"}), std::invalid_argument);
  EXPECT_THROW(parse({"decode", "--checkpoint", "c", "--batch", "5x"}), std::invalid_argument);
  EXPECT_THROW(parse({"decode", "--checkpoint", "c", "--batch", "0"}), std::invalid_argument);
  EXPECT_THROW(parse({"engine", "--checkpoint", "c", "--memory-fraction", "1.5"}), std::invalid_argument);
  EXPECT_THROW(parse({"engine", "--checkpoint", "c", "--memory-fraction", "0"}), std::invalid_argument);
  EXPECT_THROW(parse({"engine", "--checkpoint", "c", "--prompt-seconds", "11"}), std::invalid_argument);
  EXPECT_THROW(parse({"decode", "--checkpoint", "c", "--dtype", "bf61"}), std::invalid_argument); // not "auto"
}

TEST(BenchOptions, PassesTheEnginesOptionsOn) {
  const auto options =
      engine_options(parse({"engine", "--checkpoint", "c", "--kv-fp8", "--cfm-fp8", "--prompt-seconds", "4.5"}));
  EXPECT_EQ(options.kv_dtype, "fp8");
  EXPECT_TRUE(options.cfm_fp8);
  EXPECT_EQ(options.prompt_seconds, 4.5);
  const auto defaults = engine_options(parse({"engine", "--checkpoint", "c"}));
  EXPECT_EQ(defaults.kv_dtype, "bf16");
  EXPECT_FALSE(defaults.cfm_fp8);
}

TEST(BenchOptions, RefusesSharesOfAGpuThatIsNotUsed) {
  EXPECT_THROW(parse({"decode", "--checkpoint", "c", "--shares"}), std::invalid_argument);
}

} // namespace
} // namespace audiobookd::bench
