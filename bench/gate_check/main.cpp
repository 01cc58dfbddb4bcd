// audiobook-gate-check: measures the gates on utterances (daemon/gates.h) on a checkpoint: false alarms on sound ones,
// and how many planted faults are caught. `collect` renders samples once, `judge` judges them, `heads` tells which
// attention heads follow the text.
#include "bench/gate_check/check.h"
#include "bench/gate_check/collect.h"
#include "daemon/embedded_checkpoint.h"
#include "engine/engine.h"
#include "engine/models/chatterbox/config.h"

#include <CLI/CLI.hpp>
#include <cstdio>
#include <functional>

namespace {

namespace bench = audiobookd::bench;
namespace engine = audiobookd::engine;

struct CommandLine {
  bench::CollectOptions collect;
  bench::CheckOptions check;
  std::filesystem::path checkpoint;
  std::vector<std::pair<int, int>> heads;
};

void describe(CLI::App& app, CommandLine& line, std::function<void()>& action) {
  CLI::App* collect = app.add_subcommand("collect", "Render samples; what is there already stays");
  collect->add_option("folder", line.collect.folder, "Where samples go")->required();
  collect->add_option("--book", line.collect.books, "Texts to take them from")->required()->check(CLI::ExistingFile);
  collect->add_option("--passages", line.collect.passages, "As a book's utterances are")->capture_default_str();
  collect->add_option("--sentences", line.collect.sentences, "Single sentences")->capture_default_str();
  collect->add_option("--faults", line.collect.faults, "Sentences with skipped words, and with doubled ones")
      ->capture_default_str();
  collect->add_option("--threads", line.collect.threads, "CPU threads")->capture_default_str();
  collect->callback([&] { action = [&line] { bench::collect(line.collect); }; });
  CLI::App* judge = app.add_subcommand("judge", "Judge samples, sound and with planted faults");
  judge->add_option("folder", line.check.folder, "Where samples are")->required()->check(CLI::ExistingDirectory);
  judge->add_option("--head", line.heads, "LAYER HEAD, several times (default: those that the checkpoint names)");
  judge->add_flag("--values", line.check.shows_values, "What is measured, a line of JSON for each sample");
  CLI::App* heads = app.add_subcommand("heads", "Which attention heads follow the text");
  heads->add_option("folder", line.check.folder, "Where samples are")->required()->check(CLI::ExistingDirectory);
  for (CLI::App* command : {collect, judge, heads}) {
    command->add_option("--model", line.checkpoint, "Checkpoint folder (default: the embedded voice)");
  }
  const auto heads_per_layer = [&line] { return engine::chatterbox::Config::load(line.checkpoint).t3.num_heads; };
  judge->callback([&, heads_per_layer] {
    action = [&line, heads_per_layer] {
      if (line.heads.empty()) {
        for (const auto& [layer, head] : engine::Engine::known_alignment_heads(line.checkpoint)) {
          line.heads.emplace_back(layer, head);
        }
      }
      for (const auto& [layer, head] : line.heads) {
        line.check.heads.push_back(static_cast<std::size_t>(layer * heads_per_layer() + head));
      }
      bench::check(line.check);
    };
  });
  heads->callback([&, heads_per_layer] {
    action = [&line, heads_per_layer] { bench::list_heads(line.check.folder, heads_per_layer()); };
  });
}

} // namespace

int main(int argc, char** argv) {
  CLI::App app{"Measures the gates on utterances on a checkpoint.", "audiobook-gate-check"};
  app.require_subcommand(1);
  CommandLine line;
  std::function<void()> action;
  describe(app, line, action);
  CLI11_PARSE(app, argc, argv);
  try {
    if (line.checkpoint.empty()) {
      line.checkpoint = audiobookd::daemon::embedded_checkpoint();
    }
    line.collect.checkpoint = line.checkpoint;
    action();
    return 0;
  } catch (const std::exception& error) {
    std::fprintf(stderr, "audiobook-gate-check: %s\n", error.what());
    return 1;
  }
}
