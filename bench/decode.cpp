#include "bench/benchmarks.h"
#include "bench/ceilings.h"
#include "bench/decode_work.h"
#include "bench/gpu.h"
#include "bench/meter.h"
#include "bench/profiler.h"
#include "bench/report.h"
#include "engine/cuda/cuda_decoder.h"
#include "engine/device.h"
#include "engine/models/chatterbox/aten_decoder.h"
#include "engine/models/chatterbox/t3.h"
#include "engine/models/chatterbox/text_norm.h"
#include "engine/models/chatterbox/voice.h"

#include <algorithm>
#include <cmath>
#include <deque>
#include <optional>
#include <stdexcept>

namespace audiobookd::bench {
namespace {

namespace cb = engine::chatterbox;

/// What the engine would choose for these options.
at::ScalarType dtype_of(const Options& options, at::Device device) {
  if (options.dtype == "bf16" && !engine::computes_bf16(device)) {
    throw std::invalid_argument("--dtype bf16 needs a GPU or a CPU with AMX");
  }
  return options.dtype != "fp32" && engine::computes_bf16(device) ? at::kBFloat16 : at::kFloat;
}

/// What is loaded before anything is measured.
struct Model {
  Model(const Options& options, at::Device device)
      : config(cb::Config::load(options.checkpoint)),
        t3(config.t3, engine::StateDict::from_safetensors(options.checkpoint / "t3_cfg.safetensors", device),
           dtype_of(options, device)),
        tokenizer(cb::load_english_tokenizer(options.checkpoint, config.t3)),
        voice(
            std::make_shared<const cb::Voice>(cb::Voice::from_conds(options.checkpoint / "conds.pt", config, device))) {
  }
  cb::Config config;
  cb::T3 t3;
  engine::BpeTokenizer tokenizer;
  std::shared_ptr<const cb::Voice> voice;
};

std::vector<cb::DecodeRequest> requests_of(const Model& model, const std::vector<BenchUtterance>& workload) {
  std::vector<cb::DecodeRequest> requests;
  for (const BenchUtterance& u : workload) {
    cb::DecodeRequest request;
    request.id = requests.size();
    request.text_ids = cb::encode_english(model.tokenizer, cb::punc_norm(u.text));
    request.voice = model.voice;
    request.random = engine::random_stream(1, {request.id, 0}, 0);
    request.max_tokens = u.num_tokens;
    request.forced = true;
    requests.push_back(std::move(request));
  }
  return requests;
}

bool in_bf16(const cb::T3& t3) { return t3.backbone().dtype() == at::kBFloat16; }
bool uses_cuda_decoder(const cb::T3& t3) { return t3.device().is_cuda() && in_bf16(t3); }

std::unique_ptr<cb::Decoder> make_decoder(const cb::T3& t3, int batch, int pages,
                                          [[maybe_unused]] const Options& options) {
#ifdef AUDIOBOOKD_WITH_CUDA
  if (uses_cuda_decoder(t3)) {
    return engine::cuda::make_cuda_decoder(t3, {.max_batch = batch,
                                                .num_pages = pages,
                                                .invariant = !options.free_gemm,
                                                .cache_dtype = options.kv_fp8 ? at::kFloat8_e4m3fn : at::kBFloat16});
  }
#endif
  return std::make_unique<cb::AtenDecoder>(t3, batch, pages);
}

/// Runs requests through a decoder, one call of step() at a time.
class DecodeRun {
public:
  DecodeRun(cb::Decoder& decoder, const std::vector<cb::DecodeRequest>& requests)
      : decoder_(decoder), places_(decoder.active() + decoder.free_places()),
        waiting_(requests.begin(), requests.end()), open_(requests.size()) {}

  [[nodiscard]] bool done() const { return open_ == 0; }
  [[nodiscard]] std::int64_t calls() const { return calls_; }
  /// For each request, in order, the call before which it was admitted.
  [[nodiscard]] const std::vector<std::int64_t>& entered() const { return entered_; }

  void call(const Meter& meter) {
    const double start = meter.seconds();
    while (!waiting_.empty()) {
      const int admitted = decoder_.admit(waiting_);
      if (admitted == 0) {
        break;
      }
      entered_.insert(entered_.end(), static_cast<std::size_t>(admitted), calls_);
    }
    prefill_seconds_ += meter.seconds() - start;
    if (!waiting_.empty()) {
      ++full_calls_;
      busy_rows_ += decoder_.active() / places_;
    } else if (dry_seconds_ == 0) {
      dry_seconds_ = meter.seconds();
    }
    open_ -= decoder_.step().size();
    ++calls_;
  }

  void report(Json& result) const {
    const auto full = static_cast<double>(full_calls_);
    result["prefill_seconds"] = prefill_seconds_; // as the host sees it
    result["busy_share_until_dry"] = full > 0 ? busy_rows_ / full : 0;
    result["step_ms_until_dry"] = full > 0 ? 1000 * dry_seconds_ / (full * decoder_.steps_per_call()) : 0;
  }

private:
  cb::Decoder& decoder_;
  double places_;
  std::deque<cb::DecodeRequest> waiting_;
  std::size_t open_;
  std::vector<std::int64_t> entered_;
  std::int64_t calls_ = 0;
  std::int64_t full_calls_ = 0; // while the queue was not dry
  double busy_rows_ = 0;        // sum over them of the share of places in use
  double prefill_seconds_ = 0;
  double dry_seconds_ = 0;
};

/// The rows of @p requests as the roofline counts them.
std::vector<DecodeRow> rows_of(const Model& model, const std::vector<cb::DecodeRequest>& requests,
                               const std::vector<std::int64_t>& entered, int steps_per_call, bool shares_prefix) {
  std::vector<DecodeRow> rows;
  for (std::size_t i = 0; i < entered.size(); ++i) {
    DecodeRow row;
    row.prompt = model.t3.prompt_length(requests[i].text_ids.size());
    row.num_tokens = requests[i].max_tokens;
    row.entered = entered[i] * steps_per_call;
    row.shared = shares_prefix ? 2 + model.config.t3.perceiver_queries : 0; // conditional: up to the text
    rows.push_back(row);
    row.shared = shares_prefix ? row.prompt - 2 : 0; // unconditional: up to the speech starts
    rows.push_back(row);
  }
  return rows;
}

Json work_json(const DecodeWork& work) {
  return {{"counted", "rows that draw a token; weights once a step; shared pages apart; prompts without them"},
          {"weight_gb", work.weight_bytes / 1e9},
          {"own_kv_gb", work.own_kv_bytes / 1e9},
          {"shared_kv_once_gb", work.shared_kv_once_bytes / 1e9},
          {"shared_kv_every_row_gb", work.shared_kv_bytes / 1e9},
          {"gemm_tflop", work.gemm_flop / 1e12},
          {"attention_tflop", work.attention_flop / 1e12},
          {"prompt_gemm_tflop", work.prompt_gemm_flop / 1e12},
          {"prompt_attention_tflop", work.prompt_attention_flop / 1e12}};
}

Json roofline_json(const DecodeWork& work, const Ceilings& ceilings, double seconds) {
  const double bytes = work.weight_bytes + work.own_kv_bytes + work.shared_kv_once_bytes;
  const double flop = work.gemm_flop + work.attention_flop + work.prompt_gemm_flop + work.prompt_attention_flop;
  return {{"copy_gb_per_second", ceilings.bytes_per_second / 1e9},        {"matmul", ceilings.matmul},
          {"matmul_tflop_per_second", ceilings.flop_per_second / 1e12},   {"gb_per_second", bytes / seconds / 1e9},
          {"share_of_copy", bytes / seconds / ceilings.bytes_per_second}, {"tflop_per_second", flop / seconds / 1e12},
          {"share_of_matmul", flop / seconds / ceilings.flop_per_second}, {"least_seconds", work.roofline_seconds},
          {"share_of_roofline", work.roofline_seconds / seconds}};
}

/// What the kernels of a profiled stretch did, beside what they had to do.
Json profile_json(const GpuActivity& activity, const DecodeWork& work, const Ceilings& ceilings, double steps) {
  Json result = {{"steps", steps},
                 {"seconds", activity.seconds},
                 {"kernel_ms_per_step", 1000 * activity.busy_seconds / steps},
                 {"shares", shares(activity)}};
  const auto rate = [&](const char* name, double amount, double seconds, double ceiling, double unit) {
    if (seconds > 0) {
      result[name] = {{"ms_per_step", 1000 * seconds / steps},
                      {"per_second", amount / seconds / unit},
                      {"share_of_ceiling", amount / seconds / ceiling}};
    }
  };
  const double attention = activity.seconds_of("decode_attention");
  rate("decode_attention_own_gb", work.own_kv_bytes, attention, ceilings.bytes_per_second, 1e9);
  rate("decode_attention_with_shared_gb", work.own_kv_bytes + work.shared_kv_bytes, attention,
       ceilings.bytes_per_second, 1e9);
  rate("gemm_tflop", work.gemm_flop + work.prompt_gemm_flop, activity.seconds_of("gemm"), ceilings.flop_per_second,
       1e12);
  return result;
}

class DecodeBenchmark {
public:
  explicit DecodeBenchmark(const Options& options)
      : options_(options), device_(engine::resolve_device(options.device)),
        scope_(device_, engine::Stage::decode, options.threads), ceilings_(measure_ceilings(device_)), load_(device_),
        model_(options, device_), workload_(make_workload(options.utterances, longest_tokens(model_.config))),
        requests_(requests_of(model_, workload_)) {
    if (options.kv_fp8 && !uses_cuda_decoder(model_.t3)) {
      throw std::invalid_argument("--kv-fp8 needs --device cuda and bf16");
    }
    batch_ = options.batch > 0 ? options.batch : std::min(options.utterances, device_.is_cuda() ? 160 : 16);
    const int positions = model_.t3.prompt_length(254) + longest_tokens(model_.config);
    const int pages = std::min(2 * batch_ * engine::KvCache::pages_for(positions), options.cache_pages);
    decoder_ = make_decoder(model_.t3, batch_, pages, options);
    load_seconds_ = load_.seconds();
  }

  void run() {
    const double warm_up_seconds = warm_up();
    const Meter meter(device_);
    DecodeRun run(*decoder_, requests_);
    while (!run.done()) {
      run.call(meter);
    }
    const double seconds = meter.seconds();

    Json result = settings(options_, workload_);
    result["dtype"] = in_bf16(model_.t3) ? "bf16" : "fp32";
    result["kv_dtype"] = options_.kv_fp8 ? "fp8" : result["dtype"];
    result["batch"] = batch_;
    result["gemm"] = options_.free_gemm ? "fastest" : "the same bits for any number of rows";
    result["load_seconds"] = load_seconds_; // the workload and the decoder's graphs included
    result["warm_up_seconds"] = warm_up_seconds;
    add_rates(result, workload_, seconds);
    run.report(result);
    result["resources"] = meter.resources();
    const DecodeWork work = work_of(run, 0, run.calls());
    result["work"] = work_json(work);
    result["roofline"] = roofline_json(work, ceilings_, seconds);
    if (options_.profiled()) {
      profile(result, run.calls(), seconds / static_cast<double>(run.calls()));
    }
    print_report("decode", result);
  }

private:
  double warm_up() {
    std::vector<cb::DecodeRequest> one(requests_.begin(), requests_.begin() + 1);
    one[0].max_tokens = 16;
    const Meter meter(device_);
    for (DecodeRun run(*decoder_, one); !run.done();) {
      run.call(meter);
    }
    return meter.seconds();
  }

  [[nodiscard]] DecodeWork work_of(const DecodeRun& run, std::int64_t begin_call, std::int64_t end_call) const {
    const int steps = decoder_->steps_per_call();
    const auto rows = rows_of(model_, requests_, run.entered(), steps, uses_cuda_decoder(model_.t3));
    const double width = in_bf16(model_.t3) ? 2 : 4;
    const double cache = options_.kv_fp8 ? 1 + 1.0 / model_.config.t3.head_dim : width;
    return decode_work(model_.config.t3, {.weight = width, .cache = cache}, rows, begin_call * steps, end_call * steps,
                       {ceilings_.bytes_per_second, ceilings_.flop_per_second});
  }

  /// Repeats the run up to its middle and watches some calls there.
  void profile(Json& result, std::int64_t all_calls, double call_seconds) {
    const auto wanted = static_cast<std::int64_t>(std::ceil(options_.profile_seconds / call_seconds));
    const std::int64_t count = std::min(all_calls, wanted);
    const std::int64_t begin = (all_calls - count) / 2;
    const Meter meter(device_);
    DecodeRun run(*decoder_, requests_);
    while (run.calls() < begin) {
      run.call(meter);
    }
    Profiler profiler(device_);
    while (run.calls() < begin + count) {
      run.call(meter);
    }
    const GpuActivity activity = profiler.stop(options_.profile);
    if (device_.is_cuda()) {
      print_kernels(activity);
      result["profile"] = profile_json(activity, work_of(run, begin, begin + count), ceilings_,
                                       static_cast<double>(count * decoder_->steps_per_call()));
    }
  }

  const Options& options_;
  at::Device device_;
  engine::StageScope scope_;
  Ceilings ceilings_;
  Meter load_;
  Model model_;
  std::vector<BenchUtterance> workload_;
  std::vector<cb::DecodeRequest> requests_;
  int batch_ = 0;
  std::unique_ptr<cb::Decoder> decoder_;
  double load_seconds_ = 0;
};

} // namespace

void bench_decode(const Options& options) { DecodeBenchmark(options).run(); }

} // namespace audiobookd::bench
