// The program audiobookctl: what people do beside the running daemon.
//
// Exit status: 0 done; 1 failed; 2 wrong usage.
#include "daemon/ctl/voice_commands.h"
#include "daemon/embedded_checkpoint.h"
#include "daemon/environment.h"
#include "daemon/log.h"
#include "daemon/renderer_group.h"

#include <CLI/CLI.hpp>
#include <filesystem>
#include <iostream>
#include <unistd.h>

namespace {

namespace daemon = audiobookd::daemon;
namespace engine = audiobookd::engine;

enum ExitStatus { ok = 0, failed = 1, wrong_usage = 2 };

struct CommandLine {
  std::filesystem::path voices;
  daemon::AddVoice add;
  daemon::PreviewVoice preview;
  engine::EngineOptions engine; ///< of the preview
  std::string name;
  std::filesystem::path conds;
};

/// Subcommands of `voice`.
struct VoiceCommands {
  CLI::App* add;
  CLI::App* list;
  CLI::App* show;
  CLI::App* preview;
  CLI::App* remove;
  CLI::App* hand_on;
};

CLI::App* describe_preview(CLI::App& voice, CommandLine& line) {
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

VoiceCommands describe_voice(CLI::App& voice, CommandLine& line) {
  voice.require_subcommand(1);
  voice.add_option("--voices", line.voices,
                   "Folder of the voices (default: $STATE_DIRECTORY/voices or $XDG_DATA_HOME/audiobookd/voices)");
  CLI::App* add = voice.add_subcommand("add", "Make a voice of a clip of 5 to 10 s, or of the reference's conds.pt");
  add->add_option("name", line.add.name, "What jobs call it")->required();
  add->add_option("clip", line.add.clip, "WAV, FLAC, MP3, Ogg, Opus or AIFF; or conds.pt")->required();
  add->add_option("--consent", line.add.consent, "Who agreed to the use of this voice, when and for what");
  add->add_option("--exaggeration", line.add.exaggeration, "Emotion")
      ->check(CLI::Range(0.0, 2.0))
      ->capture_default_str();
  add->add_option("--model", line.add.cloning.checkpoint, "Checkpoint folder of the model that prepares the clip");
  add->add_option("--device", line.add.cloning.device, "cpu, cuda or cuda:N")->capture_default_str();
  add->add_option("--threads", line.add.cloning.cpu_threads, "CPU threads for arithmetic (0: all cores)")
      ->capture_default_str();
  add->add_flag("--force", line.add.replace, "Replace a voice of that name");
  CLI::App* list = voice.add_subcommand("list", "All voices, one a line");
  CLI::App* show = voice.add_subcommand("show", "Everything about a voice, as JSON");
  CLI::App* preview = describe_preview(voice, line);
  CLI::App* remove = voice.add_subcommand("remove", "Delete a voice");
  CLI::App* hand_on = voice.add_subcommand("export", "Write a voice as the reference's conds.pt");
  for (CLI::App* command : {show, remove, hand_on}) {
    command->add_option("name", line.name, "The voice")->required();
  }
  hand_on->add_option("--conds", line.conds, "The file to write")->required();
  return {add, list, show, preview, remove, hand_on};
}

void run_preview(const std::filesystem::path& voices, CommandLine& line) {
  daemon::set_up_log("warning", false);
  line.preview.voices = voices;
  line.preview.chunk_store = daemon::cache_folder() / "chunks";
  if (line.engine.checkpoint.empty()) {
    std::cerr << daemon::embedded_checkpoint_notice << '\n';
    line.engine.checkpoint = daemon::embedded_checkpoint();
  }
  daemon::preview_voice(line.preview, [&line] { return daemon::load_renderer(line.engine); },
                        {std::cout, std::cerr, ::isatty(STDERR_FILENO) == 1});
}

void run_voice(const VoiceCommands& commands, CommandLine& line) {
  const std::filesystem::path voices = line.voices.empty() ? daemon::data_folder() / "voices" : line.voices;
  const daemon::VoiceFolder folder(voices);
  if (commands.add->parsed()) {
    line.add.cloning.clip_decoder = daemon::installed_clip_decoder();
    daemon::add_voice(folder, line.add, {::isatty(STDIN_FILENO) == 1 ? &std::cin : nullptr, std::cout, std::cerr});
  } else if (commands.list->parsed()) {
    daemon::list_voices(folder, std::cout);
  } else if (commands.show->parsed()) {
    daemon::show_voice(folder, line.name, std::cout);
  } else if (commands.preview->parsed()) {
    run_preview(voices, line);
  } else if (commands.remove->parsed()) {
    folder.remove(line.name);
  } else {
    daemon::export_conds(folder, line.name, line.conds);
  }
}

int run(int argc, char** argv) {
  CLI::App app{"Looks after what audiobookd works with.", "audiobookctl"};
  app.set_version_flag("--version", "audiobookctl " AUDIOBOOKD_VERSION);
  app.footer("Exit status: 0 done, 1 failed, 2 wrong usage.");
  app.require_subcommand(1);
  CommandLine line;
  const VoiceCommands commands = describe_voice(*app.add_subcommand("voice", "The voices of narrators"), line);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? ok : wrong_usage;
  }
  daemon::let_waiting_threads_sleep(argv);
  run_voice(commands, line);
  return ok;
}

} // namespace

int main(int argc, char** argv) {
  try {
    return run(argc, argv);
  } catch (const std::invalid_argument& error) {
    std::cerr << "audiobookctl: " << error.what() << '\n';
    return wrong_usage;
  } catch (const std::exception& error) {
    std::cerr << "audiobookctl: " << error.what() << '\n';
    return failed;
  }
}
