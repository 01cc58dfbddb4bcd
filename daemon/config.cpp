// Which keys there are, and what each may be.
#include "daemon/config.h"

#include "daemon/config_section.h"
#include "daemon/dictionary_file.h"
#include "daemon/output_root.h"
#include "daemon/renderer_group.h"
#include "storage/errors.h"

#include <cmath>
#include <limits>
#include <regex>
#include <sstream>

namespace audiobookd::daemon {
namespace {

constexpr int int_max = std::numeric_limits<int>::max();

void read_paths(ConfigSection section, PathConfig& paths) {
  for (const char* key : {"input_root", "output_root", "chunk_store"}) {
    section.require(key);
  }
  read_root(section, "input_root", paths.input_root);
  read_root(section, "output_root", paths.output_root);
  section.read_path("chunk_store", paths.chunk_store);
  section.read_path("voices", paths.voices);
  section.read("chunk_store_gib", paths.chunk_store_gib, 0.001, 1e6);
  section.read("chunk_store_days", paths.chunk_store_days, 0, 36500);
  section.reject_unknown();
}

void read_engine(ConfigSection section, engine::EngineOptions& engine) {
  section.read_path("checkpoint", engine.checkpoint);
  section.read("device", engine.device);
  section.read("dtype", engine.dtype);
  section.read("kv_dtype", engine.kv_dtype);
  section.read("cfm_fp8", engine.cfm_fp8);
  section.read("prompt_seconds", engine.prompt_seconds, 3, 10);
  section.read("max_batch", engine.max_batch, 0, 4096);
  section.read("synthesis_batch", engine.synthesis_batch, 0, 4096);
  section.read("gpu_memory_fraction", engine.gpu_memory_fraction, 0, 1);
  section.read("cpu_threads", engine.cpu_threads, 0, 1024);
  if (!is_device_list(engine.device)) {
    section.reject("device", "\"cpu\", \"cuda\", \"cuda:N\", several of these with commas between them, or \"all\"");
  }
  if (!std::regex_match(engine.dtype, std::regex("auto|fp32|bf16"))) {
    section.reject("dtype", "\"auto\", \"fp32\" or \"bf16\"");
  }
  if (!std::regex_match(engine.kv_dtype, std::regex("bf16|fp8"))) {
    section.reject("kv_dtype", "\"bf16\" or \"fp8\"");
  }
  if (engine.gpu_memory_fraction == 0) {
    section.reject("gpu_memory_fraction", "a number above 0 and at most 1");
  }
  section.reject_unknown();
}

void read_queue(ConfigSection section, QueueConfig& queue) {
  section.read("heartbeat_s", queue.heartbeat_s, 0.05, 3600);
  section.read("lease_s", queue.lease_s, 0.15, 86400);
  section.read("max_jobs", queue.max_jobs, 1, 1000);
  section.read("short_jobs", queue.short_jobs, 0, 1000);
  section.read("short_minutes", queue.short_minutes, 0, 100'000);
  section.read("drain_seconds", queue.drain_seconds, 0, 86400);
  section.read("max_wait_s", queue.max_wait_s, 0, 31536000);
  section.read("ended_retention_days", queue.ended_retention_days, 0.001, 36500);
  section.read("idempotency_days", queue.idempotency_days, 0.001, 36500);
  section.read("period_scale", queue.period_scale, 0.01, 1);
  if (std::llround(1000 * queue.lease_s) < 3 * std::llround(1000 * queue.heartbeat_s)) {
    section.reject_section("lease_s must be at least three times heartbeat_s");
  }
  section.reject_unknown();
}

void read_loudness(ConfigSection section, std::optional<LoudnessTarget>& loudness) {
  bool enabled = true;
  LoudnessTarget target;
  section.read("enabled", enabled);
  section.read("lufs", target.lufs, -40, -9);
  section.read("true_peak_dbtp", target.true_peak_dbtp, -20, -0.1);
  section.reject_unknown();
  loudness = enabled ? std::optional(target) : std::nullopt;
}

void read_text(ConfigSection section, TextConfig& text) {
  section.read("normalize", text.normalize);
  section.read_path("dictionary", text.dictionary);
  section.reject_unknown();
  if (!text.dictionary.empty()) {
    text.words = load_dictionary(text.dictionary);
  }
}

void read_format(ConfigSection& section, AudioConfig& audio) {
  storage::FormatOptions& format = audio.format;
  std::string codec = "mp3";
  section.read("codec", codec);
  const auto known = storage::codec_named(codec);
  if (!known) {
    section.reject("codec", "mp3, flac or opus");
  }
  format.codec = *known;
  section.read("sample_rate", format.sample_rate, 1, int_max);
  section.read("bitrate_kbps", format.bitrate_kbps, 1, int_max);
  section.read("quality", format.quality, 0, 9);
  section.read("id3v2_version", format.id3v2_version, 3, 4);
  try {
    format = audio.acx ? acx_format(format) : format;
    (void)storage::make_format(format);
  } catch (const storage::PermanentError& error) {
    section.reject_section(error.what());
  }
}

void read_audio(ConfigSection section, AudioConfig& audio) {
  section.read("voice", audio.voice);
  if (!std::regex_match(audio.voice, std::regex("[A-Za-z0-9_.-]{1,128}"))) {
    section.reject("voice", "a name: 1 to 128 of A-Z a-z 0-9 _ . -");
  }
  std::string preset = "none";
  section.read("preset", preset);
  if (preset != "none" && preset != "acx") {
    section.reject("preset", "\"none\" or \"acx\"");
  }
  audio.acx = preset == "acx";
  read_format(section, audio);
  section.read("encoder_threads", audio.encoder_threads, 0, 1024);
  read_loudness(section.section("loudness"), audio.loudness);
  ConfigSection pauses = section.section("pauses");
  pauses.read("sentence_s", audio.pauses.sentence_s, 0, 10);
  pauses.read("paragraph_s", audio.pauses.paragraph_s, 0, 10);
  pauses.read("scene_s", audio.pauses.scene_s, 0, 10);
  pauses.read("chapter_s", audio.pauses.chapter_s, 0, 10);
  pauses.reject_unknown();
  section.reject_unknown();
}

/// One of two names. @param value whether it is the second.
void read_choice(ConfigSection& section, const char* key, const std::string& first, const std::string& second,
                 bool& value) {
  std::string name = value ? second : first;
  section.read(key, name);
  if (name != first && name != second) {
    section.reject(key, "\"" + first + "\" or \"" + second + "\"");
  }
  value = name == second;
}

void read_credits(ConfigSection section, AcxCredits& credits) {
  for (const auto& [key, text] :
       {std::pair("opening_credits", &credits.opening), {"closing_credits", &credits.closing}}) {
    section.read(key, *text);
    if (const std::string complaint = jobs::complaint_about_credits(*text); !complaint.empty()) {
      section.reject(key, "a text to say (" + complaint + ")");
    }
  }
  section.reject_unknown();
}

void read_output(ConfigSection section, BookShape& shape, AcxCredits& credits) {
  read_choice(section, "split", "single", "chapters", shape.split_chapters);
  read_choice(section, "layout", "file", "audiobookshelf", shape.audiobookshelf);
  read_choice(section, "subtitles", "none", "vtt", shape.subtitles);
  section.read("listing", shape.listing);
  read_credits(section.section("acx"), credits);
  section.reject_unknown();
}

/// @param acx the preset: has its own split.
std::string describe(const BookShape& shape, bool acx) {
  const std::string split = shape.split_chapters ? "\nsplit = \"chapters\"" : acx ? "" : "\nsplit = \"single\"";
  return "\n[output]" + split + "\nlayout = " + (shape.audiobookshelf ? "\"audiobookshelf\"" : "\"file\"") +
         "\nsubtitles = " + (shape.subtitles ? "\"vtt\"" : "\"none\"") +
         "\nlisting = " + (shape.listing ? "true" : "false") + "\n";
}

void read_log(ConfigSection section, std::string& level) {
  section.read("level", level);
  if (!std::regex_match(level, std::regex("trace|debug|info|warning|error|critical|off"))) {
    section.reject("level", "trace, debug, info, warning, error, critical or off");
  }
  section.reject_unknown();
}

std::string quoted(const std::string& text) {
  std::ostringstream out;
  out << toml::value<std::string>(text);
  return out.str();
}

std::string describe(const storage::Mp3Settings& mp3) {
  std::ostringstream out;
  out << "\nsample_rate = " << mp3.sample_rate << "\nbitrate_kbps = " << mp3.bitrate_kbps
      << "\nquality = " << mp3.quality << "\nid3v2_version = " << mp3.id3v2_version;
  return out.str();
}
std::string describe(const storage::FlacSettings& flac) {
  return "\nsample_rate = " + std::to_string(flac.sample_rate);
}
std::string describe(const storage::OpusSettings& opus) {
  return "\nbitrate_kbps = " + std::to_string(opus.bitrate_kbps);
}
std::string describe(const storage::AudioFormat& format) {
  return "\ncodec = " + quoted(std::string(storage::extension(format))) +
         std::visit([](const auto& settings) { return describe(settings); }, format);
}

std::string without_password(const std::string& url) {
  return std::regex_replace(url, std::regex("://([^:@/]*):[^@]*@"), "://$1:***@");
}

} // namespace

Config load_config(const std::filesystem::path& file) {
  const toml::table table = parse_toml(file);
  Config config;
  ConfigSection root(&table, "", file);
  read_redis(root.section("redis"), config.redis);
  read_paths(root.section("paths"), config.paths);
  read_s3(root.section("s3"), config.s3);
  read_engine(root.section("engine"), config.engine);
  read_queue(root.section("queue"), config.queue);
  read_text(root.section("text"), config.text);
  read_audio(root.section("audio"), config.audio);
  read_gates(root.section("gates"), config.gates);
  read_output(root.section("output"), config.output, config.acx);
  if (config.audio.acx && !config.output.split_chapters && table["output"]["split"]) {
    root.section("output").reject("split", "\"chapters\", which audio.preset \"acx\" makes");
  }
  read_estimate(root.section("estimate"), config.estimate);
  read_log(root.section("log"), config.log_level);
  root.reject_unknown();
  return config;
}

std::string describe(const Config& config) {
  const auto& [redis, paths, s3, engine, queue, text, audio, gates, output, acx, estimate, log_level] = config;
  std::ostringstream out;
  out << "[redis]\nurl = " << quoted(without_password(redis.url)) << "\nprefix = " << quoted(redis.prefix)
      << "\npassword_file = " << quoted(redis.password_file) << "\n\n[paths]\ninput_root = " << quoted(paths.input_root)
      << "\noutput_root = " << quoted(paths.output_root) << "\nchunk_store = " << quoted(paths.chunk_store)
      << "\nchunk_store_gib = " << paths.chunk_store_gib << "\nchunk_store_days = " << paths.chunk_store_days
      << "\nvoices = " << quoted(paths.voices) << "\n\n"
      << describe(s3) << "\n[engine]\ncheckpoint = " << quoted(engine.checkpoint)
      << "\ndevice = " << quoted(engine.device) << "\ndtype = " << quoted(engine.dtype)
      << "\nkv_dtype = " << quoted(engine.kv_dtype) << "\ncfm_fp8 = " << (engine.cfm_fp8 ? "true" : "false")
      << "\nprompt_seconds = " << engine.prompt_seconds << "\nmax_batch = " << engine.max_batch
      << "\nsynthesis_batch = " << engine.synthesis_batch << "\ngpu_memory_fraction = " << engine.gpu_memory_fraction
      << "\ncpu_threads = " << engine.cpu_threads << "\n\n[queue]\nheartbeat_s = " << queue.heartbeat_s
      << "\nlease_s = " << queue.lease_s << "\nmax_jobs = " << queue.max_jobs << "\nshort_jobs = " << queue.short_jobs
      << "\nshort_minutes = " << queue.short_minutes << "\ndrain_seconds = " << queue.drain_seconds
      << "\nmax_wait_s = " << queue.max_wait_s << "\nended_retention_days = " << queue.ended_retention_days
      << "\nidempotency_days = " << queue.idempotency_days << "\nperiod_scale = " << queue.period_scale
      << "\n\n[text]\nnormalize = " << (text.normalize ? "true" : "false")
      << "\ndictionary = " << quoted(text.dictionary) << "\n\n[audio]\nvoice = " << quoted(audio.voice)
      << "\npreset = " << (audio.acx ? "\"acx\"" : "\"none\"") << describe(storage::make_format(audio.format))
      << "\nencoder_threads = " << audio.encoder_threads
      << "\nloudness = { enabled = " << (audio.loudness ? "true" : "false")
      << ", lufs = " << audio.loudness.value_or(LoudnessTarget()).lufs
      << ", true_peak_dbtp = " << audio.loudness.value_or(LoudnessTarget()).true_peak_dbtp
      << " }\npauses = { sentence_s = " << audio.pauses.sentence_s << ", paragraph_s = " << audio.pauses.paragraph_s
      << ", scene_s = " << audio.pauses.scene_s << ", chapter_s = " << audio.pauses.chapter_s << " }\n\n"
      << describe(gates) << describe(output, audio.acx) << "\n[output.acx]\nopening_credits = " << quoted(acx.opening)
      << "\nclosing_credits = " << quoted(acx.closing)
      << "\n\n[estimate]\ntimes_real_time = " << estimate.times_real_time
      << "\nprice_per_gpu_hour = " << estimate.price_per_gpu_hour << "\n\n[log]\nlevel = " << quoted(log_level) << "\n";
  return out.str();
}

} // namespace audiobookd::daemon
