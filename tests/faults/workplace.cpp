#include "tests/faults/workplace.h"

#include "tests/faults/books.h"

#include <fmt/format.h>
#include <fstream>
#include <nlohmann/json.hpp>
#include <utility>

namespace audiobookd::tests {
namespace {

const std::string& first_of(const std::string& a, const std::string& b) { return a.empty() ? b : a; }

} // namespace

Workplace::Workplace(std::string url, double period_scale) : url_(std::move(url)), period_scale_(period_scale) {
  for (const char* name : {"in", "out", "engine"}) {
    fs::create_directory(path(name));
  }
  behave(20);
}

fs::path Workplace::configure(const Worker& worker, const std::string& engine_section) const {
  const fs::path file = path(worker.name + ".toml");
  write_file(file,
             fmt::format("[redis]\nurl = '{}'\n[paths]\ninput_root = '{}'\noutput_root = '{}'\n"
                         "chunk_store = '{}'\nchunk_store_gib = 1\nvoices = 'voices'\n[s3]\n{}\n[engine]\n{}\n{}\n"
                         "[queue]\nmax_jobs = {}\nshort_jobs = {}\ndrain_seconds = {}\nperiod_scale = {}\n"
                         "[audio]\nbitrate_kbps = 32\nquality = 9\nencoder_threads = 1\n"
                         "loudness.enabled = {}\npauses = {{ sentence_s = 0, paragraph_s = {} }}\n"
                         "[gates]\nenabled = false\n",
                         first_of(worker.url, url_), first_of(worker.inputs, "in"), first_of(worker.outputs, "out"),
                         first_of(worker.chunks, worker.name), worker.s3_section, engine_section, worker.engine_section,
                         worker.max_jobs, worker.short_jobs, worker.drain_seconds,
                         worker.period_scale > 0 ? worker.period_scale : period_scale_, worker.loudness,
                         paragraph_pause_s));
  return file;
}

std::unique_ptr<Process> Workplace::run(const Worker& worker, const std::string& program,
                                        const fs::path& config) const {
  std::map<std::string, std::string> environment = worker.environment;
  environment.emplace("OMP_WAIT_POLICY", "passive"); // as the program starts itself again without it
  std::vector<std::string> words = worker.wrapper;
  words.insert(words.end(), {program, "--config", config.string()});
  const std::vector<std::string> arguments(words.begin() + 1, words.end());
  return std::make_unique<Process>(words.front(), arguments, environment, log(worker.name));
}

std::unique_ptr<Process> Workplace::start(const Worker& worker) const {
  const std::string engine = worker.engine.empty() ? "engine" : worker.engine;
  return run(worker, AUDIOBOOKD_FAKE_PROGRAM, configure(worker, "checkpoint = '" + engine + "'"));
}

std::unique_ptr<Process> Workplace::start_real(const Worker& worker) const {
  return run(worker, AUDIOBOOKD_PROGRAM, configure(worker, ""));
}

void Workplace::behave(int utterance_ms, const std::string& fault, const std::string& engine) const {
  tell(engine, nlohmann::json{{"utterance_ms", utterance_ms}, {"fault", fault}}.dump());
}

void Workplace::behave_until(std::size_t utterances, const std::string& engine) const {
  tell(engine, nlohmann::json{{"utterance_ms", 2}, {"limit", utterances}}.dump());
}

void Workplace::tell(const std::string& engine, const std::string& behaviour) const {
  fs::create_directories(path(engine));
  write_file(path(engine) / "next.json", behaviour);
  fs::rename(path(engine) / "next.json", path(engine) / "fake.json");
}

std::size_t Workplace::rendered(const std::string& part, pid_t process, const std::string& engine) const {
  std::ifstream journal(path(engine) / "rendered.log");
  const std::string prefix = process == 0 ? "" : std::to_string(process) + " ";
  std::size_t count = 0;
  for (std::string line; std::getline(journal, line);) {
    count += line.starts_with(prefix) && line.find(part) != std::string::npos ? 1 : 0;
  }
  return count;
}

std::vector<fs::path> Workplace::stored_chunks(const std::string& store) const {
  std::vector<fs::path> files;
  if (!fs::exists(path(store))) { // its worker is not that far yet
    return files;
  }
  for (const auto& entry : fs::recursive_directory_iterator(path(store))) {
    if (entry.path().extension() == ".audio") {
      files.push_back(entry.path());
    }
  }
  return files;
}

std::string Workplace::all_logs(std::size_t bytes) const {
  std::string all;
  for (const auto& entry : fs::directory_iterator(folder_.path())) {
    if (entry.path().extension() == ".log") {
      const std::string text = read_file(entry.path());
      all += "--- " + entry.path().stem().string() + "\n" + text.substr(text.size() - std::min(text.size(), bytes));
    }
  }
  return all;
}

} // namespace audiobookd::tests
