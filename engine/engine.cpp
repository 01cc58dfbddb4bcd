#include "engine/engine.h"

#include "engine/chatterbox_engine.h"
#include "engine/models/chatterbox/config.h"
#include "engine/models/chatterbox/text_norm.h"

#include <c10/util/Exception.h>
#include <stdexcept>

namespace audiobookd::engine {

namespace {

/// Of PyTorch's errors only the first line is for people; advice for its developers and a stack trace follow.
template <typename Call>
auto with_short_errors(Call call) {
  try {
    return call();
  } catch (const c10::Error& error) {
    const std::string message = error.what_without_backtrace();
    throw std::runtime_error(message.substr(0, message.find('\n')));
  }
}

} // namespace

std::unique_ptr<Engine> Engine::load(const EngineOptions& options) {
  return with_short_errors([&] { return std::unique_ptr<Engine>(new Engine(std::make_unique<Impl>(options))); });
}

int Engine::num_gpus() noexcept { return engine::num_gpus(); }

std::vector<AttentionHead> Engine::known_alignment_heads(const std::filesystem::path& checkpoint) {
  std::vector<AttentionHead> heads;
  for (const auto& [layer, head] : chatterbox::Config::load(checkpoint).t3.alignment_heads) {
    heads.push_back({layer, head});
  }
  return heads;
}

Engine::Engine(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Engine::~Engine() = default;

void Engine::run(WorkSource& source, Sink& sink, std::stop_token stop) {
  with_short_errors([&] { impl_->run(source, sink, stop); });
}
void Engine::notify() noexcept { impl_->notify(); }
void Engine::cancel(UtteranceId id) noexcept { impl_->cancel(id); }
const EngineInfo& Engine::info() const noexcept { return impl_->info(); }
EngineStats Engine::stats() const { return impl_->stats(); }

int Engine::predict_tokens(std::string_view text) const { return predict_speech_tokens(text); }

std::string Engine::add_voice(const VoiceConditionals& voice) { return impl_->add_voice(voice); }

Hash128 Engine::voice_hash(std::string_view voice) const { return impl_->voice(voice)->content_hash; }

Hash128 Engine::utterance_key(std::string_view text, std::string_view language, std::string_view voice,
                              int occurrence) const {
  return HashBuilder()
      .add(chatterbox::punc_norm(text))
      .add(language)
      .add(voice_hash(voice))
      .add(static_cast<std::uint64_t>(occurrence))
      .finish();
}

std::string Engine::chunk_key(const Utterance& utterance) const { return impl_->chunk_key(utterance); }

} // namespace audiobookd::engine
