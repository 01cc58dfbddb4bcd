// Adding, listing and handing on voices.
#include "daemon/ctl/voice_commands.h"

#include "engine/hash128.h"
#include "engine/mapped_file.h"
#include "storage/isolated_decoder.h"

#include <chrono>
#include <ctime>
#include <iomanip>
#include <istream>
#include <nlohmann/json.hpp>
#include <ostream>
#include <stdexcept>

namespace audiobookd::daemon {
namespace {

constexpr double tokens_per_second = 25;

std::string now_utc() {
  const std::time_t now = std::chrono::system_clock::to_time_t(std::chrono::system_clock::now());
  std::tm utc{};
  ::gmtime_r(&now, &utc);
  char text[32];
  return {text, std::strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%SZ", &utc)};
}

std::string hash_of_file(const std::filesystem::path& file) {
  return engine::hash128(engine::MappedFile(file).bytes()).hex();
}

/// What the person states; kept with the voice.
std::string consent(const AddVoice& request, const Dialogue& dialogue) {
  if (!request.consent.empty()) {
    return request.consent;
  }
  if (dialogue.questions == nullptr) {
    throw std::invalid_argument(
        "a voice needs the statement that its speaker agreed: --consent \"who, when, for what\"");
  }
  dialogue.out << "Did the speaker of '" << request.clip.string()
               << "' agree to this? Say who, when and for what (an empty line ends here): " << std::flush;
  std::string statement;
  std::getline(*dialogue.questions, statement);
  if (statement.empty()) {
    throw std::invalid_argument("no voice without its speaker's consent");
  }
  return statement;
}

engine::VoiceFile from_clip(const AddVoice& request, std::ostream& warnings) {
  if (request.cloning.checkpoint.empty()) {
    throw std::invalid_argument("preparing a clip needs the model: --model FOLDER");
  }
  const storage::AudioClip clip = storage::decode_in_child(request.cloning.clip_decoder, request.clip);
  const ClonedVoice cloned = clone_voice(clip, request.clip.string(), request.exaggeration, request.cloning);
  for (const std::string& warning : cloned.warnings) {
    warnings << "warning: " << warning << '\n';
  }
  return cloned.voice;
}

} // namespace

void add_voice(const VoiceFolder& folder, const AddVoice& request, const Dialogue& dialogue) {
  if (std::filesystem::exists(folder.path(request.name)) && !request.replace) {
    throw std::runtime_error("there is a voice \"" + request.name + "\" already; --force replaces it");
  }
  const std::string statement = consent(request, dialogue);
  engine::VoiceFile voice = request.clip.extension() == ".pt" ? engine::VoiceFile{{}, engine::read_conds(request.clip)}
                                                              : from_clip(request, dialogue.warnings);
  voice.metadata.name = request.name;
  voice.metadata.source_hash = hash_of_file(request.clip);
  voice.metadata.created = now_utc();
  voice.metadata.consent = statement;
  folder.add(voice, request.replace);
  dialogue.out << "voice \"" << request.name << "\" in '" << folder.path(request.name).string() << "'\n";
}

void list_voices(const VoiceFolder& folder, std::ostream& out) {
  for (const std::string& name : folder.names()) {
    const engine::VoiceFile voice = folder.read(name);
    const double seconds = static_cast<double>(voice.conditionals.prompt_tokens.size()) / tokens_per_second;
    out << std::left << std::setw(24) << name << "  " << std::fixed << std::setprecision(1) << std::right
        << std::setw(4) << seconds << " s  " << voice.metadata.created << "  " << voice.metadata.consent << '\n';
  }
}

void show_voice(const VoiceFolder& folder, const std::string& name, std::ostream& out) {
  const engine::VoiceFile voice = folder.read(name);
  const engine::VoiceMetadata& metadata = voice.metadata;
  const nlohmann::ordered_json json{{"name", name},
                                    {"model", metadata.model},
                                    {"created", metadata.created},
                                    {"source_hash", metadata.source_hash},
                                    {"consent", metadata.consent},
                                    {"exaggeration", voice.conditionals.exaggeration},
                                    {"t3_prompt_tokens", voice.conditionals.t3_prompt_tokens.size()},
                                    {"prompt_tokens", voice.conditionals.prompt_tokens.size()}};
  out << json.dump(2, ' ', false, nlohmann::json::error_handler_t::replace) << '\n';
}

void preview_voice(const PreviewVoice& request, const std::function<std::unique_ptr<Renderer>()>& load,
                   const Terminal& terminal) {
  RenderOptions options;
  options.loudness.reset(); // to measure the voice would take longer than the sentence
  options.text = request.text;
  options.output = request.output;
  options.chunk_store = request.chunk_store;
  options.voices = request.voices;
  options.book.voice = request.name;
  options.book.params.seed = request.seed;
  options.replace = request.replace;
  terminal.out << summarise(render_file(options, load, terminal, {}));
}

void export_conds(const VoiceFolder& folder, const std::string& name, const std::filesystem::path& file) {
  const engine::VoiceFile voice = folder.read(name);
  if (std::filesystem::exists(file)) {
    throw std::runtime_error("'" + file.string() + "' exists");
  }
  engine::write_conds(file, voice.conditionals);
}

} // namespace audiobookd::daemon
