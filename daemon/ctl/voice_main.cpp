// The program audiobookctl-voice: what `audiobookctl voice` does, with the engine. audiobookctl becomes it, with the
// same command line.
#include "daemon/ctl/exit_status.h"
#include "daemon/ctl/voice_command_line.h"
#include "daemon/embedded_checkpoint.h"
#include "daemon/environment.h"
#include "daemon/log.h"
#include "daemon/renderer_group.h"

#include <iostream>
#include <unistd.h>

namespace {

namespace daemon = audiobookd::daemon;

using daemon::ExitStatus;

void run_preview(const std::filesystem::path& voices, daemon::VoiceCommandLine& line) {
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

void run_voice(daemon::VoiceCommandLine& line) {
  const std::filesystem::path voices = line.voices.empty() ? daemon::data_folder() / "voices" : line.voices;
  const daemon::VoiceFolder folder(voices);
  if (line.add_command->parsed()) {
    line.add.cloning.clip_decoder = daemon::installed_clip_decoder();
    daemon::add_voice(folder, line.add, {::isatty(STDIN_FILENO) == 1 ? &std::cin : nullptr, std::cout, std::cerr});
  } else if (line.list_command->parsed()) {
    daemon::list_voices(folder, std::cout);
  } else if (line.show_command->parsed()) {
    daemon::show_voice(folder, line.name, std::cout);
  } else if (line.preview_command->parsed()) {
    run_preview(voices, line);
  } else if (line.remove_command->parsed()) {
    folder.remove(line.name);
  } else {
    daemon::export_conds(folder, line.name, line.conds);
  }
}

ExitStatus run(int argc, char** argv) {
  CLI::App app{"Looks after voices.", "audiobookctl"};
  app.require_subcommand(1);
  daemon::VoiceCommandLine line;
  line.describe(app);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? ExitStatus::done : ExitStatus::wrong_usage;
  }
  daemon::let_waiting_threads_sleep(argv);
  run_voice(line);
  return ExitStatus::done;
}

} // namespace

int main(int argc, char** argv) {
  return static_cast<int>(daemon::run_guarded([&] { return run(argc, argv); }, std::cerr));
}
