// `audiobookctl completion`: what a shell offers after TAB, made from the description of the command line.
//
// A pure function: any thread.
#pragma once

#include <CLI/CLI.hpp>
#include <string>

namespace audiobookd::daemon {

/// The script that makes @p shell ("bash", "zsh" or "fish") complete the commands, options and values of @p app, and
/// ids of jobs where they are expected. @throws std::invalid_argument for another shell.
[[nodiscard]] std::string completion_script(const CLI::App& app, const std::string& shell);

} // namespace audiobookd::daemon
