// Jobs that render books and redo single utterances of them, in this process, with an engine that makes noise which
// depends on text, seed and attempt alone. Test thread only.
#pragma once

#include "daemon/ctl/listed_book.h"
#include "daemon/ctl/redo_job.h"
#include "daemon/engine_thread.h"
#include "daemon/render_job.h"
#include "tests/daemon/fakes.h"

#include <gtest/gtest.h>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

namespace audiobookd::daemon::testing {

/// Outputs that can be kept from appearing.
class FragileFolder final : public LocalFolder {
public:
  using LocalFolder::LocalFolder;
  [[nodiscard]] std::unique_ptr<storage::Publication> open_output(std::string_view name, std::string_view owner,
                                                                  const std::stop_token& stop) const override;

  /// Called with the name of each output when it is committed, before that happens; may throw.
  std::function<void(const std::string&)> on_commit;
};

class RedoFixture : public ::testing::Test {
protected:
  RedoFixture();

  /// Forgets what is in flight, not what is stored. @param gates nothing: none.
  void restart(std::optional<GateSettings> gates);
  /// Runs a job to its end.
  FakeQueue::Record run(const nlohmann::json& job);
  /// Runs the job that redoes @p wish in the book as it is.
  FakeQueue::Record redo(const RedoWish& wish);
  /// A job for @p input that makes a FLAC file of the same name.
  [[nodiscard]] static nlohmann::json job(const std::string& input = "book.txt");

  [[nodiscard]] BookListing listing(const std::string& output = "out/book.flac") const {
    return read_listing(storage_, output, false);
  }
  [[nodiscard]] std::filesystem::path output(const std::string& name = "out/book.flac") const { return files_ / name; }
  /// Utterances that the engine has delivered so far.
  [[nodiscard]] std::size_t rendered() const { return renderer_.delivered_texts().size(); }

  /// That @p after is @p before but for what is heard at the places @p numbers, and that these are heard as listed.
  static void expect_only_changed(const std::vector<float>& before, const BookListing& listed_before,
                                  const std::vector<float>& after, const BookListing& listed_after,
                                  const std::vector<std::size_t>& numbers);

  TemporaryFolder folder_;
  const std::filesystem::path files_ = folder_.path() / "files";
  FakeRenderer renderer_;
  FakeQueue queue_;
  FragileFolder storage_{(std::filesystem::create_directories(files_), files_)};
  ClipVoices clips_{folder_.path() / "clips",
                    {.clip_decoder = AUDIOBOOKD_CLIP_DECODER, .checkpoint = folder_.path() / "none", .cpu_threads = 1}};
  storage::ChunkStore store_{{.folder = folder_.path() / "chunks", .max_bytes = 1u << 30}};
  storage::WorkerPool encoders_{2};
  JobDefaults defaults_;
  int redos_ = 0;

private:
  std::unique_ptr<UtterancePool> pool_;
  std::unique_ptr<EngineThread> engine_;
};

} // namespace audiobookd::daemon::testing
