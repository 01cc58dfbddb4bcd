// Files of voices.
#include "daemon/voice_folder.h"

#include "daemon/errors.h"

#include <algorithm>
#include <stdexcept>
#include <string_view>

namespace audiobookd::daemon {
namespace {

constexpr const char* extension = ".safetensors";
constexpr std::string_view default_voice = "default";
constexpr std::size_t max_name_bytes = 128; // as in a job

bool is_name(const std::string& name) {
  const auto allowed = [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' || c == '.' ||
           c == '-';
  };
  return !name.empty() && name.size() <= max_name_bytes && name.front() != '.' && std::ranges::all_of(name, allowed);
}

} // namespace

void VoiceFolder::check_name(const std::string& name) {
  if (!is_name(name)) {
    throw std::invalid_argument("\"" + name +
                                "\" cannot name a voice: 1 to 128 letters, digits, '.', '_' and '-', no dot first");
  }
  if (name == default_voice) {
    throw std::invalid_argument("\"default\" is the voice of the checkpoint itself");
  }
}

std::vector<std::string> VoiceFolder::names() const {
  std::vector<std::string> names;
  if (!std::filesystem::is_directory(folder_)) {
    return names;
  }
  for (const auto& entry : std::filesystem::directory_iterator(folder_)) {
    if (entry.path().extension() == extension && is_name(entry.path().stem().string())) {
      names.push_back(entry.path().stem().string());
    }
  }
  std::ranges::sort(names);
  return names;
}

bool VoiceFolder::contains(const std::string& name) const {
  return !folder_.empty() && is_name(name) && name != default_voice && std::filesystem::exists(path(name));
}

std::filesystem::path VoiceFolder::path(const std::string& name) const {
  check_name(name);
  return folder_ / (name + extension);
}

void VoiceFolder::check_exists(const std::string& name) const {
  if (!std::filesystem::exists(path(name))) {
    throw std::runtime_error("there is no voice \"" + name + "\" in '" + folder_.string() + "'");
  }
}

engine::VoiceFile VoiceFolder::read(const std::string& name) const {
  check_exists(name);
  return engine::read_voice_file(path(name));
}

void VoiceFolder::add(const engine::VoiceFile& voice, bool replace) const {
  const std::filesystem::path file = path(voice.metadata.name);
  if (!replace && std::filesystem::exists(file)) {
    throw std::runtime_error("there is a voice \"" + voice.metadata.name + "\" already; --force replaces it");
  }
  std::filesystem::create_directories(folder_);
  engine::write_voice_file(file, voice);
}

void VoiceFolder::remove(const std::string& name) const {
  check_exists(name);
  std::filesystem::remove(path(name));
}

std::string renderer_voice(const VoiceFolder& folder, const std::string& name, Renderer& renderer) {
  if (!folder.contains(name)) {
    return name;
  }
  return renderer.add_voice(reading_files([&] { return folder.read(name).conditionals; }));
}

} // namespace audiobookd::daemon
