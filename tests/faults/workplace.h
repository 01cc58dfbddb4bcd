// A folder in which workers work: inputs, outputs, chunk stores, configurations, logs, and what the fake engine does.
//
// One thread at a time.
#pragma once

#include "tests/daemon/process.h"
#include "tests/storage/files.h"

#include <filesystem>
#include <map>
#include <memory>
#include <string>
#include <vector>

namespace audiobookd::tests {

namespace fs = std::filesystem;
using daemon::testing::Process;

/// How a worker is set up.
struct Worker {
  std::string name = "worker"; ///< of its configuration, log and chunk store
  std::string url{};           ///< of Redis; empty: the workplace's
  std::string chunks{};        ///< folder of the chunk store; empty: `name`
  std::string engine{};        ///< folder that says what the engine does; empty: "engine", which all share
  std::string inputs{};        ///< folder or root on S3; empty: "in"
  std::string outputs{};       ///< folder or root on S3; empty: "out"
  std::string s3_section{};    ///< keys of [s3]
  int max_jobs = 8;
  int short_jobs = 0;    ///< else who of several is first takes all short books
  bool loudness = false; ///< whether books are brought to the default loudness
  double drain_seconds = 0;
  double period_scale = 0;      ///< 0: the workplace's
  std::string engine_section{}; ///< further keys of [engine]
  std::map<std::string, std::string> environment{};
  std::vector<std::string> wrapper{}; ///< a program and its arguments that starts the worker
};

class Workplace {
public:
  /// @param url of Redis. @param period_scale of all workers that say nothing else.
  Workplace(std::string url, double period_scale);

  /// A daemon with a fake engine, running.
  [[nodiscard]] std::unique_ptr<Process> start(const Worker& worker) const;
  /// The program itself, with `checkpoint` in engine_section or the embedded voice.
  [[nodiscard]] std::unique_ptr<Process> start_real(const Worker& worker) const;

  /// What engines do from their next utterance on; see programs/fake_engine.cpp. @param engine as Worker::engine.
  void behave(int utterance_ms, const std::string& fault = "", const std::string& engine = "engine") const;
  /// Engines make no more than @p utterances, counting all of before, and then stand still, holding what they have,
  /// until they are told to behave otherwise: for faults at a chosen moment.
  void behave_until(std::size_t utterances, const std::string& engine = "engine") const;

  /// Lines of the engine's journal that contain @p part. @param process only of this one; 0: of all.
  [[nodiscard]] std::size_t rendered(const std::string& part = "", pid_t process = 0,
                                     const std::string& engine = "engine") const;

  [[nodiscard]] fs::path path(const fs::path& name) const { return folder_ / name; }
  [[nodiscard]] fs::path log(const std::string& worker) const { return folder_ / (worker + ".log"); }
  [[nodiscard]] fs::path output(const std::string& id) const { return folder_ / "out" / (id + ".mp3"); }
  /// Audio files of a chunk store.
  [[nodiscard]] std::vector<fs::path> stored_chunks(const std::string& store) const;
  /// The logs of all workers, each with its name, the last @p bytes of each.
  [[nodiscard]] std::string all_logs(std::size_t bytes = 4000) const;

private:
  void tell(const std::string& engine, const std::string& behaviour) const;
  [[nodiscard]] fs::path configure(const Worker& worker, const std::string& engine_section) const;
  [[nodiscard]] std::unique_ptr<Process> run(const Worker& worker, const std::string& program,
                                             const fs::path& config) const;

  ScratchFolder folder_;
  const std::string url_;
  const double period_scale_;
};

} // namespace audiobookd::tests
