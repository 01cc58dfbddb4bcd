// `audiobookctl voice …`: what the subcommands do once their command line is read. One command at a time.
#pragma once

#include "daemon/render_command.h"
#include "daemon/voice_cloning.h"
#include "daemon/voice_folder.h"

#include <filesystem>
#include <functional>
#include <iosfwd>
#include <memory>
#include <string>
#include <vector>

namespace audiobookd::daemon {

struct AddVoice {
  std::string name;
  std::filesystem::path clip; ///< audio, or the reference's conds.pt
  std::string consent;        ///< the statement that the speaker agreed; empty: ask for it
  float exaggeration = 0.5F;  ///< [0, 2]
  CloningSettings cloning;    ///< not needed for a conds.pt
  bool replace = false;
};

/// The person at the terminal.
struct Dialogue {
  std::istream* questions = nullptr; ///< where answers come from; none when nobody is there to ask
  std::ostream& out;
  std::ostream& warnings;
};

/// Prepares a voice and stores it. Says what could be better about the clip.
/// @throws std::invalid_argument for a wrong name or value, or no consent and nobody to ask; std::runtime_error for a
/// clip that gives no voice, with the reasons by number, or a failure to read or write.
void add_voice(const VoiceFolder& folder, const AddVoice& request, const Dialogue& dialogue);

/// One line a voice: name, length of its prompt, when it was made, consent.
void list_voices(const VoiceFolder& folder, std::ostream& out);

/// Everything about one voice, as JSON. @throws std::runtime_error as VoiceFolder::read().
void show_voice(const VoiceFolder& folder, const std::string& name, std::ostream& out);

struct PreviewVoice {
  std::string name; ///< a voice that was added, or one of the model's
  std::string text = "It was late in the evening when the keeper climbed the stairs, lit the lamp, and began to read.";
  std::filesystem::path output;
  std::filesystem::path voices;      ///< folder of the voices that were added
  std::filesystem::path chunk_store; ///< as RenderOptions::chunk_store
  std::uint64_t seed = 0;            ///< others give other takes
  bool replace = false;              ///< an output that exists
};

/// Renders a text as an MP3 in a voice, through the pipeline of `audiobookd render`, and says what was done.
/// @throws as render_file(); std::invalid_argument naming a voice that there is not.
void preview_voice(const PreviewVoice& request, const std::function<std::unique_ptr<Renderer>()>& load,
                   const Terminal& terminal);

/// Writes @p name as the reference's conds.pt. @throws std::runtime_error when there is no such voice or the file
/// exists.
void export_conds(const VoiceFolder& folder, const std::string& name, const std::filesystem::path& file);

} // namespace audiobookd::daemon
