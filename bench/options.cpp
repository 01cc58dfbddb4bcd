#include "bench/options.h"

#include <algorithm>
#include <cstdlib>
#include <map>
#include <stdexcept>
#include <thread>

namespace audiobookd::bench {

const char* const usage =
    "usage: audiobook-bench decode|synthesis|engine|book|clip|fidelity|checkpoint-load --checkpoint DIR [options]\n"
    "       audiobook-bench queue [--jobs N]\n"
    "       audiobook-bench encode [--utterances N] [--threads N]\n"
    "  --device cpu|cuda|cuda:N   default cpu; book: also all GPUs (all), or several (cuda:0,cuda:2)\n"
    "  --dtype fp32|bf16|auto     default auto: bf16 on CUDA, and of T3 on CPUs with AMX\n"
    "  --free-gemm                decode: matrix products by the fastest algorithm; tokens may depend on the company\n"
    "  --kv-fp8                   decode, engine: keys and values in 8 bits\n"
    "  --cfm-fp8                  engine, synthesis: products of the flow's transformer blocks in 8 bits\n"
    "  --prompt-seconds X         engine, synthesis: of the voice prompt, 3 to 10; default 10\n"
    "  --utterances N             default 154 (40 minutes of audio)\n"
    "  --batch N                  utterances decoded together; default by device\n"
    "  --synthesis-batch N        utterances synthesised together; default by device\n"
    "  --memory-fraction X        engine, book: of the GPU's memory that may be in use; default 0.9\n"
    "  --threads N                CPU threads; default all\n"
    "  --cache-pages N            of KV cache at most, 32 positions each; default: room for the whole batch\n"
    "  --cfm-steps N              Euler steps; default 10\n"
    "  --clip-seconds X           clip: of the clip, 1 to 10; default 10\n"
    "  --urgent N                 engine: so many short utterances arrive one by one in a second run; their latency\n"
    "  --books N                  book: divided among so many jobs that run together; default 1\n"
    "  --interactive N            book: short requests meanwhile, one after the other, at most N; how soon they are "
    "heard\n"
    "  --jobs N                   queue: jobs of one page in a burst; default 1000\n"
    "  --no-gates                 book: utterances are not judged; without it they are, but never rendered again\n"
    "  --cold                     book: the daemon's start and load count too\n"
    "  --shares                   where the GPU's time goes, by class of kernel and by name\n"
    "  --profile FILE             a trace (Chrome JSON) that https://ui.perfetto.dev opens\n"
    "  --profile-seconds N        how long --shares and --profile look; default 2\n"
    "Loading, warm-up and the measuring of ceilings are not in the figure. Lengths are forced; book renders a text,\n"
    "whose utterances are as long as the model makes them (of synthetic weights: as long as predicted).\n"
    "Profiling slows the program down, so --shares and --profile watch the middle of a second run: every figure is\n"
    "of the first.\n";

namespace {

int positive(const std::string& name, const std::string& value) {
  char* end = nullptr;
  const long number = std::strtol(value.c_str(), &end, 10);
  if (value.empty() || *end != '\0' || number < 1 || number > 1000000) {
    throw std::invalid_argument(name + " is \"" + value + "\"; expected a number from 1 to 1000000");
  }
  return static_cast<int>(number);
}

double number_to(const std::string& name, const std::string& value, int most) {
  char* end = nullptr;
  const double number = std::strtod(value.c_str(), &end);
  if (value.empty() || *end != '\0' || !(number > 0 && number <= most)) {
    throw std::invalid_argument(name + " is \"" + value + "\"; expected a number above 0 and at most " +
                                std::to_string(most));
  }
  return number;
}

/// @throws std::invalid_argument where values are unknown, missing or do not go together.
void check(const Options& options) {
  if (options.checkpoint.empty() && options.benchmark != "queue" && options.benchmark != "encode") {
    throw std::invalid_argument("--checkpoint is missing");
  }
  if (options.dtype != "auto" && options.dtype != "fp32" && options.dtype != "bf16") {
    throw std::invalid_argument("--dtype is \"" + options.dtype + "\"; expected auto, fp32 or bf16");
  }
  if (options.shares && options.device == "cpu") {
    throw std::invalid_argument("--shares counts GPU kernels: it needs --device cuda");
  }
}

} // namespace

Options parse_options(int argc, char** argv) {
  if (argc < 2) {
    throw std::invalid_argument("which benchmark?");
  }
  Options options;
  options.benchmark = argv[1];
  options.threads = static_cast<int>(std::max(1U, std::thread::hardware_concurrency()));
  const std::map<std::string, bool*> switches = {{"--shares", &options.shares},     {"--cold", &options.cold},
                                                 {"--no-gates", &options.no_gates}, {"--free-gemm", &options.free_gemm},
                                                 {"--kv-fp8", &options.kv_fp8},     {"--cfm-fp8", &options.cfm_fp8}};
  const std::map<std::string, std::string*> strings = {{"--device", &options.device}, {"--dtype", &options.dtype}};
  const std::map<std::string, std::filesystem::path*> paths = {{"--checkpoint", &options.checkpoint},
                                                               {"--profile", &options.profile}};
  const std::map<std::string, double*> fractions = {{"--memory-fraction", &options.memory_fraction}};
  const std::map<std::string, double*> reals = {{"--prompt-seconds", &options.prompt_seconds},
                                                {"--clip-seconds", &options.clip_seconds}};
  const std::map<std::string, int*> numbers = {{"--utterances", &options.utterances},
                                               {"--batch", &options.batch},
                                               {"--synthesis-batch", &options.synthesis_batch},
                                               {"--threads", &options.threads},
                                               {"--cache-pages", &options.cache_pages},
                                               {"--cfm-steps", &options.cfm_steps},
                                               {"--urgent", &options.urgent},
                                               {"--books", &options.books},
                                               {"--jobs", &options.jobs},
                                               {"--interactive", &options.interactive},
                                               {"--profile-seconds", &options.profile_seconds}};
  for (int i = 2; i < argc; ++i) {
    const std::string name = argv[i];
    if (switches.contains(name)) {
      *switches.at(name) = true;
      continue;
    }
    if (!strings.contains(name) && !paths.contains(name) && !numbers.contains(name) && !fractions.contains(name) &&
        !reals.contains(name)) {
      throw std::invalid_argument("unknown option " + name);
    }
    if (++i == argc) {
      throw std::invalid_argument(name + " needs a value");
    }
    if (strings.contains(name)) {
      *strings.at(name) = argv[i];
    } else if (paths.contains(name)) {
      *paths.at(name) = argv[i];
    } else if (fractions.contains(name)) {
      *fractions.at(name) = number_to(name, argv[i], 1);
    } else if (reals.contains(name)) {
      *reals.at(name) = number_to(name, argv[i], 10);
    } else {
      *numbers.at(name) = positive(name, argv[i]);
    }
  }
  check(options);
  return options;
}

engine::EngineOptions engine_options(const Options& options) {
  engine::EngineOptions result;
  result.checkpoint = options.checkpoint;
  result.device = options.device;
  result.dtype = options.dtype;
  result.kv_dtype = options.kv_fp8 ? "fp8" : "bf16";
  result.cfm_fp8 = options.cfm_fp8;
  result.prompt_seconds = options.prompt_seconds;
  result.max_batch = options.batch;
  result.synthesis_batch = options.synthesis_batch;
  result.gpu_memory_fraction = options.memory_fraction;
  result.cpu_threads = options.threads;
  if (!options.no_gates && !options.checkpoint.empty()) {
    result.alignment_heads = engine::Engine::known_alignment_heads(options.checkpoint); // as the daemon does
  }
  return result;
}

} // namespace audiobookd::bench
