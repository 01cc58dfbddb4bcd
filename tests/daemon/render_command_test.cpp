// `audiobookd render` without its main(): a book to a file.
#include "daemon/errors.h"
#include "daemon/progress_bar.h"
#include "daemon/render_command.h"
#include "tests/daemon/fakes.h"

#include <algorithm>
#include <gtest/gtest.h>
#include <sstream>
#include <utility>
#include <vector>

namespace audiobookd::daemon {
namespace {

using namespace std::chrono_literals;

class RenderCommandTest : public ::testing::Test {
protected:
  RenderCommandTest() {
    options_.input = folder_.write("book.txt", testing::sample_text(30));
    options_.output = folder_.path() / "book.mp3";
    options_.chunk_store = folder_.path() / "chunks";
  }

  BookReport render(std::stop_token stop = {}) {
    const auto load = [this] {
      auto renderer = std::make_unique<testing::FakeRenderer>();
      if (prepare_) {
        prepare_(*renderer);
      }
      return renderer;
    };
    return render_file(options_, load, {out_, status_}, stop);
  }

  testing::TemporaryFolder folder_;
  RenderOptions options_;
  std::function<void(testing::FakeRenderer&)> prepare_;
  std::ostringstream out_;
  std::ostringstream status_;
};

TEST_F(RenderCommandTest, ASecondRunReusesEverythingAndGivesTheSameBytes) {
  const BookReport first = render();
  const std::string bytes = testing::read_file(options_.output);
  EXPECT_EQ(first.rendered, first.utterances);
  options_.replace = true;
  EXPECT_EQ(render().rendered, 0u);
  EXPECT_TRUE(testing::read_file(options_.output) == bytes);
}

TEST_F(RenderCommandTest, OnlyTheChosenChaptersAreRead) {
  options_.input =
      folder_.write("tale.md", "# One\n\nAlpha beta.\n\n# Two\n\nGamma delta epsilon.\n\n# Three\n\nZeta.\n");
  options_.only = "2-3";
  const BookReport report = render();
  EXPECT_EQ(report.chapters, 2u);
  EXPECT_EQ(report.words, 6u);
  options_.replace = true;
  options_.only = "2-4";
  try {
    render();
    FAIL() << "there is no fourth chapter";
  } catch (const jobs::DocumentError& error) {
    EXPECT_STREQ(error.what(), "chapters: 4 does not exist, the book has 3 chapters");
  }
}

TEST_F(RenderCommandTest, AnEpubBecomesAnMp3WithItsChaptersTitleAndAuthors) {
  for (const char* name : {"pandoc-3.epub", "pandoc-2.epub"}) {
    options_.input = std::filesystem::path(AUDIOBOOKD_SOURCE_DIR "/tests/data/documents") / name;
    options_.output = folder_.path() / (std::string(name) + ".mp3");
    EXPECT_EQ(render().chapters, 3u);
    const std::string mp3 = testing::read_file(options_.output);
    for (const char* text :
         {"CTOC", "Chapter 1: Light", "Chapter 2", "The Lamp at Greyholm", "Ann Author, Ben Writer"}) {
      EXPECT_NE(mp3.find(text), std::string::npos) << text << " is not in the MP3 of " << name;
    }
  }
}

TEST_F(RenderCommandTest, AnOutputThatExistsIsAnErrorThatNamesForce) {
  folder_.write("book.mp3", "precious");
  try {
    render();
    FAIL() << "the output was replaced";
  } catch (const std::runtime_error& error) {
    EXPECT_NE(std::string(error.what()).find("--force"), std::string::npos) << error.what();
  }
  EXPECT_EQ(testing::read_file(options_.output), "precious");
}

TEST_F(RenderCommandTest, AnInterruptionKeepsWhatIsFinishedAndPublishesNothing) {
  std::stop_source stop;
  std::vector<std::string> rendered;
  prepare_ = [&](testing::FakeRenderer& renderer) {
    renderer.replace = [&](const engine::Utterance& utterance) -> std::optional<engine::Waveform> {
      rendered.push_back(utterance.text);
      if (rendered.size() == 9) {
        stop.request_stop();
      }
      return std::nullopt;
    };
  };
  EXPECT_THROW(render(stop.get_token()), Interrupted);
  EXPECT_FALSE(std::filesystem::exists(options_.output));
  const std::vector<std::string> kept = std::exchange(rendered, {});
  EXPECT_GE(kept.size(), 9u);
  render();
  EXPECT_FALSE(rendered.empty());
  for (const std::string& text : kept) {
    EXPECT_EQ(std::ranges::count(rendered, text), 0) << text << " was rendered twice";
  }
}

TEST_F(RenderCommandTest, AFailedDeviceIsReportedAsWhatItIs) {
  prepare_ = [](testing::FakeRenderer& renderer) { renderer.deliveries_before_device_fault = 3; };
  try {
    render();
    FAIL() << "it did not fail";
  } catch (const std::runtime_error& error) {
    EXPECT_STREQ(error.what(), "the device is gone");
  }
}

TEST_F(RenderCommandTest, TheSummaryNamesCountsAndStages) {
  const std::string text = summarise(render());
  for (const char* part :
       {"words", "rendered", "reused", "x real time", "prefill", "decode", "encoder", "CFM", "vocoder", "encode"}) {
    EXPECT_NE(text.find(part), std::string::npos) << part;
  }
}

TEST(ProgressBar, WithoutATerminalThereIsOneLineForEachTenth) {
  std::ostringstream out;
  const auto start = ProgressBar::Clock::now();
  ProgressBar bar(out, false, start);
  bar.show(0, 0, start);
  bar.show(0.05, 3, start + 5s);
  bar.show(0.25, 15, start + 10s);
  bar.show(0.26, 16, start + 11s);
  bar.show(1, 60, start + 20s);
  bar.finish();
  EXPECT_EQ(out.str(), "  0 %  0:00 elapsed  0.0 x real time  ? left\n"
                       " 25 %  0:10 elapsed  1.5 x real time  0:30 left\n"
                       "100 %  0:20 elapsed  3.0 x real time  0:00 left\n");
}

TEST(ProgressBar, OnATerminalTheLineIsDrawnAgain) {
  std::ostringstream out;
  const auto start = ProgressBar::Clock::now();
  ProgressBar bar(out, true, start);
  bar.show(0.5, 0, start);
  bar.finish();
  EXPECT_TRUE(out.str().starts_with("\r[###############...............]  50 %")) << out.str();
  EXPECT_TRUE(out.str().ends_with("\x1b[K\n"));
}

TEST(ProgressBar, DurationsHaveHoursWhereNeeded) {
  EXPECT_EQ(format_duration(0), "0:00");
  EXPECT_EQ(format_duration(3599.4), "59:59");
  EXPECT_EQ(format_duration(3723), "1:02:03");
}

} // namespace
} // namespace audiobookd::daemon
