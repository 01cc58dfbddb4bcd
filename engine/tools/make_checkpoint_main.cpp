// make-checkpoint: writes a synthetic checkpoint folder. One thread.
#include "engine/models/chatterbox/make_checkpoint.h"

#include <cstdio>
#include <exception>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>

namespace {

namespace chatterbox = audiobookd::engine::chatterbox;

constexpr const char* usage =
    "usage: make-checkpoint --preset tiny|chatterbox --out DIR\n"
    "\n"
    "Writes a Chatterbox checkpoint folder whose weights are made by a formula: the real file and tensor\n"
    "names, and a voice that sounds like noise. Its config.json says \"synthetic\": true.\n"
    "\n"
    "  --preset tiny        small dimensions, about 13 MB: tests and demonstrations\n"
    "  --preset chatterbox  the published dimensions, about 3.2 GB: benchmarks\n"
    "  --out DIR            a new or empty folder, or a synthetic checkpoint, which is replaced\n"
    "  --help               this text\n";

struct Arguments {
  bool help = false;
  std::optional<chatterbox::Preset> preset;
  std::string out;
};

/// @throws std::invalid_argument saying what is wrong with the command line.
Arguments parse(int argc, char** argv) {
  Arguments arguments;
  for (int i = 1; i < argc; ++i) {
    const std::string_view name = argv[i];
    if (name == "--help" || name == "-h") {
      arguments.help = true;
      return arguments;
    }
    if (name != "--preset" && name != "--out") {
      throw std::invalid_argument("unknown argument \"" + std::string(name) + "\"");
    }
    if (i + 1 == argc || *argv[i + 1] == '\0') {
      throw std::invalid_argument(std::string(name) + " needs a value");
    }
    const char* value = argv[++i];
    if (name == "--preset") {
      arguments.preset = chatterbox::parse_preset(value);
    } else {
      arguments.out = value;
    }
  }
  if (!arguments.preset || arguments.out.empty()) {
    throw std::invalid_argument("--preset and --out are needed");
  }
  return arguments;
}

} // namespace

int main(int argc, char** argv) {
  try {
    const Arguments arguments = parse(argc, argv);
    if (arguments.help) {
      std::fputs(usage, stdout);
      return 0;
    }
    chatterbox::write_checkpoint(*arguments.preset, arguments.out);
    return 0;
  } catch (const std::invalid_argument& error) {
    std::fprintf(stderr, "make-checkpoint: %s\n\n%s", error.what(), usage);
    return 2;
  } catch (const std::exception& error) {
    std::fprintf(stderr, "make-checkpoint: %s\n", error.what());
    return 1;
  }
}
