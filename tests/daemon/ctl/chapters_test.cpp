// `audiobookctl chapters`: what it lists, estimates and refuses.
#include "daemon/config.h"
#include "daemon/ctl/chapters_command.h"
#include "daemon/ctl/completion.h"
#include "tests/daemon/ctl/ctl_fixture.h"

#include <cmath>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>
#include <sstream>

namespace audiobookd::engine {
int predict_speech_tokens(std::string_view text); // of chatterbox_engine.h, which carries libtorch's types
} // namespace audiobookd::engine

namespace audiobookd::daemon {
namespace {

constexpr const char* book =
    "---\ntitle: A Tale\nauthor: Ann Author\nseries: Coast\nseries_index: 2\n---\nFor you.\n\n"
    "# One\n\nIt was a dark night.\n\n# Two\n\nThen it was light again.\n\n* * *\n\nThe end.\n";

bool contains(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

class CtlChapters : public ::testing::Test {
protected:
  testing::Ran run(std::vector<std::string> words, const std::string& file = "tale.md",
                   const std::string& text = book) {
    words.insert(words.begin(), {"chapters", folder_.write(file, text).string()});
    std::ostringstream out;
    std::ostringstream err;
    CLI::App app("", "audiobookctl");
    ChaptersCommand command(out);
    command.describe(app);
    const ExitStatus status = run_guarded(
        [&] {
          try {
            app.parse(std::vector<std::string>(words.rbegin(), words.rend())); // CLI11 takes them from the back
          } catch (const CLI::ParseError& error) {
            return app.exit(error, out, err) == 0 ? ExitStatus::done : ExitStatus::wrong_usage;
          }
          return command.run().value();
        },
        err);
    return {static_cast<int>(status), out.str(), err.str()};
  }

  testing::TemporaryFolder folder_;
};

TEST_F(CtlChapters, ListsWhatWouldBeRead) {
  const testing::Ran ran = run({"--times-real-time", "100"});
  EXPECT_EQ(ran.status, 0) << ran.err;
  for (const char* line : {"title     A Tale\n", "author    Ann Author\n", "series    Coast, 2\n", "cover     none\n",
                           "    1        2      0:03  A Tale\n", "    2        6 ", "  One\n", "  Two\n"}) {
    EXPECT_TRUE(contains(ran.out, line)) << line << "is not in\n" << ran.out;
  }
  EXPECT_TRUE(contains(ran.out, "3 chapters, 16 words, about 0:1")) << ran.out;
  EXPECT_TRUE(contains(ran.out, " s of a GPU at 100 × real time\n")) << ran.out;
  EXPECT_FALSE(contains(ran.out, "price")) << "no word of money";
}

TEST_F(CtlChapters, PrintsJson) {
  const testing::Ran ran = run({"--json", "--times-real-time", "10", "--price-per-gpu-hour", "3.6"});
  const nlohmann::json json = ran.json();
  EXPECT_EQ(json["title"], "A Tale");
  EXPECT_EQ(json["series_index"], "2");
  EXPECT_TRUE(json["cover"].is_null());
  ASSERT_EQ(json["chapters"].size(), 3u);
  EXPECT_EQ(json["chapters"][1]["number"], 2);
  EXPECT_EQ(json["chapters"][1]["title"], "One");
  EXPECT_EQ(json["chapters"][1]["words"], 6);
  EXPECT_EQ(json["chapters"][1]["characters"], 23);
  EXPECT_NEAR(json["gpu_seconds"].get<double>(), json["seconds"].get<double>() / 10, 1e-9);
  EXPECT_NEAR(json["price"].get<double>(), json["gpu_seconds"].get<double>() / 1000, 1e-9);
}

TEST_F(CtlChapters, DurationsAreThoseThatTheEnginePredictsAndTheDefaultPauses) {
  const jobs::Document document = jobs::parse_document(book, "tale.md");
  const jobs::Pauses pauses;
  const auto speech = [](const char* text) { return engine::predict_speech_tokens(text) / 25.0; };
  const auto chapters = estimate_chapters(document);
  constexpr double rounding = 3 / 25.0; // the engine counts whole tokens
  EXPECT_NEAR(chapters.at(1).seconds,
              speech("One") - (8 - 1.55 * 3) / 25.0 + speech("It was a dark night.") + pauses.paragraph_s +
                  pauses.chapter_s,
              rounding)
      << "the engine gives a word as short as this a third of a second";
  EXPECT_NEAR(chapters.at(2).seconds,
              1.55 * 3 / 25.0 + speech("Then it was light again.") + speech("The end.") + pauses.paragraph_s +
                  pauses.scene_s + pauses.chapter_s,
              rounding);
}

TEST_F(CtlChapters, AChoiceKeepsTheNumbersOfTheWholeBook) {
  const nlohmann::json json = run({"--json", "--only", "1,3"}).json();
  ASSERT_EQ(json["chapters"].size(), 2u);
  EXPECT_EQ(json["chapters"][0]["title"], "A Tale");
  EXPECT_EQ(json["chapters"][1]["number"], 3);
  EXPECT_EQ(json["words"], 10);
}

TEST_F(CtlChapters, TheConfigurationSaysHowFastTheGpuIsAndWhatItCosts) {
  const std::string config =
      folder_.write("a.toml", "[estimate]\ntimes_real_time = 50\nprice_per_gpu_hour = 2\n").string();
  const nlohmann::json json = run({"--json", "--config", config}).json();
  EXPECT_EQ(json["times_real_time"], 50);
  EXPECT_NEAR(json["price"].get<double>(), json["gpu_seconds"].get<double>() / 1800, 1e-9);
  EXPECT_EQ(run({"--json", "--config", config, "--times-real-time", "60"}).json()["times_real_time"], 60);
  const testing::Ran wrong = run({"--config", folder_.write("b.toml", "[estimate]\nspeed = 5\n").string()});
  EXPECT_NE(wrong.status, 0);
  EXPECT_TRUE(contains(wrong.err, "estimate.speed")) << wrong.err;
}

TEST_F(CtlChapters, WarningsAreSaidAndTitlesCannotSteerATerminal) {
  const testing::Ran ran = run({}, "tale.html", "<title>A &#x202e;tale</title><p>caf\xe9</p><pre class=code>x</pre>");
  EXPECT_TRUE(contains(ran.out, "warning: ")) << ran.out;
  EXPECT_TRUE(contains(ran.out, "1 block of source code was left out")) << ran.out;
  EXPECT_FALSE(contains(ran.out, "\xe2\x80\xae"));
}

TEST_F(CtlChapters, MistakesAreNamed) {
  const auto expect = [&](const testing::Ran& ran, int status, const std::string& message) {
    EXPECT_EQ(ran.status, status) << ran.err;
    EXPECT_TRUE(contains(ran.err, message)) << ran.err;
  };
  expect(run({"--only", "4"}), 1, "chapters: 4 does not exist, the book has 3 chapters");
  expect(run({"--only", "x"}), 2, "\"x\" is not a list of chapters");
  expect(run({}, "tale.pdf", "%PDF-1.7"), 1, "documents of type \".pdf\" are not supported; supported are .txt");
  expect(run({}, "tale.epub", "PK\x03\x04..."), 1, "not a complete ZIP archive");
  expect(run({"--times-real-time", "0"}), 2, "--times-real-time");
}

TEST_F(CtlChapters, TheRealProgramKnowsTheCommand) {
  testing::CtlProcess program({"chapters", folder_.write("tale.md", book).string(), "--json"});
  const testing::Ran ran = program.wait();
  EXPECT_EQ(ran.status, 0) << ran.err;
  EXPECT_EQ(ran.json()["chapters"].size(), 3u);
  testing::CtlProcess missing({"chapters", (folder_.path() / "none.md").string()});
  const testing::Ran refused = missing.wait();
  EXPECT_EQ(refused.status, 1);
  EXPECT_TRUE(contains(refused.err, "none.md': No such file or directory")) << refused.err;
  testing::CtlProcess folder({"chapters", folder_.path().string()});
  EXPECT_TRUE(contains(folder.wait().err, "is a folder"));
  testing::CtlProcess completion({"completion", "bash"});
  EXPECT_TRUE(contains(completion.wait().out, "/chapters"));
}

} // namespace
} // namespace audiobookd::daemon
