// The program audiobookd: reads the command line and hands over to one of its two forms, the daemon or `render`.
#include <CLI/CLI.hpp>

int main(int argc, char** argv) {
  CLI::App app{"Renders long documents as MP3 audiobooks with the Chatterbox TTS model.", "audiobookd"};
  app.set_version_flag("--version", "audiobookd " AUDIOBOOKD_VERSION);
  CLI11_PARSE(app, argc, argv);
  return 0;
}
