// Memory does not grow with the length of books or the number of jobs: far more audio passes through than may be held.
#include "daemon/render_service.h"
#include "storage/local_storage.h"
#include "tests/daemon/fakes.h"

#include <cmath>
#include <cstdlib>
#include <fstream>
#include <future>
#include <gtest/gtest.h>
#include <malloc.h>
#include <string>

namespace audiobookd::daemon {
namespace {

constexpr std::size_t mib = 1u << 20;
constexpr std::size_t samples_of_utterance = 4 * 24'000;

/// Of this process, from /proc/self/status.
std::size_t memory_bytes(const std::string& field) {
  std::ifstream status("/proc/self/status");
  for (std::string line; std::getline(status, line);) {
    if (line.starts_with(field + ":")) {
      return 1024 * std::stoull(line.substr(field.size() + 1));
    }
  }
  throw std::runtime_error("/proc/self/status does not tell " + field);
}

/// By how much @p work makes the process larger at any time.
std::size_t peak_growth(const std::function<void()>& work) {
  malloc_trim(0);
  std::ofstream("/proc/self/clear_refs") << "5\n"; // the peak begins anew
  const std::size_t before = memory_bytes("VmRSS");
  work();
  return memory_bytes("VmHWM") - before;
}

class MemoryTest : public ::testing::Test {
protected:
  MemoryTest() {
    for (std::size_t i = 0; i < waveform_.samples.size(); ++i) {
      waveform_.samples[i] = 0.1f * std::sin(0.05f * static_cast<float>(i));
    }
    renderer_.replace = [this](const engine::Utterance&) { return waveform_; };
    format_.quality = 9; // quick
  }

  void add(const std::string& id, int paragraphs) {
    folder_.write("files/" + id + ".txt", testing::sample_text(paragraphs));
    jobs::Job job;
    job.id = id;
    job.input = id + ".txt";
    job.output = id + ".mp3";
    job.params.seed = std::hash<std::string>()(id); // no job finds what another one has rendered
    queue_.add(job);
  }

  /// Runs these jobs to their end.
  void render(const std::vector<std::string>& ids, int paragraphs) {
    for (const std::string& id : ids) {
      add(id, paragraphs);
    }
    ServiceSettings settings;
    settings.defaults.format = format_;
    settings.limits.max_jobs = 4;
    settings.limits.short_jobs = 4;
    RenderService service({.queue = queue_,
                           .connect_queue = [] { return std::vector<std::string>(); },
                           .renderer = renderer_,
                           .store = store_,
                           .storage = storage_,
                           .clips = clips_,
                           .manager = manager_,
                           .encoders = encoders_},
                          settings);
    std::stop_source stop;
    auto ended = std::async(std::launch::async, [&] { service.run(stop.get_token()); });
    for (const std::string& id : ids) {
      queue_.wait_for_state(id, "done");
    }
    stop.request_stop();
    ended.get();
  }

  testing::TemporaryFolder folder_;
  const std::filesystem::path files_ = folder_.path() / "files";
  engine::Waveform waveform_{std::vector<float>(samples_of_utterance)};
  storage::FormatOptions format_;
  testing::FakeRenderer renderer_;
  testing::FakeQueue queue_;
  testing::FakeServiceManager manager_;
  storage::LocalStorage storage_{{.input = (std::filesystem::create_directories(files_), files_), .output = files_}};
  ClipVoices clips_{folder_.path() / "clips", {.clip_decoder = folder_.path() / "decoder", .checkpoint = {}}};
  storage::ChunkStore store_{{.folder = folder_.path() / "chunks", .max_bytes = 16ull << 30}};
  storage::WorkerPool encoders_{2};
};

/// Of four seconds each: AUDIOBOOKD_TEST_BOOK_HOURS of them, or 40 minutes.
int paragraphs_of_huge_book() {
  const char* const hours = std::getenv("AUDIOBOOKD_TEST_BOOK_HOURS"); // NOLINT(concurrency-mt-unsafe)
  return hours == nullptr ? 600 : static_cast<int>(900 * std::stod(hours));
}

TEST_F(MemoryTest, AHugeBookNeedsNoMoreThanALongOne) {
#ifdef __SANITIZE_ADDRESS__
  GTEST_SKIP() << "the sanitizer keeps what was freed";
#endif
  const int paragraphs = paragraphs_of_huge_book();
  render({"warm-up"}, 20);
  const std::size_t growth = peak_growth([&] { render({"huge"}, paragraphs); });
  RecordProperty("growth_mib", static_cast<int>(growth / mib));
  RecordProperty("peak_mib", static_cast<int>(memory_bytes("VmHWM") / mib));
  const std::size_t plan = 2048 * static_cast<std::size_t>(paragraphs); // texts, keys, what gates found
  EXPECT_LT(growth, 96 * mib + plan) << "of 40 minutes the audio alone takes 220 MiB";
}

TEST_F(MemoryTest, ThirtyJobsNeedNoMoreThanThoseThatAreOpen) {
#ifdef __SANITIZE_ADDRESS__
  GTEST_SKIP() << "the sanitizer keeps what was freed";
#endif
  render({"warm-up"}, 20);
  std::vector<std::string> ids;
  for (int i = 0; i < 30; ++i) {
    ids.push_back("job-" + std::to_string(i));
  }
  const std::size_t growth = peak_growth([&] { render(ids, 33); });
  RecordProperty("growth_mib", static_cast<int>(growth / mib));
  EXPECT_LT(growth, 224 * mib)
      << "of 8 open jobs each holds three pieces of 30 s at most; the audio of all takes 360 MiB";
}

} // namespace
} // namespace audiobookd::daemon
