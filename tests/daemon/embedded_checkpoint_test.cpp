// Where the embedded voice is looked for.
#include "daemon/embedded_checkpoint.h"
#include "tests/daemon/fakes.h"

#include <gtest/gtest.h>

namespace audiobookd::daemon {
namespace {

namespace fs = std::filesystem;

TEST(EmbeddedCheckpoint, WhatWasInstalledWithTheProgramGoesBeforeTheSources) {
  const testing::TemporaryFolder folder;
  const fs::path program_folder = folder.path() / "usr/bin";
  const fs::path sources = folder.path() / "src";
  folder.write("src/models/embedded/config.json", "{}");
  EXPECT_EQ(find_embedded_checkpoint(program_folder, sources), sources / "models/embedded");
  folder.write("usr/share/audiobookd/models/embedded/config.json", "{}");
  EXPECT_EQ(find_embedded_checkpoint(program_folder, sources), folder.path() / "usr/share/audiobookd/models/embedded");
}

TEST(EmbeddedCheckpoint, AMissingOneIsAnErrorThatNamesBothPlaces) {
  try {
    (void)find_embedded_checkpoint("/opt/none/bin", "/opt/gone");
    FAIL() << "found";
  } catch (const std::runtime_error& error) {
    EXPECT_STREQ(error.what(), "the embedded voice is neither in '/opt/none/share/audiobookd/models/embedded' nor in "
                               "'/opt/gone/models/embedded': install it, or name a checkpoint");
  }
}

} // namespace
} // namespace audiobookd::daemon
