// See voice_command_line.h.
#include "daemon/ctl/voice_command_line.h"

namespace audiobookd::daemon {
namespace {

CLI::App* describe_preview(CLI::App& voice, VoiceCommandLine& line) {
  CLI::App* preview = voice.add_subcommand("preview", "Read a sentence in a voice");
  preview->add_option("name", line.preview.name, "A voice that was added, or one of the model's")->required();
  preview->add_option("-o,--output", line.preview.output, "The MP3 to write")->required();
  preview->add_option("--text", line.preview.text, "What to read")->capture_default_str();
  preview->add_option("--model", line.engine.checkpoint, "Checkpoint folder (default: the embedded voice)");
  preview->add_option("--device", line.engine.device, "cpu, cuda or cuda:N")->capture_default_str();
  preview->add_option("--threads", line.engine.cpu_threads, "CPU threads for arithmetic (0: all cores)")
      ->capture_default_str();
  preview->add_option("--seed", line.preview.seed, "Other numbers give other takes")->capture_default_str();
  preview->add_flag("--force", line.preview.replace, "Replace an output that exists");
  return preview;
}

} // namespace

void VoiceCommandLine::describe(CLI::App& app) {
  CLI::App& voice = *app.add_subcommand("voice", "The voices of narrators");
  voice.require_subcommand(1);
  voice.add_option("--voices", voices,
                   "Folder of the voices (default: $STATE_DIRECTORY/voices or $XDG_DATA_HOME/audiobookd/voices)");
  add_command = voice.add_subcommand("add", "Make a voice of a clip of 5 to 10 s, or of the reference's conds.pt");
  add_command->add_option("name", add.name, "What jobs call it")->required();
  add_command->add_option("clip", add.clip, "WAV, FLAC, MP3, Ogg, Opus or AIFF; or conds.pt")->required();
  add_command->add_option("--consent", add.consent, "Who agreed to the use of this voice, when and for what");
  add_command->add_option("--exaggeration", add.exaggeration, "Emotion")
      ->check(CLI::Range(0.0, 2.0))
      ->capture_default_str();
  add_command->add_option("--model", add.cloning.checkpoint, "Checkpoint folder of the model that prepares the clip");
  add_command->add_option("--device", add.cloning.device, "cpu, cuda or cuda:N")->capture_default_str();
  add_command->add_option("--threads", add.cloning.cpu_threads, "CPU threads for arithmetic (0: all cores)")
      ->capture_default_str();
  add_command->add_flag("--force", add.replace, "Replace a voice of that name");
  list_command = voice.add_subcommand("list", "All voices, one a line");
  show_command = voice.add_subcommand("show", "Everything about a voice, as JSON");
  preview_command = describe_preview(voice, *this);
  remove_command = voice.add_subcommand("remove", "Delete a voice");
  export_command = voice.add_subcommand("export", "Write a voice as the reference's conds.pt");
  for (CLI::App* command : {show_command, remove_command, export_command}) {
    command->add_option("name", name, "The voice")->required();
  }
  export_command->add_option("--conds", conds, "The file to write")->required();
}

} // namespace audiobookd::daemon
