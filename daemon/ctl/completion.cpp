// See completion.h.
#include "daemon/ctl/completion.h"

#include <algorithm>
#include <fmt/format.h>
#include <functional>
#include <stdexcept>
#include <vector>

namespace audiobookd::daemon {
namespace {

/// An option that takes a value from a list.
struct Choice {
  std::string option;
  std::string values; ///< with spaces between
};

/// What may follow one command.
struct Place {
  std::string path; ///< "/dead/requeue"; empty: the program itself
  std::vector<const CLI::App*> commands;
  std::vector<const CLI::Option*> options;
  std::vector<Choice> choices;
  std::string ids;         ///< command that prints the ids to offer, or the words themselves; empty: none
  bool is_command = false; ///< what ids is
};

/// The values of an option's CLI::IsMember, from the way it describes itself: "TEXT:{high,normal,low}".
std::string values_of(const CLI::Option& option) {
  const std::string type = option.get_type_name();
  const std::size_t begin = type.find('{');
  const std::size_t end = type.find('}');
  if (begin == std::string::npos || end == std::string::npos) {
    return "";
  }
  std::string values = type.substr(begin + 1, end - begin - 1);
  std::ranges::replace(values, ',', ' ');
  return values;
}

/// The command that prints the ids which a command is meant for.
std::string ids_for(const std::string& path) {
  if (path.starts_with("/dead")) {
    return "audiobookctl dead ls --ids";
  }
  if (path == "/cancel" || path == "/follow") {
    return "audiobookctl ls --ids --state queued,running,committing,retry_wait";
  }
  if (path == "/utterances" || path == "/redo") {
    return "audiobookctl ls --ids --state done";
  }
  return path == "/retry" ? "audiobookctl ls --ids --state dead,retry_wait" : "audiobookctl ls --ids";
}

void read_option(const CLI::Option& option, Place& place) {
  const std::string values = values_of(option);
  if (option.get_positional() && option.get_type_name().starts_with("ID")) {
    place.ids = ids_for(place.path);
    place.is_command = true;
  } else if (option.get_positional() && !values.empty()) {
    place.ids = values;
  }
  if (option.nonpositional()) {
    place.options.push_back(&option);
    for (const std::string& name : option.get_lnames()) {
      if (!values.empty()) {
        place.choices.push_back({"--" + name, values});
      }
    }
  }
}

/// All commands of the tree, the program itself first.
std::vector<Place> places_of(const CLI::App& app) {
  std::vector<Place> places;
  const std::function<void(const CLI::App&, const std::string&)> visit = [&](const CLI::App& command,
                                                                             const std::string& path) {
    Place place;
    place.path = path;
    place.commands = command.get_subcommands(std::function<bool(const CLI::App*)>());
    for (const CLI::Option* option : command.get_options()) {
      read_option(*option, place);
    }
    const auto below = place.commands;
    places.push_back(std::move(place));
    for (const CLI::App* sub : below) {
      visit(*sub, path + "/" + sub->get_name());
    }
  };
  visit(app, "");
  return places;
}

std::string all_words(const Place& place) {
  std::string words;
  for (const CLI::App* command : place.commands) {
    words += command->get_name() + " ";
  }
  for (const CLI::Option* option : place.options) {
    for (const std::string& name : option->get_lnames()) {
      words += "--" + name + " ";
    }
  }
  return words;
}

/// A function that walks along the words before the cursor finds the path of the command, and offers what belongs
/// there. Values of options that are not from a list, and what is not known, are left to the shell: files.
std::string bash_script(const CLI::App& app) {
  const std::vector<Place> places = places_of(app);
  std::string paths;
  std::string cases;
  for (const Place& place : places) {
    paths += place.path.empty() ? "" : (paths.empty() ? "" : "|") + place.path;
    cases += fmt::format("    \"{}\"", place.path.empty() ? ":" : place.path + ":") + "*)\n      case $before in\n";
    for (const Choice& choice : place.choices) {
      cases += fmt::format("        {}) offer='{}' ;;\n", choice.option, choice.values);
    }
    cases += fmt::format("        *) offer='{}' ;;\n      esac\n", all_words(place));
    if (!place.ids.empty()) {
      cases += fmt::format("      [[ $current == -* ]] || offer={}\n",
                           place.is_command ? "$(" + place.ids + " 2>/dev/null)" : "'" + place.ids + "'");
    }
    cases += "      ;;\n";
  }
  return fmt::format(R"(# Completion of audiobookctl for bash: source <(audiobookctl completion bash)
_audiobookctl() {{
  local place= word offer= current=${{COMP_WORDS[$COMP_CWORD]}} before=${{COMP_WORDS[$((COMP_CWORD-1))]}}
  for word in "${{COMP_WORDS[@]:1:$((COMP_CWORD-1))}}"; do
    case $place/$word in
      {}) place=$place/$word ;;
    esac
  done
  case $place: in
{}  esac
  COMPREPLY=($(compgen -W "$offer" -- "$current"))
}}
complete -o default -F _audiobookctl audiobookctl
)",
                     paths, cases);
}

std::string zsh_script(const CLI::App& app) {
  return "# Completion of audiobookctl for zsh: source <(audiobookctl completion zsh)\n"
         "autoload -U +X compinit bashcompinit && compinit && bashcompinit\n" +
         bash_script(app);
}

/// Text between single quotes of fish.
std::string fish_quoted(const std::string& text) {
  std::string quoted = "'";
  for (const char c : text) {
    quoted += c == '\'' || c == '\\' ? std::string("\\") + c : std::string(1, c);
  }
  return quoted + "'";
}

std::string fish_script(const CLI::App& app) {
  const std::vector<Place> places = places_of(app);
  std::string paths;
  std::string lines;
  for (const Place& place : places) {
    paths += place.path.empty() ? "" : " " + place.path;
    const std::string start = fmt::format("complete -c audiobookctl -n '__audiobookctl_at \"{}\"'", place.path);
    for (const CLI::App* command : place.commands) {
      lines += fmt::format("{} -f -a {} -d {}\n", start, command->get_name(), fish_quoted(command->get_description()));
    }
    for (const CLI::Option* option : place.options) {
      const std::string values = values_of(*option);
      const bool takes_value = option->get_expected_max() > 0 && option->get_items_expected_max() > 0;
      for (const std::string& name : option->get_lnames()) {
        lines += fmt::format("{} -l {}{} -d {}\n", start, name,
                             !values.empty() ? " -xa '" + values + "'" : (takes_value ? " -r" : ""),
                             fish_quoted(option->get_description()));
      }
    }
    if (!place.ids.empty()) {
      lines += fmt::format("{} -f -a '{}'\n", start, place.is_command ? "(" + place.ids + " 2>/dev/null)" : place.ids);
    }
  }
  return fmt::format(R"(# Completion of audiobookctl for fish: audiobookctl completion fish | source
function __audiobookctl_at
  set -l path
  for word in (commandline -opc)[2..]
    contains -- "$path/$word"{}; and set path "$path/$word"
  end
  test "$path" = "$argv[1]"
end
{})",
                     paths, lines);
}

} // namespace

std::string completion_script(const CLI::App& app, const std::string& shell) {
  if (shell == "bash") {
    return bash_script(app);
  }
  if (shell == "zsh") {
    return zsh_script(app);
  }
  if (shell == "fish") {
    return fish_script(app);
  }
  throw std::invalid_argument("completion: \"" + shell + "\" is not known; expected bash, zsh or fish");
}

} // namespace audiobookd::daemon
