// The daemon's configuration: a TOML file in which every key is checked (systemd/audiobookd.toml.example shows all).
//
// Plain values; any thread.
#pragma once

#include "daemon/book_renderer.h"
#include "daemon/config_error.h"
#include "daemon/estimate_config.h"
#include "daemon/gate_config.h"
#include "daemon/redis_config.h"
#include "daemon/s3_config.h"
#include "engine/engine.h"
#include "jobs/chunker.h"
#include "jobs/spoken_text/dictionary.h"
#include "storage/audio_format.h"

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>

namespace audiobookd::daemon {

struct PathConfig {
  std::string input_root; ///< a folder, or s3://BUCKET/PREFIX
  std::string output_root;
  std::filesystem::path chunk_store;
  double chunk_store_gib = 32;
  int chunk_store_days = 0;     ///< entries not used for longer are removed; 0: only for want of room
  std::filesystem::path voices; ///< that people added; empty: data_folder() / "voices"
};

struct QueueConfig {
  double heartbeat_s = 5;
  double lease_s = 30;
  int max_jobs = 8;                 ///< open at once, of any length
  int short_jobs = 8;               ///< besides these, short ones
  int short_minutes = 10;           ///< of audio: a short job
  double drain_seconds = 60;        ///< for work in flight when the daemon is told to stop
  double max_wait_s = 3600;         ///< in a lower queue, before a job goes before all queues; 0: for ever
  double ended_retention_days = 30; ///< of records of done and cancelled jobs
  double idempotency_days = 7;      ///< of idempotency keys
  double period_scale = 1;          ///< factor of all periods but drain_seconds, for tests; (0, 1]
};

struct AudioConfig {
  int encoder_threads = 0;                                   ///< 0: by the number of cores
  std::string voice = "default";                             ///< of jobs that name none
  storage::FormatOptions format;                             ///< of jobs that say nothing else
  bool acx = false;                                          ///< preset acx, of jobs that name no preset
  std::optional<LoudnessTarget> loudness = LoudnessTarget(); ///< nothing: voices are as loud as they are
  jobs::Pauses pauses;
};

struct TextConfig {
  bool normalize = true;            ///< of jobs that do not say: numbers and the like are read as words
  std::filesystem::path dictionary; ///< empty: none
  jobs::Words words;                ///< of the dictionary
};

struct Config {
  RedisConfig redis;
  PathConfig paths;
  S3Config s3;
  engine::EngineOptions engine; ///< empty checkpoint: the embedded voice; device: see is_device_list()
  QueueConfig queue;
  TextConfig text;
  AudioConfig audio;
  GateConfig gates;
  BookShape output{.listing = true}; ///< of jobs that do not say
  AcxCredits acx;                    ///< of jobs of preset acx that do not say
  EstimateConfig estimate;
  std::string log_level = "info"; ///< as spdlog calls them
};

/// Reads @p file. Relative paths in it are relative to its folder.
/// @throws ConfigError: the file cannot be read or is not TOML; an unknown key; a value of the wrong type or out of
/// range; a required key that is missing.
[[nodiscard]] Config load_config(const std::filesystem::path& file);

/// Everything that is set, defaults included, as TOML. No secrets: passwords in URLs are replaced.
[[nodiscard]] std::string describe(const Config& config);

} // namespace audiobookd::daemon
