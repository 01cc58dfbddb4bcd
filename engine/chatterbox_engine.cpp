#include "engine/chatterbox_engine.h"

#include "engine/cuda/cuda_decoder.h"
#include "engine/memory_trial.h"
#include "engine/models/chatterbox/aten_decoder.h"
#include "engine/models/chatterbox/conds_file.h"
#include "engine/models/chatterbox/text_norm.h"
#include "engine/safetensors.h"

#include <ATen/ATen.h>
#include <algorithm>
#include <chrono>
#include <cmath>
#include <fstream>
#include <future>
#include <iterator>
#include <limits>
#include <optional>
#include <stdexcept>
#include <thread>

namespace audiobookd::engine {
namespace {

using chatterbox::DecodeRequest;
using chatterbox::DecodeResult;

constexpr int max_new_tokens = 1000;                // of the reference
constexpr int typical_positions = 640;              // an utterance of 16 s with its prompt, and room to run over
constexpr std::int64_t cpu_cache_bytes = 2LL << 30; // KV cache on the CPU at most, by default
constexpr int most_synthesis_workers = 4;           // each takes about 200 MB with the published dimensions
constexpr int rows_of_utterance = 2;                // the conditional and the unconditional one
constexpr int typical_tokens = 400;                 // of an utterance of 16 s
constexpr int urgent_share = 32;                    // of the decoder's places, one is kept free for urgent utterances
constexpr int urgent_step_share = 8;                // a part of the places decodes while an urgent one does
constexpr double urgent_wait_seconds = 0.15;        // that a batch of S3Gen may hold up an urgent utterance

double seconds_since(std::chrono::steady_clock::time_point start) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

std::string read_file(const std::filesystem::path& file) {
  std::ifstream stream(file, std::ios::binary);
  return {std::istreambuf_iterator<char>(stream), std::istreambuf_iterator<char>()};
}

} // namespace

int predict_speech_tokens(std::string_view text) {
  constexpr double tokens_per_character = 1.55; // of English
  constexpr int fewest = 8;                     // a third of a second
  const auto is_first_byte = [](char c) { return (static_cast<unsigned char>(c) & 0xC0) != 0x80; };
  const auto characters = static_cast<double>(std::count_if(text.begin(), text.end(), is_first_byte));
  return std::max(fewest, static_cast<int>(std::ceil(tokens_per_character * characters)));
}

namespace {

Hash128 hash_weights(const std::filesystem::path& checkpoint) {
  HashBuilder hash;
  for (const char* name : {"t3_cfg.safetensors", "s3gen.safetensors"}) {
    hash.add(hash128(SafetensorsFile(checkpoint / name).bytes()));
  }
  return hash.add(read_file(checkpoint / "config.json")).add(read_file(checkpoint / "tokenizer.json")).finish();
}

void check_range(const char* field, double value, double low, double high, bool low_excluded = false) {
  if (!(value >= low && value <= high) || (low_excluded && value == low)) {
    throw std::invalid_argument(std::string(field) + " is " + std::to_string(value) + "; expected " +
                                (low_excluded ? "more than " : "at least ") + std::to_string(low) + " and at most " +
                                std::to_string(high));
  }
}

void check(const Utterance& u) {
  check_range("cfg_weight", u.sampling.cfg_weight, 0, 5);
  check_range("repetition_penalty", u.sampling.repetition_penalty, 1, 10);
  check_range("temperature", u.sampling.temperature, 0, 5, true);
  check_range("min_p", u.sampling.min_p, 0, 1);
  check_range("top_k", u.sampling.top_k, 0, 10000);
  check_range("top_p", u.sampling.top_p, 0, 1, true);
  check_range("exaggeration", u.exaggeration, 0, 2);
  check_range("cfm_steps", u.cfm_steps, 1, 100);
  check_range("forced_tokens", u.forced_tokens, 0, 4096);
  for (const std::int32_t token : u.speech_tokens) {
    check_range("speech token", token, 0, 6560);
  }
}

std::unique_ptr<chatterbox::Decoder> make_decoder(const chatterbox::T3& t3, [[maybe_unused]] bool half, int max_batch,
                                                  int num_pages, const std::vector<AttentionHead>& heads,
                                                  const chatterbox::Reserve& reserve,
                                                  [[maybe_unused]] at::ScalarType cache_dtype) {
#ifdef AUDIOBOOKD_WITH_CUDA
  if (half && t3.device().is_cuda()) {
    return cuda::make_cuda_decoder(t3, {.max_batch = max_batch,
                                        .num_pages = num_pages,
                                        .alignment_heads = heads,
                                        .reserve = reserve,
                                        .cache_dtype = cache_dtype});
  }
#endif
  return std::make_unique<chatterbox::AtenDecoder>(t3, max_batch, num_pages, heads, reserve);
}

/// One place in 32 with pages for a typical utterance, one place at least: a fourth of a percent of the speed of a full
/// batch of 512, and enough for requests that come every second. Nothing where a batch has a single place.
chatterbox::Reserve reserve_of(int max_batch) {
  const int places = max_batch > 1 ? std::max(1, max_batch / urgent_share) : 0;
  return {.places = places, .pages = places * rows_of_utterance * KvCache::pages_for(typical_positions)};
}

/// Bytes that the weights of @p checkpoint take on a GPU at least.
std::int64_t weight_bytes(const std::filesystem::path& checkpoint, bool half) {
  const auto numbers = [](const TensorView& tensor) {
    return static_cast<std::int64_t>(tensor.data.size() / dtype_size(tensor.dtype));
  };
  std::int64_t bytes = 0;
  const SafetensorsFile t3(checkpoint / "t3_cfg.safetensors");
  for (const auto& [name, tensor] : t3.tensors()) {
    bytes += (half ? 2 : 4) * numbers(tensor);
  }
  const SafetensorsFile s3gen(checkpoint / "s3gen.safetensors");
  for (const auto& [name, tensor] : s3gen.tensors()) {
    if (name.starts_with("flow.") || name.starts_with("mel2wav.")) {
      bytes += 4 * numbers(tensor);
    }
  }
  return bytes;
}

/// Of the mel spectrogram of so many tokens, the voice prompt included.
std::int64_t num_frames(const chatterbox::Voice& voice, std::int64_t tokens) {
  return voice.prompt.prompt_feat.size(0) + chatterbox::FlowEncoder::frames_per_token * tokens;
}

[[noreturn]] void fail_for_memory(const c10::OutOfMemoryError& error) {
  throw std::runtime_error(std::string("the GPU has no memory left for a single utterance: ") +
                           error.what_without_backtrace());
}

int threads_of(const EngineOptions& options) {
  return options.cpu_threads > 0 ? options.cpu_threads
                                 : std::max(1, static_cast<int>(std::thread::hardware_concurrency()));
}

} // namespace

Engine::Impl::Impl(const EngineOptions& options)
    : device_(resolve_device(options.device)), config_(chatterbox::Config::load(options.checkpoint)) {
  check_options(options);
  const int threads = threads_of(options);
  decode_threads_ = device_.is_cuda() ? 1 : std::max(1, threads / 2);
  // On the CPU utterances are synthesised one by one: then an utterance's samples are the same in any company. Several
  // of them beside each other make better use of the cores than several cores for one, and as synthesis takes longer
  // than decoding, it may have all cores: the queue between them lets decoding pause.
  synthesis_workers_ = device_.is_cuda() ? 1 : std::min(threads, most_synthesis_workers);
  synthesis_threads_ = device_.is_cuda() ? 1 : threads / synthesis_workers_;
  synthesis_batch_ = options.synthesis_batch > 0 ? static_cast<std::size_t>(options.synthesis_batch)
                     : device_.is_cuda()         ? 64
                                                 : 1;
  const StageScope scope(device_, Stage::decode, threads);
  const bool half = use_bf16(options);
  std::future<Hash128> weights_hash = std::async(std::launch::async, hash_weights, options.checkpoint);
  try {
    check_budget(options, half);
    load_models(options, half);
    load_voices(options);
    start_decoder(options, half);
  } catch (const c10::OutOfMemoryError& error) { // other programs hold it
    fail_for_memory(error);
  }
  synthesis_limit_ = synthesis_batch_;

  info_.model = config_.model_name();
  info_.device = device_name(device_);
  const std::string s3gen_dtype = s3gen_->dtype();
  info_.dtype = half && s3gen_dtype != "bf16" ? "bf16 (S3Gen " + s3gen_dtype + ")" : s3gen_dtype;
  if (cache_dtype_ == at::kFloat8_e4m3fn) {
    info_.dtype += ", KV cache fp8";
  }
  if (options.cfm_fp8) {
    info_.dtype += ", CFM fp8";
  }
  const std::int64_t typical_frames = num_frames(*longest_voice(), typical_tokens);
  info_.synthesis_batch = static_cast<int>(
      std::clamp<std::int64_t>(synthesis_frames_ / typical_frames, 1, static_cast<std::int64_t>(synthesis_batch_)));
  info_.synthetic = config_.synthetic;
  info_.cloning = config_.cloning;
  info_.weights_hash = weights_hash.get();
  for (const auto& [name, voice] : voices_) {
    info_.voices.push_back(name);
  }
}

void Engine::Impl::check_options(const EngineOptions& options) const {
  if (options.max_batch < 0 || options.synthesis_batch < 0 || options.cpu_threads < 0) {
    throw std::invalid_argument("max_batch, synthesis_batch and cpu_threads must not be negative");
  }
  check_range("gpu_memory_fraction", options.gpu_memory_fraction, 0, 1, true);
  check_range("prompt_seconds", options.prompt_seconds, 3, 10);
  if (options.kv_dtype != "bf16" && options.kv_dtype != "fp8") {
    throw std::invalid_argument("kv_dtype is \"" + options.kv_dtype + "\"; expected \"bf16\" or \"fp8\"");
  }
  if (options.kv_dtype == "fp8" && !(device_.is_cuda() && use_bf16(options))) {
    throw std::invalid_argument("kv_dtype \"fp8\" needs a GPU, and a dtype that is not \"fp32\"");
  }
  if (options.cfm_fp8 && !(is_hopper(device_) && use_bf16(options))) {
    throw std::invalid_argument("cfm_fp8 needs a GPU of compute capability 9.0 (Hopper), and a dtype that is not "
                                "\"fp32\"; the device is \"" +
                                device_name(device_) + "\"");
  }
}

void Engine::Impl::check_budget(const EngineOptions& options, bool half) const {
  if (!device_.is_cuda()) {
    return;
  }
  unlimit_tensor_memory(device_); // an engine before this one may have set a limit
  const DeviceMemory memory = device_memory(device_);
  const std::int64_t needed = memory.allocated + weight_bytes(options.checkpoint, half);
  if (needed > tensor_budget(options.gpu_memory_fraction, memory)) {
    throw std::runtime_error(too_small(options.gpu_memory_fraction, memory, needed, "the model"));
  }
}

void Engine::Impl::load_models(const EngineOptions& options, bool half) {
  if (config_.variant != "english") {
    throw std::runtime_error((options.checkpoint / "config.json").string() + ": variant \"" + config_.variant +
                             "\" is not supported; this version renders \"english\"");
  }
  const StateDict t3 = StateDict::from_safetensors(options.checkpoint / "t3_cfg.safetensors", device_);
  t3_ = std::make_unique<chatterbox::T3>(config_.t3, t3, half ? at::kBFloat16 : at::kFloat);
  t3.verify();
  cache_dtype_ = options.kv_dtype == "fp8" ? at::kFloat8_e4m3fn : t3_->backbone().dtype();
  const StateDict s3gen = StateDict::from_safetensors(options.checkpoint / "s3gen.safetensors", device_);
  s3gen_ = std::make_unique<chatterbox::S3Gen>(
      config_.flow, config_.hift, s3gen,
      chatterbox::S3GenOptions{.half_precision = half && device_.is_cuda(), .cfm_fp8 = options.cfm_fp8});
  s3gen.ignore("tokenizer."); // the modules that turn a clip into a voice
  s3gen.ignore("speaker_encoder.");
  s3gen.verify();
  tokenizer_ = std::make_unique<BpeTokenizer>(chatterbox::load_english_tokenizer(options.checkpoint, config_.t3));
}

void Engine::Impl::load_voices(const EngineOptions& options) {
  prompt_seconds_ = options.prompt_seconds;
  const auto load = [&](const std::filesystem::path& file) {
    return std::make_shared<const chatterbox::Voice>(
        chatterbox::Voice::from_conds(file, config_, device_, options.prompt_seconds));
  };
  voices_["default"] = load(options.checkpoint / "conds.pt");
  for (const std::filesystem::path& file : chatterbox::voice_files(options.checkpoint)) {
    voices_[file.stem().string()] = load(file);
  }
}

/// The one that takes most of the device's memory.
const std::shared_ptr<const chatterbox::Voice>& Engine::Impl::longest_voice() const {
  const auto frames = [](const auto& entry) { return entry.second->prompt.prompt_feat.size(0); };
  return std::max_element(voices_.begin(), voices_.end(),
                          [&](const auto& a, const auto& b) { return frames(a) < frames(b); })
      ->second;
}

bool Engine::Impl::use_bf16(const EngineOptions& options) const {
  if (options.dtype != "auto" && options.dtype != "fp32" && options.dtype != "bf16") {
    throw std::invalid_argument("dtype is \"" + options.dtype + "\"; expected \"auto\", \"fp32\" or \"bf16\"");
  }
  if (options.dtype == "bf16" && !computes_bf16(device_)) {
    throw std::invalid_argument("dtype \"bf16\" needs a GPU or a CPU with AMX; this CPU computes in fp32");
  }
  return options.dtype != "fp32" && computes_bf16(device_);
}

void Engine::Impl::start_decoder(const EngineOptions& options, bool half) {
  const int max_batch = options.max_batch > 0 ? options.max_batch : default_max_batch(options, half);
  info_.max_batch = max_batch;
  reserve_ = reserve_of(max_batch);
  const int longest = t3_->prompt_length(static_cast<std::size_t>(config_.t3.text_pos_rows - 2)) + max_new_tokens;
  const int pages_of_longest = rows_of_utterance * (KvCache::pages_for(longest) + 1); // in two parts, each rounded up
  if (!device_.is_cuda()) {
    const int pages = max_batch * rows_of_utterance * KvCache::pages_for(typical_positions);
    decoder_ = make_decoder(*t3_, half, max_batch, std::max(pages, pages_of_longest), options.alignment_heads, reserve_,
                            cache_dtype_);
    synthesis_frames_ = std::numeric_limits<std::int64_t>::max();
    return;
  }
  decoder_ = make_decoder(*t3_, half, max_batch, pages_of_longest, options.alignment_heads, reserve_, cache_dtype_);
  const int longest_tokens = std::min(max_new_tokens, config_.t3.max_speech_tokens);
  const TrialResult fit = fit_to_memory({.t3 = *t3_,
                                         .s3gen = *s3gen_,
                                         .decoder = *decoder_,
                                         .voice = longest_voice(),
                                         .synthesis_batch = synthesis_batch_,
                                         .longest_tokens = longest_tokens,
                                         .page_bytes = page_bytes(),
                                         .least_pages = pages_of_longest,
                                         .most_pages = max_batch * pages_of_longest},
                                        options.gpu_memory_fraction);
  synthesis_frames_ = fit.synthesis_frames;
  if (s3gen_->pads()) { // no more than were tried
    const std::int64_t longest = num_frames(*longest_voice(), longest_tokens);
    synthesis_batch_ = std::min(synthesis_batch_, static_cast<std::size_t>(synthesis_frames_ / longest));
  }
  info_.memory = fit.plan;
  stats_.out_of_memory = fit.out_of_memory;
}

/// Of KV cache, over all layers.
std::int64_t Engine::Impl::page_bytes() const {
  const LlamaConfig& c = t3_->backbone().config();
  return KvCache::bytes(c.num_layers, c.num_heads, c.head_dim, 1, cache_dtype_);
}

int Engine::Impl::default_max_batch(const EngineOptions& options, bool half) const {
  const std::int64_t bytes_of_one = rows_of_utterance * KvCache::pages_for(typical_positions) * page_bytes();
  const DeviceMemory memory = device_memory(device_);
  const std::int64_t budget =
      device_.is_cuda() ? tensor_budget(options.gpu_memory_fraction, memory) - memory.allocated : cpu_cache_bytes;
  const std::int64_t most = !device_.is_cuda() ? 32 : half ? 512 : 160;
  return static_cast<int>(std::clamp<std::int64_t>(budget / bytes_of_one, 1, most));
}

/// Decoding pauses while half of its batch waits, or a few batches of synthesis, until one of these is left.
SynthesisLimits Engine::Impl::synthesis_limits() const {
  const auto batch = static_cast<std::size_t>(info_.synthesis_batch);
  return {.tasks = synthesis_batch_,
          .frames = synthesis_frames_,
          .urgent_seconds = urgent_wait_seconds,
          .most_waiting = std::max(static_cast<std::size_t>(info_.max_batch) / 2, 4 * batch),
          .least_waiting = batch};
}

std::string Engine::Impl::add_voice(const VoiceConditionals& conditionals) {
  chatterbox::check_conditionals(conditionals);
  const c10::InferenceMode inference;
  const auto values = chatterbox::Conditionals::from(conditionals);
  values.check(config_);
  auto voice = std::make_shared<const chatterbox::Voice>(chatterbox::Voice::from(values, device_, prompt_seconds_));
  std::string name = voice->content_hash.hex();
  const std::lock_guard lock(voices_mutex_);
  voices_.try_emplace(name, std::move(voice));
  return name;
}

std::shared_ptr<const chatterbox::Voice> Engine::Impl::voice(std::string_view name) const {
  {
    const std::lock_guard lock(voices_mutex_);
    if (const auto found = voices_.find(name); found != voices_.end()) {
      return found->second;
    }
  }
  std::string known;
  for (const std::string& other : info_.voices) {
    known += (known.empty() ? "" : ", ") + other;
  }
  throw std::invalid_argument("voice \"" + std::string(name) + "\" does not exist (there are: " + known + ")");
}

std::string Engine::Impl::chunk_key(const Utterance& u) const {
  HashBuilder hash;
  hash.add(static_cast<std::uint64_t>(audio_revision)).add(info_.weights_hash).add(voice(u.voice)->content_hash);
  hash.add(u.key).add(u.seed).add(info_.dtype).add(device_.is_cuda() ? "cuda" : "cpu");
  for (const double value :
       {static_cast<double>(u.exaggeration), static_cast<double>(u.sampling.cfg_weight),
        static_cast<double>(u.sampling.repetition_penalty), static_cast<double>(u.sampling.temperature),
        static_cast<double>(u.sampling.min_p), static_cast<double>(u.sampling.top_k),
        static_cast<double>(u.sampling.top_p), static_cast<double>(u.sampling.greedy), static_cast<double>(u.cfm_steps),
        static_cast<double>(u.forced_tokens)}) {
    hash.add(value);
  }
  return hash.finish().hex();
}

EngineStats Engine::Impl::stats() const {
  const std::lock_guard lock(mutex_);
  return stats_;
}

void Engine::Impl::notify() noexcept {
  {
    const std::lock_guard lock(mutex_);
    wake_ = true;
  }
  woken_.notify_all();
}

void Engine::Impl::cancel(UtteranceId id) noexcept {
  {
    const std::lock_guard lock(mutex_);
    const auto found = open_.find(id);
    if (found == open_.end()) {
      return;
    }
    found->second = true;
    cancellations_ = true;
  }
  notify();
}

// ---------------------------------------------------------------------------------------------- the decode thread

void Engine::Impl::run(WorkSource& source, Sink& sink, const std::stop_token& stop) {
  const StageScope scope(device_, Stage::decode, decode_threads_);
  SynthesisQueue synthesis(synthesis_limits());
  {
    const std::lock_guard lock(mutex_);
    open_.clear();
    failure_ = nullptr;
  }
  Session session{source, sink, synthesis};
  const std::stop_callback wake_on_stop(stop, [this] { notify(); });
  struct Workers { // joins the synthesis threads on every way out
    SynthesisQueue& queue;
    std::vector<std::thread> threads{};
    ~Workers() {
      queue.close();
      for (std::thread& thread : threads) {
        thread.join();
      }
    }
  } workers{synthesis};
  for (int i = 0; i < synthesis_workers_; ++i) {
    workers.threads.emplace_back([this, &synthesis, &sink] { synthesise(synthesis, sink); });
  }

  for (;;) {
    apply_cancellations(session);
    session.stopping = stop.stop_requested();
    pull(session);
    synthesis.set_decode_state(decode_state(session));
    const bool may_run = synthesis.decode_may_run();
    const bool starving = may_run && !admit(session);
    synthesis.set_decode_state(decode_state(session));
    if (may_run && decoder_->active() > 0) {
      decode(session);
    } else if (session.stopping && decoder_->active() == 0 && session.waiting.empty() && synthesis.idle()) {
      break;
    } else if (!may_run || session.waiting.empty() || starving) {
      wait_for_work();
    }
    const std::lock_guard lock(mutex_);
    if (failure_) {
      std::rethrow_exception(failure_);
    }
  }
}

void Engine::Impl::pull(Session& session) {
  const auto ask = [&](int reserved, auto next) {
    const int capacity = decoder_->free_places() - reserved - static_cast<int>(session.waiting.size());
    if (session.stopping || capacity <= 0) {
      return session.stopping;
    }
    std::vector<Utterance> utterances = next(static_cast<std::size_t>(capacity));
    for (Utterance& utterance : utterances) {
      accept(session, std::move(utterance));
    }
    return static_cast<int>(utterances.size()) < capacity;
  };
  ask(0, [&](std::size_t capacity) { return session.source.next_urgent(capacity); });
  if (session.synthesis.decode_may_run()) {
    session.dry = ask(reserve_.places, [&](std::size_t capacity) { return session.source.next(capacity); });
  }
}

/// Few rows are those of which steps leave the GPU unfilled.
DecodeState Engine::Impl::decode_state(const Session& session) const {
  constexpr int few = 4;
  const bool thin = session.dry && session.waiting.empty() && decoder_->active() < info_.max_batch / few;
  return {.urgent = session.urgent > 0, .thin = thin || decoder_->active() == 0};
}

void Engine::Impl::accept(Session& session, Utterance utterance) {
  const UtteranceId id = utterance.id;
  {
    const std::lock_guard lock(mutex_);
    open_.emplace(id, false);
  }
  try {
    check(utterance);
    DecodeRequest request = prepare(utterance);
    std::vector<std::int32_t> tokens = std::move(utterance.speech_tokens);
    const bool hit_limit = !request.forced && static_cast<int>(tokens.size()) >= request.max_tokens;
    session.urgent += utterance.urgent ? 1 : 0;
    session.utterances.emplace(id, Accepted{std::move(utterance), session.handed_out++, request.voice});
    if (tokens.empty()) {
      const auto before = request.urgent ? std::find_if(session.waiting.begin(), session.waiting.end(),
                                                        [](const DecodeRequest& other) { return !other.urgent; })
                                         : session.waiting.end();
      session.waiting.insert(before, std::move(request));
    } else {
      to_synthesis(session, id, std::move(tokens), hit_limit);
    }
  } catch (const std::invalid_argument& error) {
    fail(session, id, error.what());
  }
}

DecodeRequest Engine::Impl::prepare(const Utterance& u) const {
  DecodeRequest request;
  request.id = u.id;
  request.urgent = u.urgent;
  request.text_ids = chatterbox::encode_english(*tokenizer_, chatterbox::punc_norm(u.text));
  request.voice = voice(u.voice);
  request.exaggeration = u.exaggeration;
  request.sampling = u.sampling;
  request.random = random_stream(u.seed, u.key, static_cast<std::uint32_t>(u.attempt));
  const int predicted = predict_speech_tokens(u.text);
  const int limit = std::min(max_new_tokens, config_.t3.max_speech_tokens);
  request.forced = u.forced_tokens > 0 || config_.synthetic; // synthetic weights never stop by themselves
  if (request.forced) {
    request.max_tokens = u.forced_tokens > 0 ? u.forced_tokens : std::min(limit, predicted);
    check_range("forced_tokens", request.max_tokens, 1, config_.t3.max_speech_tokens);
  } else {
    request.max_tokens = std::min(limit, static_cast<int>(std::ceil(2.2 * predicted)) + 32);
  }
  if (u.text.find_first_not_of(" \t\r\n") == std::string::npos) {
    throw std::invalid_argument("the text of the utterance is empty");
  }
  if (request.text_ids.size() + 2 > static_cast<std::size_t>(config_.t3.text_pos_rows)) {
    throw std::invalid_argument("the text has " + std::to_string(request.text_ids.size()) +
                                " tokens; the model reads at most " + std::to_string(config_.t3.text_pos_rows - 2));
  }
  return request;
}

/// Decoding has nothing more to do with @p id.
void Engine::Impl::forget(Session& session, UtteranceId id) {
  if (const auto found = session.utterances.find(id); found != session.utterances.end()) {
    session.urgent -= found->second.utterance.urgent ? 1 : 0;
    session.utterances.erase(found);
  }
}

void Engine::Impl::fail(Session& session, UtteranceId id, const std::string& why) {
  forget(session, id);
  if (!take_if_open(id)) {
    return;
  }
  {
    const std::lock_guard lock(mutex_);
    ++stats_.utterances_failed;
  }
  session.sink.failed(id, why);
}

/// @return false when there is memory for newcomers only after others have left or the synthesis thread is done
bool Engine::Impl::admit(Session& session) {
  while (!session.waiting.empty()) {
    const bool alone = decoder_->active() == 0 && !session.synthesis.computing();
    try {
      const auto start = std::chrono::steady_clock::now();
      if (decoder_->admit(session.waiting) == 0) {
        return true;
      }
      const std::lock_guard lock(mutex_);
      stats_.prefill_seconds += seconds_since(start);
    } catch (const std::invalid_argument& error) {
      fail(session, session.waiting.front().id, error.what());
      session.waiting.pop_front();
    } catch (const c10::OutOfMemoryError& error) {
      ran_out_of_memory();
      if (!decoder_->admit_fewer()) {
        if (alone) {
          fail_for_memory(error);
        }
        return false;
      }
    }
  }
  return true;
}

/// Makes room for another attempt with less.
void Engine::Impl::ran_out_of_memory() {
  {
    const std::lock_guard lock(mutex_);
    ++stats_.out_of_memory;
  }
  release_unused_memory(device_);
}

void Engine::Impl::decode(Session& session) {
  const int rows = decoder_->active();
  const auto start = std::chrono::steady_clock::now();
  const bool alone = !session.synthesis.computing();
  const int most = session.urgent > 0 ? std::max(1, info_.max_batch / urgent_step_share) : info_.max_batch;
  decoder_->limit_step(most);
  std::vector<DecodeResult> results;
  try {
    results = decoder_->step();
  } catch (const c10::OutOfMemoryError& error) {
    ran_out_of_memory();
    if (alone) {
      fail_for_memory(error);
    }
    wait_for_work(); // until the synthesis thread is done
    return;
  }
  {
    const std::lock_guard lock(mutex_);
    stats_.decode_seconds += seconds_since(start);
    const auto steps = static_cast<std::uint64_t>(decoder_->steps_per_call());
    stats_.decode_steps += steps;
    stats_.decode_rows += steps * static_cast<std::uint64_t>(std::min(rows, most));
    for (const DecodeResult& result : results) {
      stats_.tokens += result.speech_tokens.size();
    }
  }
  for (DecodeResult& result : results) {
    if (result.speech_tokens.empty()) {
      fail(session, result.id, "the model produced no speech for this text");
      continue;
    }
    if (result.alignment.num_heads > 0) {
      session.sink.aligned(result.id, result.alignment);
    }
    session.sink.tokens(result.id, result.speech_tokens);
    to_synthesis(session, result.id, std::move(result.speech_tokens), result.hit_token_limit);
  }
}

void Engine::Impl::to_synthesis(Session& session, UtteranceId id, std::vector<std::int32_t> tokens, bool hit_limit) {
  const auto& [u, order, voice] = session.utterances.at(id);
  const std::int64_t frames = num_frames(*voice, static_cast<std::int64_t>(tokens.size()));
  session.synthesis.push({id, order, std::move(tokens), voice, u.cfm_steps,
                          random_stream(u.seed, u.key, static_cast<std::uint32_t>(u.attempt)), hit_limit, u.urgent,
                          frames});
  forget(session, id);
}

void Engine::Impl::apply_cancellations(Session& session) {
  std::vector<UtteranceId> cancelled;
  {
    const std::lock_guard lock(mutex_);
    if (!std::exchange(cancellations_, false)) {
      return;
    }
    for (const auto& [id, is_cancelled] : open_) {
      if (is_cancelled) {
        cancelled.push_back(id);
      }
    }
  }
  for (const UtteranceId id : cancelled) {
    const auto waits = std::find_if(session.waiting.begin(), session.waiting.end(),
                                    [id](const DecodeRequest& request) { return request.id == id; });
    const bool was_waiting = waits != session.waiting.end();
    if (was_waiting) {
      session.waiting.erase(waits);
    }
    if (was_waiting || decoder_->cancel(id) || session.synthesis.remove(id)) {
      forget(session, id);
      static_cast<void>(take_if_open(id));
    } // else it is being synthesised, and delivered when done
  }
}

void Engine::Impl::wait_for_work() {
  std::unique_lock lock(mutex_);
  woken_.wait(lock, [this] { return wake_; });
  wake_ = false;
}

bool Engine::Impl::take_if_open(UtteranceId id) {
  const std::lock_guard lock(mutex_);
  const auto found = open_.find(id);
  if (found == open_.end()) {
    return false;
  }
  const bool cancelled = found->second;
  open_.erase(found);
  return !cancelled;
}

// ------------------------------------------------------------------------------------------ the synthesis threads

void Engine::Impl::synthesise(SynthesisQueue& queue, Sink& sink) noexcept {
  try {
    const StageScope scope(device_, Stage::synthesis, synthesis_threads_);
    synthesise_all(queue, sink);
  } catch (...) {
    {
      const std::lock_guard lock(mutex_);
      failure_ = failure_ ? failure_ : std::current_exception();
    }
    notify();
  }
}

/// The next batch is given to the device as soon as the one before has only the vocoder's work left: late enough that
/// urgent utterances need not wait for two batches, and early enough that the device does not wait.
void Engine::Impl::synthesise_all(SynthesisQueue& queue, Sink& sink) {
  std::optional<Started> started;
  for (std::vector<SynthesisTask> taken;;) {
    // Nothing comes before the delivery of urgent ones, and the CPU is done already.
    if (started && (started->tasks.front().urgent || device_.is_cpu())) {
      deliver(*started, queue, sink);
      started.reset();
    } else if (started) {
      started->synthesis.wait_for_mels();
    }
    if (taken.empty()) {
      taken = started ? queue.take_now() : queue.take();
      notify(); // decoding may go on
    }
    if (taken.empty() && !started) {
      return;
    }
    std::optional<Started> next = taken.empty() ? std::nullopt : start_some(taken, !started);
    if (started) {
      deliver(*started, queue, sink);
    }
    started = std::move(next);
  }
}

/// Removes from @p tasks what it started: nothing when memory was short.
std::optional<Engine::Impl::Started> Engine::Impl::start_some(std::vector<SynthesisTask>& tasks, bool alone) {
  const std::size_t count = std::min(tasks.size(), synthesis_limit_);
  std::vector<chatterbox::SynthesisRequest> requests;
  for (const SynthesisTask& task : std::span(tasks).first(count)) {
    requests.push_back({task.speech_tokens, &task.voice->prompt, task.cfm_steps, task.random});
  }
  try {
    chatterbox::StartedSynthesis synthesis = s3gen_->start(requests);
    const auto end = tasks.begin() + static_cast<std::ptrdiff_t>(count);
    std::vector<SynthesisTask> begun(std::move_iterator(tasks.begin()), std::move_iterator(end));
    tasks.erase(tasks.begin(), end);
    return Started{std::move(begun), std::move(synthesis)};
  } catch (const c10::OutOfMemoryError& error) {
    ran_out_of_memory();
    if (count == 1 && alone) {
      fail_for_memory(error);
    }
    synthesis_limit_ = std::max<std::size_t>(1, count / 2);
    return std::nullopt;
  }
}

void Engine::Impl::deliver(Started& started, SynthesisQueue& queue, Sink& sink) {
  chatterbox::Synthesis synthesis = started.synthesis.wait();
  const chatterbox::StageSeconds& seconds = synthesis.seconds;
  {
    const std::lock_guard lock(mutex_);
    stats_.encoder_seconds += seconds.encoder;
    stats_.cfm_seconds += seconds.cfm;
    stats_.vocoder_seconds += seconds.vocoder;
  }
  std::int64_t frames = 0;
  for (std::size_t i = 0; i < started.tasks.size(); ++i) {
    const SynthesisTask& task = started.tasks[i];
    frames += task.num_frames;
    static_cast<void>(take_if_open(task.id)); // cancelled meanwhile: it is there now, and may serve somebody later
    Waveform waveform{std::move(synthesis.waveforms[i]), info_.sample_rate, task.hit_token_limit};
    {
      const std::lock_guard lock(mutex_);
      ++stats_.utterances_finished;
      stats_.audio_seconds += static_cast<double>(waveform.samples.size()) / waveform.sample_rate;
    }
    sink.finished(task.id, std::move(waveform));
  }
  if (!started.tasks.front().urgent) {
    queue.set_speed(frames, seconds.encoder + seconds.cfm + seconds.vocoder);
  }
  queue.done(started.tasks.size());
  notify(); // the decode thread may admit again, or be done
}

} // namespace audiobookd::engine
