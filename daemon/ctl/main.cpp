// The program audiobookctl: what people do beside the running daemon. How it ends: exit_status.h.
#include "daemon/ctl/completion.h"
#include "daemon/ctl/exit_status.h"
#include "daemon/ctl/queue_commands.h"
#include "daemon/ctl/voice_commands.h"
#include "daemon/embedded_checkpoint.h"
#include "daemon/environment.h"
#include "daemon/log.h"
#include "daemon/renderer_group.h"

#include <CLI/CLI.hpp>
#include <filesystem>
#include <iostream>
#include <sys/ioctl.h>
#include <unistd.h>

namespace {

namespace daemon = audiobookd::daemon;
namespace engine = audiobookd::engine;

using daemon::ExitStatus;

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

/// How wide the terminal is that standard output is; 0 if it is none.
std::size_t columns_of_output() {
  winsize size{};
  if (::isatty(STDOUT_FILENO) != 1) {
    return 0;
  }
  constexpr std::size_t usual = 80;
  return ::ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0 ? size.ws_col : usual;
}

ExitStatus run(int argc, char** argv) {
  CLI::App app{"Adds jobs to the queue of audiobookd, shows and steers them, and looks after voices.", "audiobookctl"};
  app.set_version_flag("--version", "audiobookctl " AUDIOBOOKD_VERSION);
  app.footer(std::string(daemon::queue_address_help) + "\n\n" + daemon::exit_status_help);
  app.require_subcommand(1);
  daemon::QueueCommands queue({std::cin, std::cout, std::cerr, columns_of_output()});
  queue.describe(app);
  CommandLine line;
  CLI::App& voice = *app.add_subcommand("voice", "The voices of narrators");
  const VoiceCommands commands = describe_voice(voice, line);
  std::string shell;
  CLI::App& completion = *app.add_subcommand("completion", "Print a script that lets a shell complete commands");
  completion.add_option("shell", shell, "bash, zsh or fish")->required()->check(CLI::IsMember({"bash", "zsh", "fish"}));
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? ExitStatus::done : ExitStatus::wrong_usage;
  }
  if (const auto status = queue.run()) {
    return *status;
  }
  if (completion.parsed()) {
    std::cout << daemon::completion_script(app, shell);
    return ExitStatus::done;
  }
  daemon::let_waiting_threads_sleep(argv);
  run_voice(commands, line);
  return ExitStatus::done;
}

} // namespace

int main(int argc, char** argv) {
  return static_cast<int>(daemon::run_guarded([&] { return run(argc, argv); }, std::cerr));
}
