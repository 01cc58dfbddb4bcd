// Who of several engines gets which utterance, and what happens when one of them fails.
#include "daemon/renderer_group.h"

#include <algorithm>
#include <fmt/format.h>
#include <future>
#include <regex>
#include <set>
#include <spdlog/spdlog.h>
#include <sstream>
#include <stdexcept>
#include <thread>
#include <utility>

namespace audiobookd::daemon {
namespace {

/// Utterances by which a member may be ahead of the one that holds least: a pass of prompts takes about half as many.
constexpr std::size_t most_ahead = 32;

void add(engine::EngineStats& sum, const engine::EngineStats& stats) {
  sum.utterances_finished += stats.utterances_finished;
  sum.utterances_failed += stats.utterances_failed;
  sum.tokens += stats.tokens;
  sum.decode_steps += stats.decode_steps;
  sum.decode_rows += stats.decode_rows;
  sum.prefill_seconds += stats.prefill_seconds;
  sum.decode_seconds += stats.decode_seconds;
  sum.encoder_seconds += stats.encoder_seconds;
  sum.cfm_seconds += stats.cfm_seconds;
  sum.vocoder_seconds += stats.vocoder_seconds;
  sum.audio_seconds += stats.audio_seconds;
  sum.out_of_memory += stats.out_of_memory;
}

void add(engine::MemoryPlan& sum, const engine::MemoryPlan& plan) {
  sum.elsewhere += plan.elsewhere;
  sum.weights += plan.weights;
  sum.working.decode += plan.working.decode;
  sum.working.synthesis += plan.working.synthesis;
  sum.cache += plan.cache;
}

/// "2 x NVIDIA H200", or the different names.
std::string describe_devices(const std::vector<RendererGroup::Named>& members) {
  std::vector<std::string> names;
  for (const auto& [device, renderer] : members) {
    names.push_back(renderer->info().device);
  }
  if (std::ranges::all_of(names, [&names](const std::string& name) { return name == names.front(); })) {
    return names.size() == 1 ? names.front() : std::to_string(names.size()) + " x " + names.front();
  }
  std::string list;
  for (const std::string& name : names) {
    list += (list.empty() ? "" : ", ") + name;
  }
  return list;
}

} // namespace

/// One engine, with its share of the source and its part of the sink.
class RendererGroup::Member final : public engine::WorkSource, public engine::Sink {
public:
  Member(RendererGroup& group, Named named)
      : group_(group), device_(std::move(named.device)), renderer_(std::move(named.renderer)) {}

  [[nodiscard]] Renderer& renderer() const noexcept { return *renderer_; }
  [[nodiscard]] const std::string& device() const noexcept { return device_; }

  /// Renders until stopped or failed; where work comes from and goes to is constant meanwhile.
  void run(engine::WorkSource& source, engine::Sink& sink, std::stop_token stop) {
    source_ = &source;
    sink_ = &sink;
    stop_ = stop;
    renderer_->run(*this, *this, std::move(stop));
  }

  std::vector<engine::Utterance> next(std::size_t free_capacity) override {
    const std::size_t capacity = stop_.stop_requested() ? 0 : std::min(free_capacity, group_.allowance(*this));
    return capacity == 0 ? std::vector<engine::Utterance>{} : hand_out(source_->next(capacity));
  }
  std::vector<engine::Utterance> next_urgent(std::size_t free_capacity) override {
    return stop_.stop_requested() ? std::vector<engine::Utterance>{} : hand_out(source_->next_urgent(free_capacity));
  }
  void tokens(engine::UtteranceId id, std::span<const std::int32_t> speech_tokens) override {
    sink_->tokens(id, speech_tokens);
  }
  void aligned(engine::UtteranceId id, const engine::Alignment& alignment) override { sink_->aligned(id, alignment); }
  void finished(engine::UtteranceId id, engine::Waveform waveform) override {
    group_.take_back(id);
    sink_->finished(id, std::move(waveform));
  }
  void failed(engine::UtteranceId id, std::string why) override {
    group_.take_back(id);
    sink_->failed(id, std::move(why));
  }

  std::size_t in_flight = 0; // protected by the group's mutex

private:
  std::vector<engine::Utterance> hand_out(std::vector<engine::Utterance> utterances) {
    const std::lock_guard lock(group_.mutex_);
    for (const engine::Utterance& utterance : utterances) {
      group_.owners_.emplace(utterance.id, this);
    }
    in_flight += utterances.size();
    return utterances;
  }

  RendererGroup& group_;
  const std::string device_;
  const std::unique_ptr<Renderer> renderer_;
  engine::WorkSource* source_ = nullptr;
  engine::Sink* sink_ = nullptr;
  std::stop_token stop_;
};

RendererGroup::RendererGroup(std::vector<Named> members) {
  if (members.empty()) {
    throw std::invalid_argument("a group of renderers needs at least one");
  }
  info_ = members.front().renderer->info();
  info_.device = describe_devices(members);
  info_.max_batch = 0;
  info_.synthesis_batch = 0;
  info_.memory = {};
  for (Named& member : members) {
    const engine::EngineInfo& info = member.renderer->info();
    if (info.weights_hash != info_.weights_hash || info.dtype != info_.dtype) {
      throw std::invalid_argument("devices " + members.front().device + " (" + info_.dtype + ") and " + member.device +
                                  " (" + info.dtype + ") would not render the same audio");
    }
    info_.max_batch += info.max_batch;
    info_.synthesis_batch += info.synthesis_batch;
    add(info_.memory, info.memory);
  }
  for (Named& member : members) {
    members_.push_back(std::make_unique<Member>(*this, std::move(member)));
  }
}

RendererGroup::~RendererGroup() = default;

void RendererGroup::run(engine::WorkSource& source, engine::Sink& sink, std::stop_token stop) {
  std::stop_source stop_all;
  const auto stop_members = [&] {
    stop_all.request_stop();
    notify();
  };
  std::exception_ptr failure; // protected by mutex_
  const auto run_member = [&](Member& member) {
    try {
      member.run(source, sink, stop_all.get_token());
    } catch (const std::exception& error) {
      spdlog::critical("device {} failed: {}", member.device(), error.what());
      {
        const std::lock_guard lock(mutex_);
        if (!failure) {
          failure = std::make_exception_ptr(std::runtime_error("device " + member.device() + ": " + error.what()));
        }
      }
      stop_members();
    }
  };
  {
    const std::lock_guard lock(mutex_);
    owners_.clear();
    for (const auto& member : members_) {
      member->in_flight = 0;
    }
  }
  const std::stop_callback pass_on(stop, stop_members);
  {
    std::vector<std::jthread> threads;
    for (const auto& member : members_) {
      threads.emplace_back([&run_member, &member] { run_member(*member); });
    }
  }
  if (failure) {
    std::rethrow_exception(failure);
  }
}

void RendererGroup::notify() noexcept {
  for (const auto& member : members_) {
    member->renderer().notify();
  }
}

void RendererGroup::cancel(engine::UtteranceId id) noexcept {
  if (Member* owner = take_back(id)) {
    owner->renderer().cancel(id);
  }
}

RendererGroup::Member* RendererGroup::take_back(engine::UtteranceId id) noexcept {
  const std::lock_guard lock(mutex_);
  const auto found = owners_.find(id);
  if (found == owners_.end()) {
    return nullptr;
  }
  Member* owner = found->second;
  owners_.erase(found);
  --owner->in_flight;
  return owner;
}

std::size_t RendererGroup::allowance(const Member& member) const {
  const std::lock_guard lock(mutex_);
  std::size_t least = member.in_flight;
  for (const auto& other : members_) {
    least = std::min(least, other->in_flight);
  }
  const std::size_t most = least + most_ahead;
  return most > member.in_flight ? most - member.in_flight : 0;
}

engine::EngineStats RendererGroup::stats() const {
  engine::EngineStats sum;
  for (const auto& member : members_) {
    add(sum, member->renderer().stats());
  }
  return sum;
}

std::vector<DeviceActivity> RendererGroup::activity() const {
  std::vector<DeviceActivity> devices;
  for (const auto& member : members_) {
    const engine::EngineStats stats = member->renderer().stats();
    const std::lock_guard lock(mutex_);
    devices.push_back({.in_flight = member->in_flight,
                       .advances = stats.decode_steps + stats.utterances_finished + stats.utterances_failed});
  }
  return devices;
}

const Renderer& RendererGroup::any() const noexcept { return members_.front()->renderer(); }

int RendererGroup::predict_tokens(std::string_view text) const { return any().predict_tokens(text); }

std::string RendererGroup::add_voice(const engine::VoiceConditionals& voice) {
  std::string name;
  for (const auto& member : members_) {
    name = member->renderer().add_voice(voice);
  }
  return name;
}

engine::Hash128 RendererGroup::utterance_key(std::string_view text, std::string_view language, std::string_view voice,
                                             int occurrence) const {
  return any().utterance_key(text, language, voice, occurrence);
}

std::string RendererGroup::chunk_key(const engine::Utterance& utterance) const { return any().chunk_key(utterance); }

bool is_device_list(const std::string& configured) {
  return std::regex_match(configured, std::regex("cpu|all|cuda(:[0-9]+)?(,cuda(:[0-9]+)?)*"));
}

std::vector<std::string> devices_of(const std::string& configured) {
  std::vector<std::string> devices;
  if (configured == "all") {
    for (int i = 0; i < engine::Engine::num_gpus(); ++i) {
      devices.push_back("cuda:" + std::to_string(i));
    }
    if (devices.empty()) {
      throw std::runtime_error("device \"all\": no usable NVIDIA GPU (check nvidia-smi and the driver)");
    }
    return devices;
  }
  std::istringstream list(configured);
  std::set<std::string> known;
  for (std::string device; std::getline(list, device, ',');) {
    if (!known.insert(device == "cuda" ? "cuda:0" : device).second) {
      throw std::invalid_argument("device \"" + configured + "\" names " + device + " twice");
    }
    devices.push_back(device);
  }
  return devices;
}

namespace {

std::unique_ptr<Renderer> load_on(engine::EngineOptions options, const std::string& device) {
  options.device = device;
  auto renderer = std::make_unique<EngineRenderer>(options);
  const engine::EngineInfo& info = renderer->info();
  spdlog::info("device {}: {}, {}, batch {}, {} utterances at a time in S3Gen{}", device, info.device, info.dtype,
               info.max_batch, info.synthesis_batch,
               info.memory.total() == 0
                   ? ""
                   : fmt::format(", memory in use will be {:.1f} GB", static_cast<double>(info.memory.total()) / 1e9));
  return renderer;
}

} // namespace

std::unique_ptr<Renderer> load_renderer(const engine::EngineOptions& options) {
  const std::vector<std::string> devices = devices_of(options.device);
  if (devices.size() == 1) {
    return load_on(options, devices.front());
  }
  std::vector<std::future<std::unique_ptr<Renderer>>> loading;
  for (const std::string& device : devices) {
    loading.push_back(std::async(std::launch::async, [&options, &device] { return load_on(options, device); }));
  }
  std::vector<RendererGroup::Named> members;
  for (std::size_t i = 0; i < devices.size(); ++i) {
    try {
      members.push_back({devices[i], loading[i].get()});
    } catch (const std::runtime_error& error) {
      throw std::runtime_error("device " + devices[i] + ": " + error.what());
    }
  }
  return std::make_unique<RendererGroup>(std::move(members));
}

} // namespace audiobookd::daemon
