// `audiobookctl voice …`: what the subcommands do once their command line is read. One command at a time.
#pragma once

#include "daemon/voice_cloning.h"
#include "daemon/voice_folder.h"

#include <filesystem>
#include <iosfwd>
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

/// Writes @p name as the reference's conds.pt. @throws std::runtime_error when there is no such voice or the file
/// exists.
void export_conds(const VoiceFolder& folder, const std::string& name, const std::filesystem::path& file);

} // namespace audiobookd::daemon
