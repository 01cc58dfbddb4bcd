// An engine without a model, linked in place of the real one behind the same header: the program audiobookd-fake is
// daemon/main.cpp and everything below it, but what it speaks are tones whose length follows from the text, made at a
// set speed and with the faults that a test asks for.
//
// The checkpoint folder holds what it does. fake.json is read anew before every utterance:
//   utterance_ms   time that each takes, half of it before its tokens are there (20)
//   fault          "hang" (nothing advances any more), "device" (run() throws, as after a sticky CUDA error),
//                  "out_of_memory" (once: half the batch from then on), or ""
//   limit          no utterance is begun once rendered.log has that many lines (none)
// A text with the word "detonate" ends the process (SIGABRT). rendered.log gets a line for every waveform: process id,
// then the text.
#include "engine/engine.h"
#include "engine/voice_cloner.h"
#include "engine/voice_file.h"
#include "tests/faults/fake_audio.h"

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <csignal>
#include <cstdlib>
#include <deque>
#include <fcntl.h>
#include <fstream>
#include <iterator>
#include <limits>
#include <mutex>
#include <nlohmann/json.hpp>
#include <set>
#include <stdexcept>
#include <thread>
#include <unistd.h>
#include <utility>

namespace audiobookd::engine {
namespace {

using std::chrono::milliseconds;

struct Behaviour {
  milliseconds utterance_time{20};
  std::string fault;
  std::size_t limit = std::numeric_limits<std::size_t>::max();
};

Behaviour read_behaviour(const std::filesystem::path& file) {
  Behaviour behaviour;
  std::ifstream stream(file);
  if (stream) {
    const nlohmann::json json = nlohmann::json::parse(stream);
    behaviour.utterance_time = milliseconds(json.value("utterance_ms", 20));
    behaviour.fault = json.value("fault", "");
    behaviour.limit = json.value("limit", behaviour.limit);
  }
  return behaviour;
}

std::size_t count_lines(const std::filesystem::path& file) {
  std::ifstream stream(file);
  return static_cast<std::size_t>(std::count(std::istreambuf_iterator<char>(stream), {}, '\n'));
}

[[noreturn]] void hang() {
  for (;;) {
    ::pause();
  }
}

} // namespace

class Engine::Impl {
public:
  explicit Impl(const EngineOptions& options) : folder_(options.checkpoint) {
    if (options.device != "cpu") {
      throw std::runtime_error("device '" + options.device + "' does not exist: the fake engine has a CPU only");
    }
    info_.model = "fake-english";
    info_.device = "cpu";
    info_.dtype = "fp32";
    info_.max_batch = options.max_batch > 0 ? options.max_batch : 4;
    info_.voices = {"default"};
    batch_ = static_cast<std::size_t>(info_.max_batch);
  }

  void run(WorkSource& source, Sink& sink, const std::stop_token& stop) {
    for (;;) {
      take_work(source);
      std::unique_lock lock(mutex_);
      if (held_.empty()) {
        if (stop.stop_requested()) {
          return;
        }
        changed_.wait(lock, [this] { return notified_; });
        notified_ = false;
        continue;
      }
      const Utterance utterance = held_.front();
      lock.unlock();
      const Behaviour behaviour = read_behaviour(folder_ / "fake.json");
      if (count_lines(journal_) < behaviour.limit) {
        render(utterance, behaviour, sink);
      } else {
        std::this_thread::sleep_for(milliseconds(5)); // between two looks at the limit
      }
    }
  }

  void notify() noexcept {
    const std::lock_guard lock(mutex_);
    notified_ = true;
    changed_.notify_all();
  }

  void cancel(UtteranceId id) noexcept {
    const std::lock_guard lock(mutex_);
    std::erase_if(held_, [id](const Utterance& utterance) { return utterance.id == id; });
    notified_ = true;
    changed_.notify_all();
  }

  [[nodiscard]] const EngineInfo& info() const noexcept { return info_; }
  [[nodiscard]] EngineStats stats() const {
    const std::lock_guard lock(mutex_);
    return stats_;
  }

private:
  void take_work(WorkSource& source) {
    std::unique_lock lock(mutex_);
    const std::size_t room = batch_ - std::min(batch_, held_.size());
    lock.unlock();
    std::vector<Utterance> taken = source.next_urgent(room);
    const std::vector<Utterance> more = source.next(room - taken.size());
    taken.insert(taken.end(), more.begin(), more.end());
    lock.lock();
    held_.insert(held_.end(), taken.begin(), taken.end());
  }

  /// Half an utterance's time, unless it is withdrawn meanwhile. @return whether it is still wanted.
  bool work_on(UtteranceId id, milliseconds time) {
    const auto is_gone = [&] { return std::ranges::find(held_, id, &Utterance::id) == held_.end(); };
    std::unique_lock lock(mutex_);
    changed_.wait_for(lock, time / 2, is_gone);
    ++stats_.decode_steps;
    return !is_gone();
  }

  void render(const Utterance& utterance, const Behaviour& behaviour, Sink& sink) {
    if (behaviour.fault == "hang") {
      hang();
    }
    if (behaviour.fault == "device") {
      throw std::runtime_error("CUDA error: an illegal memory access was encountered");
    }
    if (behaviour.fault == "out_of_memory") {
      run_out_of_memory();
    }
    if (utterance.text.find("detonate") != std::string::npos) {
      std::abort();
    }
    if (!work_on(utterance.id, behaviour.utterance_time)) {
      return;
    }
    if (utterance.speech_tokens.empty()) {
      sink.tokens(utterance.id, std::vector<std::int32_t>(tests::fake_tokens(utterance.text), utterance.attempt));
    }
    if (work_on(utterance.id, behaviour.utterance_time)) {
      deliver(utterance, sink);
    }
  }

  void run_out_of_memory() {
    const std::lock_guard lock(mutex_);
    if (stats_.out_of_memory == 0) {
      stats_.out_of_memory = 1;
      batch_ = std::max<std::size_t>(1, batch_ / 2);
    }
  }

  void deliver(const Utterance& utterance, Sink& sink) {
    {
      const std::lock_guard lock(mutex_);
      std::erase_if(held_, [&](const Utterance& held) { return held.id == utterance.id; });
      ++stats_.utterances_finished;
    }
    journal(utterance.text);
    sink.finished(utterance.id, {.samples = tests::fake_waveform(utterance.text, utterance.seed)});
  }

  void journal(const std::string& text) const {
    const std::string line = std::to_string(::getpid()) + " " + text + "\n";
    const int file = ::open(journal_.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    if (file < 0 || ::write(file, line.data(), line.size()) != static_cast<ssize_t>(line.size())) {
      throw std::runtime_error("rendered.log cannot be written");
    }
    ::close(file);
  }

  const std::filesystem::path folder_;
  const std::filesystem::path journal_ = folder_ / "rendered.log";
  EngineInfo info_;
  mutable std::mutex mutex_; // protects everything below
  std::condition_variable changed_;
  bool notified_ = false;
  std::size_t batch_ = 0;
  std::deque<Utterance> held_;
  EngineStats stats_;
};

std::unique_ptr<Engine> Engine::load(const EngineOptions& options) {
  return std::unique_ptr<Engine>(new Engine(std::make_unique<Impl>(options)));
}

int Engine::num_gpus() noexcept { return 0; }

std::vector<AttentionHead> Engine::known_alignment_heads(const std::filesystem::path&) { return {}; }
Engine::Engine(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Engine::~Engine() = default;
void Engine::run(WorkSource& source, Sink& sink, std::stop_token stop) { impl_->run(source, sink, stop); }
void Engine::notify() noexcept { impl_->notify(); }
void Engine::cancel(UtteranceId id) noexcept { impl_->cancel(id); }
const EngineInfo& Engine::info() const noexcept { return impl_->info(); }
EngineStats Engine::stats() const { return impl_->stats(); }
int Engine::predict_tokens(std::string_view text) const { return static_cast<int>(tests::fake_tokens(text)); }

std::string Engine::add_voice(const VoiceConditionals& /*voice*/) {
  throw std::invalid_argument("the fake engine has one voice");
}

Hash128 Engine::voice_hash(std::string_view voice) const {
  if (voice != "default") {
    throw std::invalid_argument("voice \"" + std::string(voice) + "\" does not exist (there are: default)");
  }
  return {};
}

Hash128 Engine::utterance_key(std::string_view text, std::string_view language, std::string_view voice,
                              int occurrence) const {
  return HashBuilder().add(text).add(language).add(voice_hash(voice)).add(std::uint64_t(occurrence)).finish();
}

std::string Engine::chunk_key(const Utterance& utterance) const {
  return HashBuilder().add("fake").add(utterance.key).add(utterance.seed).finish().hex();
}

// Voices are not its business.
namespace {
constexpr const char* no_voices = "the fake engine knows no voices";
}

class VoiceCloner::Impl {};
VoiceCloner::~VoiceCloner() = default;

std::unique_ptr<VoiceCloner> VoiceCloner::load(const std::filesystem::path& /*checkpoint*/,
                                               const std::string& /*device*/, int /*cpu_threads*/) {
  throw std::runtime_error(no_voices);
}

VoiceConditionals VoiceCloner::prepare(const ReferenceClip& /*clip*/, float /*exaggeration*/) const {
  throw std::runtime_error(no_voices);
}

std::string VoiceCloner::model() const { throw std::runtime_error(no_voices); }
VoiceFile read_voice_file(const std::filesystem::path& /*file*/) { throw std::runtime_error(no_voices); }
void write_voice_file(const std::filesystem::path& /*file*/, const VoiceFile& /*voice*/) {
  throw std::runtime_error(no_voices);
}

} // namespace audiobookd::engine
