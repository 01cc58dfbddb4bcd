// Books of preset acx, read by injected voices through the real writer: what another decoder hears in each file, and
// what the report says of it.
#include "daemon/render_command.h"
#include "tests/daemon/acx_listener.h"
#include "tests/daemon/fakes.h"

#include <map>
#include <mutex>
#include <numbers>
#include <sstream>

namespace audiobookd::daemon {
namespace {

constexpr int rate = 24'000;

/// What is wrong with a voice.
struct Voice {
  double level = 0.08;
  double noise_dbfs = -90; ///< before any gain
  double clipping = 1;     ///< times too loud for full scale
};

/// Syllables of a buzz with pauses between words and quiet edges: about as peaky as speech.
engine::Waveform speak(const std::string& text, const Voice& voice) {
  constexpr double pi = std::numbers::pi;
  engine::Waveform waveform{.samples = std::vector<float>(rate / 2 + 1'400 * text.size())};
  const double seconds = static_cast<double>(waveform.samples.size()) / rate;
  std::uint64_t state = text.size();
  for (std::size_t i = 0; i < waveform.samples.size(); ++i) {
    const double t = static_cast<double>(i) / rate;
    double buzz = 0;
    for (int harmonic = 1; harmonic <= 12; ++harmonic) {
      buzz += std::cos(2 * pi * 110 * harmonic * t + pi * harmonic * harmonic / 12) / harmonic;
    }
    const double syllable = std::pow(std::sin(pi * 3.3 * t), 2) * (0.5 + 0.5 * std::pow(std::sin(pi * 0.37 * t), 2));
    const bool is_pause = t < 0.2 || t > seconds - 0.2 || std::fmod(t, 1.5) > 1.35;
    state = state * 6364136223846793005U + 1442695040888963407U;
    const double noise = (static_cast<double>(state >> 40) / 8388608.0 - 1) * std::sqrt(3.0);
    const double sound = voice.level * buzz * (is_pause ? 0 : syllable) + std::pow(10, voice.noise_dbfs / 20) * noise;
    waveform.samples[i] = static_cast<float>(std::clamp(voice.clipping * sound, -1.0, 1.0));
  }
  return waveform;
}

const char* const tale = "---\ntitle: The Lamp\nauthor: Ann Author, Ben Writer\n---\n"
                         "# One: Dawn\n\nThe road went down to the harbour, past the old mill.\n\nHe went home.\n\n"
                         "* * *\n\nNobody had seen the boat come in, and nobody asked whose it was.\n\n"
                         "# Two\n\nThe sea was calm again, and a line of foam was all that was left of the night.\n\n"
                         "# Three\n\nThe end came with the morning, when the fog had gone and the boats were back.\n";

class AcxBook : public ::testing::Test {
protected:
  AcxBook() {
    options_.input = folder_.write("tale.md", tale);
    options_.output = folder_.path() / "book";
    options_.chunk_store = folder_.path() / "chunks";
    options_.acx.emplace();
  }

  BookReport render() {
    const auto load = [this] {
      auto renderer = std::make_unique<testing::FakeRenderer>();
      renderer->replace = [this](const engine::Utterance& utterance) {
        const std::lock_guard lock(mutex_);
        said_.push_back(utterance.text);
        return std::optional(speak(utterance.text, voice_of_ ? voice_of_(utterance.text) : voice_));
      };
      if (prepare_) {
        prepare_(*renderer);
      }
      return renderer;
    };
    return render_file(options_, load, {out_, out_}, {});
  }
  [[nodiscard]] std::vector<std::string> audio_files() const {
    std::vector<std::string> names = tests::list_names(options_.output);
    std::erase_if(names, [](const std::string& name) { return !name.ends_with(".mp3"); });
    return names;
  }
  [[nodiscard]] nlohmann::json report() const {
    return nlohmann::json::parse(tests::read_file(options_.output / "acx-report.json"));
  }
  [[nodiscard]] std::map<std::string, std::string> content() const {
    std::map<std::string, std::string> files;
    for (const std::string& name : tests::list_names(options_.output)) {
      files[name] = tests::read_file(options_.output / name);
    }
    return files;
  }
  /// Of @p file in the report.
  [[nodiscard]] std::map<std::string, double> measures_of(const std::string& file) const {
    std::map<std::string, double> measures;
    const nlohmann::json whole = report();
    for (const auto& entry : whole.at("files")) {
      for (const auto& measure : entry.at("measures")) {
        if (entry.at("file") == file) {
          measures[measure.at("measure")] = measure.at("value").get<double>();
        }
      }
    }
    return measures;
  }
  [[nodiscard]] static bool names(const std::vector<std::string>& warnings, const std::string& file,
                                  const std::string& measure) {
    return std::ranges::any_of(warnings, [&](const std::string& warning) {
      return warning.starts_with("ACX: " + file) && warning.find(measure) != std::string::npos;
    });
  }

  testing::TemporaryFolder folder_;
  RenderOptions options_;
  Voice voice_;
  std::function<Voice(const std::string& text)> voice_of_;
  std::function<void(testing::FakeRenderer&)> prepare_;
  std::mutex mutex_;
  std::vector<std::string> said_; // protected by mutex_
  std::ostringstream out_;
};

const std::vector<std::string> all_files = {"01 - Opening Credits.mp3", "02 - One - Dawn.mp3", "03 - Two.mp3",
                                            "04 - Three.mp3", "05 - Closing Credits.mp3"};

TEST_F(AcxBook, EveryFileMeetsTheNumbersInTheEarsOfAnotherDecoder) {
  for (const double level : {0.04, 0.08, 0.25}) {
    voice_.level = level;
    options_.chunk_store = folder_.path() / ("chunks" + std::to_string(level));
    options_.replace = true;
    const BookReport book = render();
    EXPECT_EQ(audio_files(), all_files);
    for (const std::string& name : audio_files()) {
      testing::expect_meets_acx(testing::listen_to(options_.output / name), name);
    }
    ASSERT_TRUE(book.acx.has_value());
    EXPECT_TRUE(book.acx->passes()) << tests::read_file(options_.output / "acx-report.txt");
    EXPECT_EQ(nlohmann::json::parse(book.to_json()).at("acx"),
              (nlohmann::json{{"pass", true}, {"files", 5}, {"failed", nlohmann::json::array()}}));
  }
}

TEST_F(AcxBook, TheReportSaysWhatAnotherDecoderHears) {
  render();
  for (const std::string& name : audio_files()) {
    const testing::Heard heard = testing::listen_to(options_.output / name);
    auto said = measures_of(name);
    EXPECT_NEAR(said.at("rms_dbfs"), heard.rms_db, 0.01) << name;
    EXPECT_NEAR(said.at("peak_dbfs"), heard.peak_db, 0.01) << name;
    EXPECT_NEAR(said.at("true_peak_dbtp"), heard.true_peak_db, 0.3) << name;
    EXPECT_NEAR(said.at("noise_floor_dbfs"), heard.noise_floor_db, 0.5) << name;
    EXPECT_NEAR(said.at("seconds"), heard.seconds, 0.0001) << name;
    EXPECT_NEAR(said.at("head_seconds"), heard.head_s, 0.05) << name;
    EXPECT_NEAR(said.at("tail_seconds"), heard.tail_s, 0.05) << name;
    EXPECT_EQ(said.at("bitrate_kbps"), 192) << name;
  }
  EXPECT_TRUE(report().at("pass").get<bool>());
  const std::string text = tests::read_file(options_.output / "acx-report.txt");
  EXPECT_TRUE(text.starts_with("ACX report of \"The Lamp\": PASS\n")) << text;
  EXPECT_NE(text.find("take no synthetic narration without an agreement"), std::string::npos);
}

TEST_F(AcxBook, CreditsAreItsFirstAndLastChapterAndSayThatTheVoiceIsSynthetic) {
  options_.metadata.subtitle = "A Tale";
  const BookReport book = render();
  EXPECT_EQ(book.chapters, 5U);
  const auto was_said = [&](const std::string& text) {
    return std::ranges::any_of(said_, [&](const std::string& one) { return one.find(text) != std::string::npos; });
  };
  EXPECT_TRUE(was_said("The Lamp. A Tale. Written by Ann Author and Ben Writer. Narrated by a synthetic voice."));
  EXPECT_TRUE(was_said("You have been listening to The Lamp. Written by Ann Author and Ben Writer. Narrated by a "
                       "synthetic voice. The end."));
  options_.metadata.narrator = "Anna";
  options_.acx->closing = "This was {title}, read by {narrator}. {series}.";
  options_.replace = true;
  render();
  EXPECT_TRUE(was_said("Narrated by Anna, a synthetic voice."));
  EXPECT_TRUE(was_said("This was The Lamp, read by Anna, a synthetic voice."));
}

TEST_F(AcxBook, ABookWithoutAnAuthorSaysSoInItsWarnings) {
  options_.input = folder_.write("plain.txt", "The sea was calm again.\n");
  const BookReport book = render();
  EXPECT_TRUE(std::ranges::any_of(book.warnings, [](const std::string& warning) {
    return warning.find("author is not known") != std::string::npos;
  }));
  EXPECT_TRUE(book.acx->passes());
}

TEST_F(AcxBook, OnlyAChapterThatIsTooQuietGetsAnotherGain) {
  voice_of_ = [](const std::string& text) {
    return text.find("sea was calm again") != std::string::npos || text == "Two" ? Voice{.level = 0.06}
                                                                                 : Voice{.level = 0.16};
  };
  const BookReport book = render();
  EXPECT_TRUE(book.acx->passes()) << tests::read_file(options_.output / "acx-report.txt");
  EXPECT_TRUE(book.encoded_again);
  const auto& files = book.acx->files;
  ASSERT_EQ(files.size(), 5U);
  EXPECT_GT(files[2].encodings, 1);
  EXPECT_GT(files[2].gain_db, files[1].gain_db + 4);
  EXPECT_EQ(files[1].encodings, 1);
  EXPECT_EQ(files[1].gain_db, files[3].gain_db);
  for (const std::string& name : audio_files()) {
    testing::expect_meets_acx(testing::listen_to(options_.output / name), name);
  }
}

TEST_F(AcxBook, TheSameBookIsTheSameBytesAlsoAfterAnInterruption) {
  voice_of_ = [](const std::string& text) { // something is encoded twice
    return text.find("sea was calm again") != std::string::npos ? Voice{.level = 0.03} : Voice{};
  };
  render();
  const auto whole = content();
  options_.output = folder_.path() / "again";
  options_.chunk_store = folder_.path() / "other-chunks";
  prepare_ = [](testing::FakeRenderer& renderer) { renderer.deliveries_before_device_fault = 6; };
  EXPECT_THROW(render(), std::exception);
  prepare_ = {};
  render();
  EXPECT_TRUE(content() == whole);
}

TEST_F(AcxBook, NothingJumpsWhereRoomToneAndVoiceMeet) {
  render();
  const auto samples = tests::ffmpeg_samples(options_.output / "02 - One - Dawn.mp3");
  // outside of the voice: where it is below -55 dB for 150 ms
  const std::size_t window = 44'100 / 20;
  float largest = 0;
  std::size_t looked_at = 0;
  const auto is_quiet = [&](std::size_t begin) {
    return testing::rms_db(std::span(samples).subspan(begin, window)) < -55;
  };
  for (std::size_t begin = window; begin + 2 * window < samples.size(); begin += window) {
    const auto part = std::span(samples).subspan(begin, window);
    if (is_quiet(begin - window) && is_quiet(begin) && is_quiet(begin + window)) {
      for (std::size_t i = 1; i < part.size(); ++i) {
        largest = std::max(largest, std::abs(part[i] - part[i - 1]));
        ++looked_at;
      }
    }
  }
  EXPECT_GT(looked_at, 3U * 44'100) << "head, pauses and tail";
  EXPECT_LT(largest, 0.01F);
  EXPECT_GT(largest, 0) << "no digital silence";
}

TEST_F(AcxBook, ANoisyVoiceFailsAndIsNamedWithItsNumber) {
  voice_.noise_dbfs = -62; // the voice is made louder
  const BookReport book = render();
  EXPECT_FALSE(book.acx->passes());
  EXPECT_FALSE(report().at("pass").get<bool>());
  EXPECT_TRUE(names(book.warnings, "02 - One - Dawn.mp3", "voice_noise_dbfs")) << book.to_json();
  const auto result = nlohmann::json::parse(book.to_json()).at("acx");
  EXPECT_FALSE(result.at("pass").get<bool>());
  EXPECT_EQ(result.at("failed").at(0).at("measure"), "voice_noise_dbfs");
  EXPECT_EQ(result.at("failed").at(0).at("most"), -60);
  EXPECT_TRUE(tests::read_file(options_.output / "acx-report.txt").starts_with("ACX report of \"The Lamp\": FAIL\n"));
  EXPECT_LT(measures_of("02 - One - Dawn.mp3").at("noise_floor_dbfs"), -60) << "which only knows the room tone";
}

TEST_F(AcxBook, AClippedVoiceFailsAndIsNamedWithItsNumber) {
  voice_.clipping = 20;
  const BookReport book = render();
  EXPECT_FALSE(book.acx->passes());
  EXPECT_TRUE(names(book.warnings, "02 - One - Dawn.mp3", "clipped_share")) << book.to_json();
  EXPECT_LE(measures_of("02 - One - Dawn.mp3").at("peak_dbfs"), -3) << "the limiter hides what it was";
}

TEST_F(AcxBook, ASilentVoiceFails) {
  voice_.level = 0;
  voice_.noise_dbfs = -200;
  const BookReport book = render();
  EXPECT_FALSE(book.acx->passes());
  EXPECT_TRUE(names(book.warnings, "03 - Two.mp3", "rms_dbfs")) << book.to_json();
}

TEST_F(AcxBook, SubtitlesComeAfterTheRoomTone) {
  options_.shape.subtitles = true;
  render();
  const std::string vtt = tests::read_file(options_.output / "03 - Two.vtt");
  EXPECT_NE(vtt.find("00:00:00.750 --> "), std::string::npos) << vtt;
}

TEST_F(AcxBook, AChapterThatIsEncodedAgainIsListedOnce) {
  options_.shape.listing = true;
  voice_of_ = [](const std::string& text) {
    return text.find("sea was calm again") != std::string::npos || text == "Two" ? Voice{.level = 0.06}
                                                                                 : Voice{.level = 0.16};
  };
  const BookReport book = render();
  ASSERT_TRUE(book.encoded_again);
  const std::string name = options_.output / listing_file;
  const BookListing listing = parse_listing(tests::read_file(name), name);
  std::map<std::string, double> ends; // of each file's latest utterance
  for (const ListedUtterance& utterance : listing.utterances) {
    const auto [end, is_first] = ends.emplace(utterance.file, 0);
    EXPECT_EQ(is_first, utterance.start_s == AcxAims::head_s) << utterance.number;
    EXPECT_GE(utterance.start_s, end->second) << utterance.number;
    end->second = utterance.end_s;
  }
  EXPECT_EQ(ends.size(), all_files.size());
  EXPECT_EQ(listing.utterances.size(), book.utterances);
}

TEST_F(AcxBook, WhatContradictsThePresetIsNamed) {
  const auto complaint = [&] {
    try {
      render();
      return std::string("rendered");
    } catch (const std::exception& error) {
      return std::string(error.what());
    }
  };
  options_.format.bitrate_kbps = 128;
  EXPECT_NE(complaint().find("bitrate_kbps 128 contradicts the preset acx; valid: 192"), std::string::npos);
  options_.format = {.codec = storage::Codec::flac};
  EXPECT_NE(complaint().find("codec flac contradicts the preset acx"), std::string::npos);
  options_.format = {.sample_rate = 48'000};
  EXPECT_NE(complaint().find("sample_rate 48000 contradicts the preset acx"), std::string::npos);
  options_.format = {.vbr_quality = 2};
  EXPECT_NE(complaint().find("vbr_quality 2 contradicts the preset acx"), std::string::npos);
  options_.format = {};
  options_.output = folder_.path() / "book.mp3";
  EXPECT_NE(complaint().find("--preset acx make a folder"), std::string::npos);
  options_.output = folder_.path() / "book";
  options_.format.bitrate_kbps = 256;
  EXPECT_EQ(complaint(), "rendered");
  EXPECT_EQ(testing::listen_to(options_.output / "03 - Two.mp3").bitrate, 256'000);
}

} // namespace
} // namespace audiobookd::daemon
