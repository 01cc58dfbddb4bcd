// audiobook-bench: throughput of T3 alone (decode), of S3Gen alone (synthesis), of both behind the engine's door
// (engine), and the time to load a checkpoint. Lengths are forced; loading and warm-up are not counted.
#include "bench/report.h"
#include "bench/workload.h"
#include "engine/cuda/cuda_decoder.h"
#include "engine/device.h"
#include "engine/engine.h"
#include "engine/models/chatterbox/aten_decoder.h"
#include "engine/models/chatterbox/config.h"
#include "engine/models/chatterbox/s3gen.h"
#include "engine/models/chatterbox/t3.h"
#include "engine/models/chatterbox/text_norm.h"
#include "engine/models/chatterbox/voice.h"

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <deque>
#include <mutex>
#include <stdexcept>
#include <thread>

namespace audiobookd::bench {
namespace {

namespace cb = engine::chatterbox;
using Json = nlohmann::ordered_json;
using Clock = std::chrono::steady_clock;

constexpr const char* usage =
    "usage: audiobook-bench decode|synthesis|engine|checkpoint-load --checkpoint DIR [options]\n"
    "  --device cpu|cuda|cuda:N   default cpu\n"
    "  --dtype fp32|bf16|auto     of T3; default auto: bf16 on CUDA\n"
    "  --utterances N             default 154 (40 minutes of audio)\n"
    "  --batch N                  utterances decoded together; default by device\n"
    "  --synthesis-batch N        utterances synthesised together; default by device\n"
    "  --threads N                CPU threads; default all\n"
    "  --cache-pages N            of KV cache at most, 32 positions each; default: room for the whole batch\n"
    "  --cfm-steps N              Euler steps; default 10\n";

struct Options {
  std::string benchmark;
  std::filesystem::path checkpoint;
  std::string device = "cpu";
  std::string dtype = "auto";
  int utterances = 154;
  int batch = 0;
  int synthesis_batch = 0;
  int threads = static_cast<int>(std::max(1u, std::thread::hardware_concurrency()));
  int cfm_steps = 10;
  int cache_pages = 1 << 20;
};

engine::EngineOptions engine_options(const Options& options) {
  engine::EngineOptions result;
  result.checkpoint = options.checkpoint;
  result.device = options.device;
  result.dtype = options.dtype;
  result.max_batch = options.batch;
  result.synthesis_batch = options.synthesis_batch;
  result.cpu_threads = options.threads;
  return result;
}

int positive(const std::string& name, const std::string& value) {
  char* end = nullptr;
  const long number = std::strtol(value.c_str(), &end, 10);
  if (value.empty() || *end != '\0' || number < 1 || number > 1000000) {
    throw std::invalid_argument(name + " is \"" + value + "\"; expected a number from 1 to 1000000");
  }
  return static_cast<int>(number);
}

Options parse(int argc, char** argv) {
  if (argc < 2) {
    throw std::invalid_argument("which benchmark?");
  }
  Options options;
  options.benchmark = argv[1];
  for (int i = 2; i < argc; i += 2) {
    const std::string name = argv[i];
    if (i + 1 >= argc) {
      throw std::invalid_argument(name + " needs a value");
    }
    const std::string value = argv[i + 1];
    if (name == "--checkpoint") {
      options.checkpoint = value;
    } else if (name == "--device") {
      options.device = value;
    } else if (name == "--dtype") {
      options.dtype = value;
    } else if (name == "--utterances") {
      options.utterances = positive(name, value);
    } else if (name == "--batch") {
      options.batch = positive(name, value);
    } else if (name == "--synthesis-batch") {
      options.synthesis_batch = positive(name, value);
    } else if (name == "--threads") {
      options.threads = positive(name, value);
    } else if (name == "--cache-pages") {
      options.cache_pages = positive(name, value);
    } else if (name == "--cfm-steps") {
      options.cfm_steps = positive(name, value);
    } else {
      throw std::invalid_argument("unknown option " + name);
    }
  }
  if (options.checkpoint.empty()) {
    throw std::invalid_argument("--checkpoint is missing");
  }
  return options;
}

double seconds_since(Clock::time_point start) { return std::chrono::duration<double>(Clock::now() - start).count(); }

int longest_tokens(const cb::Config& config) { return std::min(700, config.t3.max_speech_tokens); }

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

struct DecodeRun {
  double seconds = 0;
  double prefill_seconds = 0; // as the host sees it
  double busy_rows = 0;       // mean share of places in use until the queue ran dry
  double step_ms = 0;         // mean time of a step until then, prompts of newcomers included
};

DecodeRun decode_all(cb::Decoder& decoder, const std::vector<cb::DecodeRequest>& requests) {
  const auto start = Clock::now();
  const double places = decoder.active() + decoder.free_places();
  DecodeRun run;
  std::deque<cb::DecodeRequest> waiting(requests.begin(), requests.end());
  std::size_t done = 0;
  double calls = 0;
  double dry_seconds = 0;
  while (done < requests.size()) {
    const auto prefill_start = Clock::now();
    while (!waiting.empty() && decoder.admit(waiting) > 0) {
    }
    run.prefill_seconds += seconds_since(prefill_start);
    if (!waiting.empty()) {
      ++calls;
      run.busy_rows += decoder.active() / places;
    } else if (dry_seconds == 0) {
      dry_seconds = seconds_since(start);
    }
    done += decoder.step().size();
  }
  run.step_ms = calls > 0 ? 1000 * dry_seconds / (calls * decoder.steps_per_call()) : 0;
  run.busy_rows = calls > 0 ? run.busy_rows / calls : 0;
  run.seconds = seconds_since(start);
  return run;
}

std::unique_ptr<cb::Decoder> make_decoder(const Options& options, const cb::T3& t3, int batch, int pages) {
#ifdef AUDIOBOOKD_WITH_CUDA
  if (t3.device().is_cuda() && options.dtype != "fp32") {
    return engine::cuda::make_cuda_decoder(t3, {batch, pages});
  }
#endif
  if (options.dtype == "bf16") {
    throw std::invalid_argument("--dtype bf16 needs --device cuda");
  }
  return std::make_unique<cb::AtenDecoder>(t3, batch, pages);
}

void bench_decode(const Options& options) {
  const at::Device device = engine::resolve_device(options.device);
  const engine::StageScope scope(device, engine::Stage::decode, options.threads);
  const cb::Config config = cb::Config::load(options.checkpoint);
  const cb::T3 t3(config.t3, engine::StateDict::from_safetensors(options.checkpoint / "t3_cfg.safetensors", device));
  const auto tokenizer = cb::load_english_tokenizer(options.checkpoint, config.t3);
  const auto voice = std::make_shared<const cb::Voice>(cb::Voice::from_conds(options.checkpoint / "conds.pt", device));
  const auto workload = make_workload(options.utterances, longest_tokens(config));
  std::vector<cb::DecodeRequest> requests;
  for (const BenchUtterance& u : workload) {
    cb::DecodeRequest request;
    request.id = requests.size();
    request.text_ids = cb::encode_english(tokenizer, cb::punc_norm(u.text));
    request.voice = voice;
    request.random = engine::random_stream(1, {request.id, 0}, 0);
    request.max_tokens = u.num_tokens;
    request.forced = true;
    requests.push_back(std::move(request));
  }
  const int batch = options.batch > 0 ? options.batch : std::min(options.utterances, device.is_cuda() ? 160 : 16);
  const int positions = t3.prompt_length(254) + longest_tokens(config);
  const int pages = std::min(2 * batch * engine::KvCache::pages_for(positions), options.cache_pages);
  const auto decoder = make_decoder(options, t3, batch, pages);
  std::vector<cb::DecodeRequest> warm_up(requests.begin(), requests.begin() + 1);
  warm_up[0].max_tokens = 16;
  decode_all(*decoder, warm_up);

  const DecodeRun run = decode_all(*decoder, requests);
  Json result = settings(options, workload);
  result["dtype"] = t3.device().is_cuda() && options.dtype != "fp32" ? "bf16" : "fp32";
  result["batch"] = batch;
  add_rates(result, workload, run.seconds);
  result["prefill_seconds"] = run.prefill_seconds;
  result["busy_share_until_dry"] = run.busy_rows;
  result["step_ms_until_dry"] = run.step_ms;
  print_report("decode", result);
}

void bench_synthesis(const Options& options) {
  const at::Device device = engine::resolve_device(options.device);
  const engine::StageScope scope(device, engine::Stage::synthesis, options.threads);
  const cb::Config config = cb::Config::load(options.checkpoint);
  cb::S3Gen s3gen(config.flow, config.hift,
                  engine::StateDict::from_safetensors(options.checkpoint / "s3gen.safetensors", device));
  const auto voice = cb::Voice::from_conds(options.checkpoint / "conds.pt", device);
  const auto workload = make_workload(options.utterances, longest_tokens(config));
  std::vector<cb::SynthesisRequest> requests;
  for (const BenchUtterance& u : workload) {
    requests.push_back(
        {u.speech_tokens, &voice.prompt, options.cfm_steps, engine::random_stream(1, {requests.size(), 0}, 0)});
  }
  const std::size_t batch =
      options.synthesis_batch > 0 ? static_cast<std::size_t>(options.synthesis_batch) : (device.is_cuda() ? 16 : 1);
  static_cast<void>(s3gen.synthesize(std::span(requests).first(std::min(batch, requests.size()))));

  const auto start = Clock::now();
  cb::StageSeconds stages;
  for (std::size_t i = 0; i < requests.size(); i += batch) {
    const auto part = std::span(requests).subspan(i, std::min(batch, requests.size() - i));
    const cb::StageSeconds seconds = s3gen.synthesize(part).seconds;
    stages.encoder += seconds.encoder;
    stages.cfm += seconds.cfm;
    stages.vocoder += seconds.vocoder;
  }
  Json result = settings(options, workload);
  result["batch"] = batch;
  result["cfm_steps"] = options.cfm_steps;
  add_rates(result, workload, seconds_since(start));
  result["encoder_seconds"] = stages.encoder;
  result["cfm_seconds"] = stages.cfm;
  result["vocoder_seconds"] = stages.vocoder;
  print_report("synthesis", result);
}

/// Hands a workload to the engine and stops it when everything came back.
class WorkloadRun : public engine::WorkSource, public engine::Sink {
public:
  explicit WorkloadRun(std::vector<engine::Utterance> utterances)
      : waiting_(utterances.begin(), utterances.end()), open_(waiting_.size()) {}
  std::vector<engine::Utterance> next(std::size_t free_capacity) override {
    std::vector<engine::Utterance> answer;
    while (!waiting_.empty() && answer.size() < free_capacity) {
      answer.push_back(std::move(waiting_.front()));
      waiting_.pop_front();
    }
    return answer;
  }
  void tokens(engine::UtteranceId, std::span<const std::int32_t>) override {}
  void finished(engine::UtteranceId, engine::Waveform) override { close_one(); }
  void failed(engine::UtteranceId id, std::string why) override {
    std::fprintf(stderr, "utterance %llu failed: %s\n", static_cast<unsigned long long>(id), why.c_str());
    ++failures_;
    close_one();
  }
  double run(engine::Engine& engine) {
    const auto start = Clock::now();
    engine.run(*this, *this, stop_.get_token());
    if (failures_ > 0) {
      throw std::runtime_error("utterances failed; no figure");
    }
    return seconds_since(start);
  }

private:
  void close_one() {
    const std::lock_guard lock(mutex_);
    if (--open_ == 0) {
      stop_.request_stop();
    }
  }
  std::deque<engine::Utterance> waiting_; // engine thread only
  std::mutex mutex_;
  std::size_t open_; // protected by mutex_
  int failures_ = 0; // read after run()
  std::stop_source stop_;
};

std::vector<engine::Utterance> engine_utterances(const std::vector<BenchUtterance>& workload, int cfm_steps) {
  std::vector<engine::Utterance> utterances;
  for (const BenchUtterance& u : workload) {
    engine::Utterance utterance;
    utterance.id = utterances.size();
    utterance.text = u.text;
    utterance.key = {utterance.id, 1};
    utterance.forced_tokens = u.num_tokens;
    utterance.cfm_steps = cfm_steps;
    utterances.push_back(std::move(utterance));
  }
  return utterances;
}

void bench_engine(const Options& options) {
  const auto engine = engine::Engine::load(engine_options(options));
  const int longest = longest_tokens(cb::Config::load(options.checkpoint));
  const auto workload = make_workload(options.utterances, longest);
  auto warm_up = engine_utterances(make_workload(1, longest, 2), options.cfm_steps);
  warm_up[0].forced_tokens = 25;
  WorkloadRun(warm_up).run(*engine);

  const engine::EngineStats before = engine->stats();
  const double seconds = WorkloadRun(engine_utterances(workload, options.cfm_steps)).run(*engine);
  const engine::EngineStats after = engine->stats();
  Json result = settings(options, workload);
  result["dtype"] = engine->info().dtype;
  result["batch"] = engine->info().max_batch;
  result["cfm_steps"] = options.cfm_steps;
  add_rates(result, workload, seconds);
  result["prefill_seconds"] = after.prefill_seconds - before.prefill_seconds;
  result["decode_seconds"] = after.decode_seconds - before.decode_seconds;
  result["mean_decode_rows"] = static_cast<double>(after.decode_rows - before.decode_rows) /
                               static_cast<double>(after.decode_steps - before.decode_steps);
  result["encoder_seconds"] = after.encoder_seconds - before.encoder_seconds;
  result["cfm_seconds"] = after.cfm_seconds - before.cfm_seconds;
  result["vocoder_seconds"] = after.vocoder_seconds - before.vocoder_seconds;
  print_report("engine", result);
}

void bench_checkpoint_load(const Options& options) {
  const auto start = Clock::now();
  const auto engine = engine::Engine::load(engine_options(options));
  print_report("checkpoint-load", {{"checkpoint", options.checkpoint.filename().string()},
                                   {"device", engine->info().device},
                                   {"wall_seconds", seconds_since(start)}});
}

int run(int argc, char** argv) {
  try {
    const Options options = parse(argc, argv);
    if (options.benchmark == "decode") {
      bench_decode(options);
    } else if (options.benchmark == "synthesis") {
      bench_synthesis(options);
    } else if (options.benchmark == "engine") {
      bench_engine(options);
    } else if (options.benchmark == "checkpoint-load") {
      bench_checkpoint_load(options);
    } else {
      throw std::invalid_argument("unknown benchmark " + options.benchmark);
    }
    return 0;
  } catch (const std::invalid_argument& error) {
    std::fprintf(stderr, "audiobook-bench: %s\n%s", error.what(), usage);
    return 2;
  } catch (const std::exception& error) {
    std::fprintf(stderr, "audiobook-bench: %s\n", error.what());
    return 1;
  }
}

} // namespace
} // namespace audiobookd::bench

int main(int argc, char** argv) { return audiobookd::bench::run(argc, argv); }
