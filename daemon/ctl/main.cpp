// The program audiobookctl: what people do beside the running daemon. How it ends: exit_status.h.
//
// It answers at once because it carries nothing of the engine: `voice` is done by a program beside it.
#include "daemon/ctl/chapters_command.h"
#include "daemon/ctl/completion.h"
#include "daemon/ctl/exit_status.h"
#include "daemon/ctl/queue_commands.h"
#include "daemon/ctl/text_command.h"
#include "daemon/ctl/voice_command_line.h"

#include <CLI/CLI.hpp>
#include <cerrno>
#include <filesystem>
#include <iostream>
#include <sys/ioctl.h>
#include <system_error>
#include <unistd.h>

namespace {

namespace daemon = audiobookd::daemon;

using daemon::ExitStatus;

/// Becomes the program that knows the engine. @throws std::system_error if it is not there.
[[noreturn]] void become_voice_program(char** argv) {
  const auto program = std::filesystem::read_symlink("/proc/self/exe").parent_path() / "audiobookctl-voice";
  ::execv(program.c_str(), argv);
  throw std::system_error(errno, std::generic_category(), "'" + program.string() + "'");
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
  CLI::App app{"Adds jobs to the queue of audiobookd, shows and steers them, lists the chapters of books, has single "
               "utterances rendered again, and looks after voices.",
               "audiobookctl"};
  app.set_version_flag("--version", "audiobookctl " AUDIOBOOKD_VERSION);
  app.footer(std::string(daemon::queue_address_help) + "\n\n" + daemon::exit_status_help);
  app.require_subcommand(1);
  daemon::QueueCommands queue({std::cin, std::cout, std::cerr, columns_of_output()});
  queue.describe(app);
  daemon::ChaptersCommand chapters(std::cout, columns_of_output());
  chapters.describe(app);
  daemon::VoiceCommandLine voice;
  voice.describe(app);
  daemon::TextCommand text;
  text.describe(app);
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
  if (const auto status = chapters.run()) {
    return *status;
  }
  if (const auto status = text.run(std::cout, std::cerr)) {
    return *status;
  }
  if (completion.parsed()) {
    std::cout << daemon::completion_script(app, shell);
    return ExitStatus::done;
  }
  become_voice_program(argv);
}

} // namespace

int main(int argc, char** argv) {
  return static_cast<int>(daemon::run_guarded([&] { return run(argc, argv); }, std::cerr));
}
