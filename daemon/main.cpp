// The program audiobookd: reads the command line and runs the daemon or the command `render`.
//
// Exit status: 0 done; 1 failed while running; 2 wrong usage or configuration; 130 interrupted.
#include "daemon/acx.h"
#include "daemon/config.h"
#include "daemon/dictionary_file.h"
#include "daemon/embedded_checkpoint.h"
#include "daemon/environment.h"
#include "daemon/errors.h"
#include "daemon/gate_config.h"
#include "daemon/job_storage.h"
#include "daemon/log.h"
#include "daemon/render_command.h"
#include "daemon/render_service.h"
#include "daemon/renderer_group.h"
#include "daemon/signals.h"
#include "daemon/voice_folder.h"
#include "jobs/document/chapter_selection.h"
#include "jobs/redis_queue.h"

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <fmt/format.h>
#include <iostream>
#include <optional>
#include <spdlog/spdlog.h>
#include <unistd.h>

namespace {

namespace daemon = audiobookd::daemon;
namespace engine = audiobookd::engine;
namespace jobs = audiobookd::jobs;
namespace storage = audiobookd::storage;

enum ExitStatus { ok = 0, failed = 1, wrong_usage = 2, interrupted = 130 };

struct CommandLine {
  std::string config;
  bool check_config = false;
  engine::EngineOptions engine;
  daemon::RenderOptions render;
  std::filesystem::path dictionary;
  bool as_written = false;
  bool without_gates = false;
  bool acx = false; ///< preset
  daemon::AcxCredits credits;
};

std::optional<daemon::LoudnessTarget> parse_loudness(const std::string& text) {
  if (text == "off") {
    return std::nullopt;
  }
  daemon::LoudnessTarget target;
  if (!CLI::detail::lexical_cast(text, target.lufs) || !(target.lufs >= -40 && target.lufs <= -9)) {
    throw CLI::ValidationError("--loudness", "'" + text + "' is neither off nor a number from -40 to -9");
  }
  return target;
}

/// @throws CLI::ValidationError
void read_metadata(const std::vector<std::string>& pairs, daemon::RenderOptions& options) {
  for (const std::string& pair : pairs) {
    const std::size_t equals = pair.find('=');
    const std::string key = pair.substr(0, equals);
    const std::string value = equals == std::string::npos ? "" : pair.substr(equals + 1);
    if (key == "title" || key == "author") {
      (key == "title" ? options.title : options.author) = value;
      continue;
    }
    const jobs::MetadataField* field = jobs::find_metadata_field(key);
    if (field == nullptr || equals == std::string::npos) {
      std::string known = "title, author";
      for (const jobs::MetadataField& one : jobs::metadata_fields()) {
        known += ", " + std::string(one.name);
      }
      throw CLI::ValidationError("--metadata", "'" + pair + "' is no KEY=VALUE with one of these keys: " + known);
    }
    if (const auto complaint = jobs::complaint_about(*field, value)) {
      throw CLI::ValidationError("--metadata", key + ": '" + value + "': " + *complaint);
    }
    options.metadata.*field->value = value;
  }
}

void describe_files(CLI::App& render, CommandLine& line) {
  render
      .add_option_function<std::string>(
          "--split", [&line](const std::string& text) { line.render.shape.split_chapters = text == "chapters"; },
          "A file for each chapter, or one (single)")
      ->check(CLI::IsMember({"single", "chapters"}));
  render
      .add_option_function<std::string>(
          "--layout", [&line](const std::string& text) { line.render.shape.audiobookshelf = text == "audiobookshelf"; },
          "A folder with cover and metadata.json as Audiobookshelf reads it, or a file")
      ->check(CLI::IsMember({"file", "audiobookshelf"}));
  render.add_flag("--vtt", line.render.shape.subtitles, "WebVTT of what is read beside each audio file");
  render.add_flag("--listing", line.render.shape.listing,
                  "A list of the utterances with the book: when each is heard, and what the gates found");
  render.add_option("--cover", line.render.cover, "JPEG or PNG to put before the document's cover");
  render
      .add_option_function<std::vector<std::string>>(
          "--metadata", [&line](const std::vector<std::string>& pairs) { read_metadata(pairs, line.render); },
          "KEY=VALUE, before what the document says: title, author, narrator, series, year …; may be given again")
      ->expected(1)
      ->multi_option_policy(CLI::MultiOptionPolicy::TakeAll);
}

void describe_render(CLI::App& render, CommandLine& line) {
  render.add_option("book", line.render.input, "What to read: .txt, .md, .html, .epub or .docx")->required();
  render
      .add_option("-o,--output", line.render.output,
                  "The MP3 to write, or the folder with --split, --layout or --vtt; may have {author}, {series}, "
                  "{series_index}, {title}, {year} and {narrator}")
      ->required();
  describe_files(render, line);
  render.add_option("--only", line.render.only, "Chapters to read, like 1-3,7 (audiobookctl chapters lists them)")
      ->check([](const std::string& text) {
        try {
          (void)jobs::parse_chapter_ranges(text);
          return std::string();
        } catch (const std::invalid_argument& error) {
          return std::string(error.what());
        }
      });
  render.add_option("--model", line.engine.checkpoint, "Checkpoint folder (default: the embedded voice)");
  render
      .add_option("--voice", line.render.book.voice,
                  "A voice that was added, or one of the model's: default, or NAME of voices/NAME.pt")
      ->capture_default_str();
  render.add_option("--seed", line.render.book.params.seed, "Other numbers give other takes")->capture_default_str();
  render.add_option("--device", line.engine.device, "cpu, cuda, cuda:N, several GPUs with commas between them, or all")
      ->capture_default_str();
  render.add_option("--dtype", line.engine.dtype, "Arithmetic of T3: fp32, bf16 (a GPU or a CPU with AMX) or auto")
      ->capture_default_str();
  render
      .add_option("--gpu-memory-fraction", line.engine.gpu_memory_fraction,
                  "Of the GPU's memory that may be in use, other programs included")
      ->capture_default_str();
  render.add_option("--threads", line.engine.cpu_threads, "CPU threads for arithmetic (0: all cores)")
      ->capture_default_str();
  render.add_option("--cache", line.render.chunk_store,
                    "Folder for rendered audio (default: $XDG_CACHE_HOME/audiobookd/chunks)");
  auto& format = line.render.format;
  render.add_option("--bitrate", format.bitrate_kbps,
                    "kbit/s. MP3: constant, 8 to 160, at 44100 and 48000 Hz 32 to 320 (default: 64); Opus: 6 to 256 "
                    "(default: 32)");
  render.add_option("--sample-rate", format.sample_rate, "Of MP3 and FLAC: 24000 (default), 44100 or 48000 Hz");
  render.add_option("--id3v2-version", format.id3v2_version, "Of an MP3's tags: 4 (default), or 3 for old players");
  render.add_option_function<std::string>(
      "--loudness", [&line](const std::string& text) { line.render.loudness = parse_loudness(text); },
      "LUFS to bring the book to, or off (default: -19)");
  render.add_option("--language", line.render.book.language, "How it is read: en (as in the United States) or en-GB")
      ->check(CLI::IsMember({"en", "en-US", "en-GB", "en-AU", "en-CA", "en-IE", "en-IN", "en-NZ", "en-ZA"}))
      ->capture_default_str();
  render.add_option("--dictionary", line.dictionary, "How words are said: TOML, a table [words], written = \"spoken\"");
  render.add_flag("--as-written", line.as_written, "Do not read numbers, abbreviations and the like as words");
  render.add_flag("--no-gates", line.without_gates, "Take every utterance as it comes, whatever the gates would find");
  render.add_flag("--force", line.render.replace, "Replace an output that exists");
}

void describe_preset(CLI::App& render, CommandLine& line) {
  render
      .add_option_function<std::string>(
          "--preset", [&line](const std::string& text) { line.acx = text == "acx"; },
          "acx: the files that ACX asks for, with credits and a report; or none (default)")
      ->check(CLI::IsMember({"acx", "none"}));
  const auto is_credits = [](const std::string& text) { return jobs::complaint_about_credits(text); };
  const std::string names = " of preset acx; may have {title}, {subtitle}, {author}, {narrator}, {series}, "
                            "{series_index}, {publisher} and {year}";
  render.add_option("--opening-credits", line.credits.opening, "Text before the book" + names)->check(is_credits);
  render.add_option("--closing-credits", line.credits.closing, "Text after the book" + names)->check(is_credits);
}

/// What was asked for besides the preset. @throws CLI::ValidationError
void check_preset(const CLI::App& render, CommandLine& line) {
  const auto is_given = [&](const char* option) { return render.count(option) > 0; };
  if (!line.acx) {
    for (const char* option : {"--opening-credits", "--closing-credits"}) {
      if (is_given(option)) {
        throw CLI::ValidationError(option, "needs --preset acx");
      }
    }
    return;
  }
  if (is_given("--loudness")) {
    throw CLI::ValidationError("--loudness", "contradicts --preset acx, which brings every file to its own levels");
  }
  if (is_given("--split") && !line.render.shape.split_chapters) {
    throw CLI::ValidationError("--split", "single contradicts --preset acx, which makes a file for each chapter");
  }
  try {
    (void)storage::make_format(daemon::acx_format(line.render.format));
  } catch (const storage::PermanentError& error) {
    throw CLI::ValidationError("--preset", error.what());
  }
  line.render.acx = line.credits;
}

std::chrono::milliseconds milliseconds(double seconds) {
  return std::chrono::milliseconds(std::llround(1000 * seconds));
}

std::chrono::seconds seconds_of_days(double days) { return std::chrono::seconds(std::llround(86400 * days)); }

daemon::ServiceLimits limits_of(const daemon::Config& config) {
  return {.max_jobs = config.queue.max_jobs,
          .short_jobs = config.queue.short_jobs,
          .short_length = std::chrono::minutes(config.queue.short_minutes),
          .drain = milliseconds(config.queue.drain_seconds)};
}

std::unique_ptr<daemon::Renderer> load_engine(engine::EngineOptions options, const daemon::GateConfig& gates) {
  if (options.checkpoint.empty()) {
    spdlog::warn("{}", daemon::embedded_checkpoint_notice);
    options.checkpoint = daemon::embedded_checkpoint();
  }
  options.alignment_heads = daemon::heads_to_watch(gates, options.checkpoint);
  auto renderer = daemon::load_renderer(options);
  const engine::EngineInfo& info = renderer->info();
  spdlog::info("model {} from '{}' on {}, {}, batch {}{}", info.model, options.checkpoint.string(), info.device,
               info.dtype, info.max_batch, info.synthetic ? std::string(", ") + daemon::synthetic_notice : "");
  return renderer;
}

/// @throws ConfigError
void check_voice(const std::string& config, const std::string& voice, const engine::EngineInfo& info) {
  if (std::ranges::find(info.voices, voice) == info.voices.end()) {
    throw daemon::ConfigError(fmt::format("{}: audio.voice: \"{}\" does not exist (there are: {})", config, voice,
                                          fmt::join(info.voices, ", ")));
  }
}

jobs::RedisQueueSettings queue_settings(const daemon::Config& config) {
  jobs::RedisQueueSettings settings;
  settings.url = config.redis.url;
  settings.password = daemon::read_redis_password(config.redis, daemon::credentials_folder());
  settings.prefix = config.redis.prefix;
  settings.heartbeat = milliseconds(config.queue.heartbeat_s);
  settings.lease = milliseconds(config.queue.lease_s);
  settings.max_wait = milliseconds(config.queue.max_wait_s);
  settings.ended_retention = seconds_of_days(config.queue.ended_retention_days);
  settings.idempotency_retention = seconds_of_days(config.queue.idempotency_days);
  settings.scale_periods(config.queue.period_scale);
  return settings;
}

daemon::ServicePeriods service_periods(const daemon::QueueConfig& queue) {
  return daemon::scaled_periods(milliseconds(queue.heartbeat_s), queue.period_scale);
}

/// SIGHUP: what can change while running. A file that is wrong now changes nothing.
void reload(const std::string& file, daemon::RenderService& service) {
  try {
    const daemon::Config config = daemon::load_config(file);
    daemon::set_log_level(config.log_level);
    service.set_limits(limits_of(config));
    spdlog::info("'{}' read again: log level {}, max_jobs {}, drain_seconds {}", file, config.log_level,
                 config.queue.max_jobs, config.queue.drain_seconds);
  } catch (const daemon::ConfigError& error) {
    spdlog::error("configuration unchanged: {}", error.what());
  }
}

/// Signals before and while there is a service.
class ServiceSignals {
public:
  explicit ServiceSignals(std::string config_file) : config_file_(std::move(config_file)) {}
  [[nodiscard]] std::stop_token stop_token() const { return stop_.get_token(); }

  /// SIGHUP reaches a service as long as this lives.
  class Attachment {
  public:
    Attachment(ServiceSignals& signals, daemon::RenderService& service) : signals_(signals) {
      signals_.set_service(&service);
    }
    ~Attachment() { signals_.set_service(nullptr); }
    Attachment(const Attachment&) = delete;
    Attachment& operator=(const Attachment&) = delete;

  private:
    ServiceSignals& signals_;
  };

private:
  void set_service(daemon::RenderService* service) {
    const std::lock_guard lock(mutex_);
    service_ = service;
  }
  void handle(int signal) {
    if (signal != SIGHUP) {
      stop_.request_stop();
      return;
    }
    const std::lock_guard lock(mutex_);
    if (service_ != nullptr) {
      reload(config_file_, *service_);
    }
  }

  const std::string config_file_;
  std::stop_source stop_;
  std::mutex mutex_;
  daemon::RenderService* service_ = nullptr; // protected by mutex_
  daemon::SignalThread thread_{{SIGTERM, SIGINT, SIGHUP}, [this](int signal) { handle(signal); }};
};

int run_daemon(const CommandLine& line) {
  const daemon::Config config = daemon::load_config(line.config);
  if (line.check_config) {
    std::cout << daemon::describe(config);
    return ok;
  }
  daemon::set_up_log(config.log_level, daemon::logs_to_journal());
  ServiceSignals signals(line.config);
  daemon::Systemd systemd;
  jobs::RedisQueue queue(queue_settings(config));
  const auto& paths = config.paths;
  const auto storage = daemon::open_job_storage(config, daemon::aws_environment(), daemon::credentials_folder());
  storage::ChunkStore store({.folder = paths.chunk_store,
                             .max_bytes = static_cast<std::uint64_t>(paths.chunk_store_gib * (1u << 30)),
                             .max_age = std::chrono::hours(24) * paths.chunk_store_days});
  const std::filesystem::path voices = paths.voices.empty() ? daemon::data_folder() / "voices" : paths.voices;
  const int encoder_threads = config.audio.encoder_threads;
  storage::WorkerPool encoders(encoder_threads > 0 ? encoder_threads : storage::default_worker_threads());
  std::optional<daemon::TimeoutExtender> extender(systemd);
  const std::unique_ptr<daemon::Renderer> renderer = load_engine(config.engine, config.gates);
  extender.reset();
  if (!daemon::VoiceFolder(voices).contains(config.audio.voice)) {
    check_voice(line.config, config.audio.voice, renderer->info());
  }

  const auto& model = config.engine.checkpoint;
  const daemon::ClipVoices clips(voices / "clips", {.clip_decoder = daemon::installed_clip_decoder(),
                                                    .checkpoint = model.empty() ? daemon::embedded_checkpoint() : model,
                                                    .cpu_threads = config.engine.cpu_threads});
  daemon::RenderService service({.queue = queue,
                                 .connect_queue = [&queue] { return queue.connect(); },
                                 .renderer = *renderer,
                                 .store = store,
                                 .storage = *storage,
                                 .clips = clips,
                                 .manager = systemd,
                                 .encoders = encoders},
                                {.defaults = {.voice = config.audio.voice,
                                              .voices = voices,
                                              .format = config.audio.format,
                                              .loudness = config.audio.loudness,
                                              .pauses = config.audio.pauses,
                                              .normalize = config.text.normalize,
                                              .dictionary = config.text.words,
                                              .shape = config.output,
                                              .acx = config.audio.acx,
                                              .credits = config.acx},
                                 .periods = service_periods(config.queue),
                                 .limits = limits_of(config),
                                 .gates = config.gates.options()});
  systemd.ready();
  const ServiceSignals::Attachment attachment(signals, service);
  service.run(signals.stop_token());
  return ok;
}

int run_render(CommandLine line) {
  daemon::set_up_log("warning", false);
  auto& chunk_store = line.render.chunk_store;
  if (chunk_store.empty()) {
    chunk_store = daemon::cache_folder() / "chunks";
  }
  line.render.voices = daemon::data_folder() / "voices";
  line.render.book.normalize = !line.as_written;
  daemon::GateConfig gates;
  gates.enabled = !line.without_gates;
  line.render.gates = gates.options();
  if (!line.dictionary.empty()) {
    line.render.book.dictionaries = {daemon::load_dictionary(line.dictionary)};
  }
  std::stop_source stop;
  const daemon::SignalThread signals({SIGINT, SIGTERM}, [&stop](int) {
    if (!stop.request_stop()) {
      std::_Exit(interrupted); // asked twice; the chunk store survives that
    }
  });
  const daemon::Terminal terminal{std::cout, std::cerr, isatty(STDERR_FILENO) == 1};
  try {
    const auto report = daemon::render_file(
        line.render, [&] { return load_engine(line.engine, gates); }, terminal, stop.get_token());
    std::cout << daemon::summarise(report);
    return ok;
  } catch (const daemon::Interrupted&) {
    std::cerr << "interrupted; what was rendered is kept, the same command goes on from there\n";
    return interrupted;
  }
}

int run(int argc, char** argv) {
  CLI::App app{"Renders long documents as MP3 audiobooks with the Chatterbox TTS model.\n"
               "With --config: takes jobs from Redis until told to stop.",
               "audiobookd"};
  app.set_version_flag("--version", "audiobookd " AUDIOBOOKD_VERSION);
  app.footer("Exit status: 0 done, 1 failed while running, 2 wrong usage or configuration, 130 interrupted.");
  CommandLine line;
  app.add_option("--config", line.config, "Run as a daemon with this configuration (TOML)");
  app.add_flag("--check-config", line.check_config, "Say what was understood of it, and end")->needs("--config");
  CLI::App* render = app.add_subcommand("render", "Render one book without a queue");
  describe_render(*render, line);
  describe_preset(*render, line);
  try {
    app.parse(argc, argv);
    if (render->parsed()) {
      check_preset(*render, line);
    }
    if (line.config.empty() && !render->parsed()) {
      throw CLI::RequiredError("--config or a subcommand");
    }
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? ok : wrong_usage;
  }
  if (!line.check_config) {
    daemon::let_waiting_threads_sleep(argv);
  }
  return render->parsed() ? run_render(line) : run_daemon(line);
}

} // namespace

int main(int argc, char** argv) {
  try {
    return run(argc, argv);
  } catch (const daemon::ConfigError& error) {
    std::cerr << "audiobookd: " << error.what() << '\n';
    return wrong_usage;
  } catch (const std::exception& error) {
    std::cerr << "audiobookd: " << error.what() << '\n';
    return failed;
  }
}
