// The memory of a GPU: the budget is kept, what is predicted is what is used, and when memory runs out everything comes
// out all the same, with the same tokens.
#include "engine/cuda/cuda_decoder.h"
#include "engine/device.h"
#include "engine/memory_trial.h"
#include "engine/models/chatterbox/aten_decoder.h"
#include "tests/engine/decode_requests.h"
#include "tests/engine/engine_run.h"
#include "tests/engine/s3gen_fixture.h"
#include "tests/engine/t3_fixture.h"

#include <ATen/ATen.h>
#include <sstream>

namespace audiobookd::tests {
namespace {

using engine::device_memory;
using engine::DeviceMemory;
using engine::Engine;
using engine::EngineOptions;
using engine::UtteranceId;
using engine::chatterbox::DecodeRequest;

constexpr std::int64_t mb = 1'000'000;

/// Takes away the limits that a test or an engine has set.
class GpuMemory : public testing::Test {
protected:
  void SetUp() override { TearDown(); }
  void TearDown() override {
    engine::release_unused_memory(test_device());
    engine::unlimit_tensor_memory(test_device());
  }

  /// The fraction of the GPU that leaves this process @p bytes for tensors beside those that live.
  [[nodiscard]] static double fraction_for(std::int64_t bytes) {
    const DeviceMemory memory = device_memory(test_device());
    return static_cast<double>(memory.used + bytes) / static_cast<double>(memory.total);
  }
};

std::string describe(const engine::MemoryPlan& plan) {
  std::ostringstream text;
  text << "planned: elsewhere " << plan.elsewhere << ", weights " << plan.weights << ", decoding "
       << plan.working.decode << ", synthesis " << plan.working.synthesis << ", cache " << plan.cache;
  return text.str();
}

std::string describe(const DeviceMemory& memory) {
  std::ostringstream text;
  text << "elsewhere " << memory.used - memory.reserved << ", reserved " << memory.reserved << ", allocated "
       << memory.allocated;
  return text.str();
}

std::string load_error(const EngineOptions& options) {
  try {
    Engine::load(options);
  } catch (const std::runtime_error& error) {
    return error.what();
  }
  return "no error";
}

/// Long ones, so that S3Gen has something to do.
std::vector<engine::Utterance> long_utterances(int count) {
  auto list = some_utterances(count);
  for (engine::Utterance& u : list) {
    u.forced_tokens *= 15;
  }
  return list;
}

TEST_F(GpuMemory, UseStaysBelowTheFractionAndNearThePrediction) {
  EngineOptions options = tiny_options();
  options.max_batch = 0;
  options.gpu_memory_fraction = fraction_for(3000 * mb);
  const auto engine = Engine::load(options);
  const DeviceMemory loaded = device_memory(test_device());
  EXPECT_EQ(render(*engine, long_utterances(100)).size(), 100u);
  const DeviceMemory memory = device_memory(test_device());
  const auto used = static_cast<double>(memory.used);
  const auto predicted = static_cast<double>(engine->info().memory.total());
  EXPECT_LE(used, options.gpu_memory_fraction * static_cast<double>(memory.total));
  EXPECT_NEAR(predicted, used, 0.05 * used)
      << describe(engine->info().memory) << "\nat load: " << describe(loaded) << "\nnow: " << describe(memory);
}

TEST_F(GpuMemory, ABudgetThatIsTooSmallIsToldWithBytes) {
  EngineOptions options = tiny_options();
  options.gpu_memory_fraction = 1e-4; // less than the CUDA context
  EXPECT_NE(load_error(options).find("; 0 are available (gpu_memory_fraction 0.0001 of "), std::string::npos)
      << load_error(options);
  options.gpu_memory_fraction = fraction_for(30 * mb); // room for the weights, not for S3Gen
  EXPECT_NE(load_error(options).find("with one utterance at a time needs at least "), std::string::npos)
      << load_error(options);
}

TEST_F(GpuMemory, AnEngineThatRunsOutGoesOnWithTheSameTokensAndLosesNothing) {
  EngineOptions options = tiny_options();
  options.max_batch = 16;
  options.gpu_memory_fraction = fraction_for(6000 * mb);
  const auto engine = Engine::load(options);
  const auto list = long_utterances(48);
  Recorder expected(list);
  engine->run(expected, expected, expected.stop.get_token());
  const std::int64_t full = device_memory(test_device()).reserved;
  engine::release_unused_memory(test_device());
  const std::int64_t idle = device_memory(test_device()).reserved;
  for (std::int64_t share = 80; share > 10 && engine->stats().out_of_memory == 0; share -= 10) {
    SCOPED_TRACE(std::to_string(share) + " % of " + std::to_string(full - idle) + " bytes of working memory");
    engine::release_unused_memory(test_device());
    engine::limit_tensor_memory(test_device(), idle + (full - idle) * share / 100);
    Recorder recorder(list);
    engine->run(recorder, recorder, recorder.stop.get_token());
    EXPECT_TRUE(recorder.failures.empty());
    EXPECT_EQ(recorder.waveforms.size(), list.size()); // Recorder minds what comes twice
    EXPECT_EQ(recorder.speech_tokens, expected.speech_tokens);
    for (const auto& [id, waveform] : recorder.waveforms) {
      EXPECT_EQ(waveform.samples.size(), expected.waveforms.at(id).samples.size()) << id;
    }
  }
  EXPECT_GT(engine->stats().out_of_memory, 0u) << "memory never ran out";
}

TEST_F(GpuMemory, OneUtteranceThatDoesNotFitIsAFailureOfTheDevice) {
  EngineOptions options = tiny_options();
  options.gpu_memory_fraction = fraction_for(6000 * mb);
  const auto engine = Engine::load(options);
  engine::release_unused_memory(test_device());
  engine::limit_tensor_memory(test_device(), 0);
  Recorder recorder(long_utterances(3));
  try {
    engine->run(recorder, recorder, recorder.stop.get_token());
    FAIL() << "it found memory";
  } catch (const std::runtime_error& error) {
    EXPECT_NE(std::string(error.what()).find("no memory left for a single utterance"), std::string::npos)
        << error.what();
  }
  EXPECT_TRUE(recorder.waveforms.empty());
}

std::vector<UtteranceId> ids(const std::deque<DecodeRequest>& requests) {
  std::vector<UtteranceId> list;
  for (const DecodeRequest& request : requests) {
    list.push_back(request.id);
  }
  return list;
}

/// decode_all() for a device whose memory is short. @return times that it ran out
int decode_in_little_memory(engine::chatterbox::Decoder& decoder, const std::vector<DecodeRequest>& requests,
                            Tokens& tokens) {
  std::deque<DecodeRequest> waiting(requests.begin(), requests.end());
  int failures = 0;
  bool fewer = true;
  while (fewer && (!waiting.empty() || decoder.active() > 0)) {
    const auto before = ids(waiting);
    const int active = decoder.active();
    try {
      decoder.admit(waiting);
    } catch (const c10::OutOfMemoryError&) {
      ++failures;
      EXPECT_EQ(ids(waiting), before);
      EXPECT_EQ(decoder.active(), active);
      fewer = decoder.admit_fewer();
      EXPECT_TRUE(fewer) << "not even one fits";
      engine::release_unused_memory(test_device());
      continue;
    }
    for (auto& result : decoder.step()) {
      EXPECT_TRUE(tokens.emplace(result.id, std::move(result.speech_tokens)).second) << result.id << " came twice";
    }
  }
  return failures;
}

TEST_F(GpuMemory, PromptsThatDoNotFitTogetherEnterLaterWithTheSameTokens) {
  engine::chatterbox::T3Config wide; // the width of the published model, so that prompts take some memory
  wide.num_layers = 3;
  const engine::chatterbox::T3 model(wide, engine::StateDict::synthetic("wide T3", test_device()));
  const engine::StageScope scope(test_device(), engine::Stage::decode, 1);
  const auto decoder = engine::cuda::make_cuda_decoder(model, {24, 4000});
  const auto requests = random_requests(40, 1);
  const Tokens expected = decode_all(*decoder, requests);
  engine::release_unused_memory(test_device());
  const std::int64_t idle = device_memory(test_device()).reserved;
  int failures = 0;
  for (std::int64_t room = 400 * mb; room > 20 * mb && failures == 0; room = room * 3 / 4) {
    SCOPED_TRACE(std::to_string(room) + " bytes");
    engine::release_unused_memory(test_device());
    engine::limit_tensor_memory(test_device(), idle + room);
    Tokens tokens;
    failures = decode_in_little_memory(*decoder, requests, tokens);
    EXPECT_EQ(tokens, expected);
  }
  EXPECT_GT(failures, 0) << "memory never ran out";
}

/// Has no memory for a cache of more than some pages.
class ShortDecoder final : public engine::chatterbox::Decoder {
public:
  ShortDecoder(const engine::chatterbox::T3& model, int pages, int most_pages)
      : decoder_(model, 4, pages), most_pages_(most_pages) {}
  [[nodiscard]] int active() const noexcept override { return decoder_.active(); }
  [[nodiscard]] int free_places() const noexcept override { return decoder_.free_places(); }
  int admit(std::deque<DecodeRequest>& waiting) override { return decoder_.admit(waiting); }
  bool admit_fewer() override { return decoder_.admit_fewer(); }
  bool cancel(UtteranceId id) override { return decoder_.cancel(id); }
  std::vector<engine::chatterbox::DecodeResult> step() override { return decoder_.step(); }
  void limit_step(int most) override { decoder_.limit_step(most); }
  void resize_cache(int num_pages) override {
    if (num_pages > most_pages_) {
      TORCH_CHECK_WITH(OutOfMemoryError, false, num_pages, " pages");
    }
    decoder_.resize_cache(num_pages);
  }

private:
  engine::chatterbox::AtenDecoder decoder_;
  const int most_pages_;
};

TEST_F(GpuMemory, ACacheThatDoesNotFitIsMadeSmallerAtLoad) {
  const engine::StageScope scope(test_device(), engine::Stage::decode, 1);
  constexpr int least = 100;
  ShortDecoder decoder(tiny_t3(), least, 500);
  engine::chatterbox::S3Gen s3gen = tiny_s3gen();
  const engine::LlamaConfig& c = tiny_t3().backbone().config();
  const engine::TrialSubject subject{
      .t3 = tiny_t3(),
      .s3gen = s3gen,
      .decoder = decoder,
      .voice = tiny_voice(),
      .synthesis_batch = 4,
      .longest_tokens = 200,
      .page_bytes = engine::KvCache::bytes(c.num_layers, c.num_heads, c.head_dim, 1, tiny_t3().backbone().dtype()),
      .least_pages = least,
      .most_pages = 1000};
  const engine::TrialResult result = engine::fit_to_memory(subject, fraction_for(4000 * mb));
  EXPECT_GT(result.out_of_memory, 0u);
  EXPECT_LE(result.num_pages, 500);
  EXPECT_GT(result.num_pages, 400) << "it gave up too much";
  const std::int64_t longest = tiny_voice()->prompt.prompt_feat.size(0) + 2 * 200;
  EXPECT_EQ(result.synthesis_frames, std::min(4 * longest, s3gen.frames_per_pass()));
  const auto requests = random_requests(6, 6);
  EXPECT_EQ(decode_all(decoder, requests).size(), requests.size());
}

} // namespace
} // namespace audiobookd::tests
