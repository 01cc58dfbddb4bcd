// Books in several files: what is in the folder, what independent readers (mutagen, ffprobe, ffmpeg) see in it, and
// whether what is heard comes when chapters and subtitles say.
#include "daemon/book_description.h"
#include "daemon/book_output.h"
#include "daemon/errors.h"
#include "daemon/render_command.h"
#include "daemon/subtitles.h"
#include "storage/local_storage.h"
#include "tests/daemon/fakes.h"
#include "tests/storage/ffmpeg.h"

#include <cmath>
#include <gtest/gtest.h>
#include <map>
#include <nlohmann/json.hpp>
#include <numbers>
#include <regex>
#include <sstream>

namespace audiobookd::daemon {
namespace {

constexpr int rate = 24'000;
constexpr double tolerance_s = 0.05;

/// A tone from the first sample to the last, so long as @p text says.
engine::Waveform burst(const std::string& text) {
  engine::Waveform waveform{.samples = std::vector<float>(rate / 2 + 240 * (text.size() % 40))};
  for (std::size_t i = 0; i < waveform.samples.size(); ++i) {
    waveform.samples[i] =
        0.3F * static_cast<float>(std::sin(2 * std::numbers::pi * 440 * static_cast<double>(i) / rate));
  }
  return waveform;
}

struct Sound {
  double begin_s = 0;
  double end_s = 0;
};

/// The bursts in @p samples: sound between silences of 100 ms and more.
std::vector<Sound> bursts_in(const std::vector<float>& samples) {
  constexpr double gap_s = 0.1;
  std::vector<Sound> sounds;
  for (std::size_t i = 0; i < samples.size(); ++i) {
    if (std::abs(samples[i]) < 0.05F) {
      continue;
    }
    const double now = static_cast<double>(i) / rate;
    if (sounds.empty() || now - sounds.back().end_s > gap_s) {
      sounds.push_back({now, now});
    }
    sounds.back().end_s = now;
  }
  return sounds;
}

struct ReadCue {
  double begin_s = 0;
  double end_s = 0;
  std::string text;
};

/// A reader of WebVTT that knows what the standard asks for.
std::vector<ReadCue> read_vtt(const std::filesystem::path& file) {
  std::istringstream lines(tests::read_file(file));
  std::string line;
  std::getline(lines, line);
  EXPECT_EQ(line, "WEBVTT");
  const std::regex timing(R"((\d\d+):([0-5]\d):([0-5]\d\.\d\d\d) --> (\d\d+):([0-5]\d):([0-5]\d\.\d\d\d))");
  std::vector<ReadCue> cues;
  while (std::getline(lines, line)) {
    std::smatch match;
    if (std::regex_match(line, match, timing)) {
      const auto seconds = [&](int i) {
        return 3600 * std::stod(match[i]) + 60 * std::stod(match[i + 1]) + std::stod(match[i + 2]);
      };
      ReadCue cue{seconds(1), seconds(4), ""};
      std::getline(lines, cue.text);
      cues.push_back(cue);
    }
  }
  return cues;
}

nlohmann::json mutagen(const std::filesystem::path& file) {
  return nlohmann::json::parse(tests::output_of(
      "/usr/bin/python3 " AUDIOBOOKD_SOURCE_DIR "/tests/daemon/mutagen_tags.py '" + file.string() + "'"));
}

const char* const tale =
    "---\ntitle: The Lamp\nauthor: Ann Author, Ben Writer, Jr.\nseries: Coast\nseries_index: 2\n---\n"
    "# One: Dawn\n\nDr. Lee paid $5 on 3 March 1912. Nobody < nothing & all.\n\nHe went home.\n\n"
    "# Two/Noon\n\nThe sea was calm again.\n\n# Three?\n\nThe end came at 9:30.\n";

class BookFolderTest : public ::testing::Test {
protected:
  BookFolderTest() {
    options_.input = folder_.write("tale.md", tale);
    options_.output = folder_.path() / "book";
    options_.chunk_store = folder_.path() / "chunks";
    options_.loudness.reset();
  }

  BookReport render() {
    const auto load = [this] {
      auto renderer = std::make_unique<testing::FakeRenderer>();
      renderer->replace = [this](const engine::Utterance& utterance) {
        engine::Waveform waveform = burst(utterance.text);
        for (float& sample : waveform.samples) {
          sample *= amplitude_(utterance.text);
        }
        return std::optional(std::move(waveform));
      };
      if (prepare_) {
        prepare_(*renderer);
      }
      return renderer;
    };
    return render_file(options_, load, {out_, out_}, {});
  }
  [[nodiscard]] std::vector<std::string> names() const { return tests::list_names(options_.output); }
  [[nodiscard]] nlohmann::json metadata() const {
    return nlohmann::json::parse(tests::read_file(options_.output / "metadata.json"));
  }
  [[nodiscard]] std::map<std::string, std::string> content() const {
    std::map<std::string, std::string> files;
    for (const std::string& name : names()) {
      files[name] = tests::read_file(options_.output / name);
    }
    return files;
  }
  std::string complaint() {
    try {
      render();
      return "rendered";
    } catch (const std::exception& error) {
      return error.what();
    }
  }

  testing::TemporaryFolder folder_;
  RenderOptions options_;
  std::function<float(const std::string& text)> amplitude_ = [](const std::string&) { return 1.0F; };
  std::function<void(testing::FakeRenderer&)> prepare_;
  std::ostringstream out_;
};

TEST_F(BookFolderTest, AChapterAFileIsTheSameSoundAsOneFile) {
  options_.output = folder_.path() / "book.mp3";
  const BookReport single = render();
  const std::vector<float> whole = tests::ffmpeg_samples(options_.output);
  options_.output = folder_.path() / "book";
  options_.shape.split_chapters = true;
  const BookReport split = render();
  EXPECT_EQ(split.rendered, 0U);
  EXPECT_EQ(names(),
            (std::vector<std::string>{"01 - One - Dawn.mp3", "02 - Two-Noon.mp3", "03 - Three.mp3", "metadata.json"}));
  EXPECT_NEAR(split.audio_seconds, single.audio_seconds, 1e-9);
  std::size_t samples = 0;
  for (const BookFile& file : split.files) {
    const std::size_t of_file = tests::ffmpeg_samples(options_.output / file.name).size();
    EXPECT_NEAR(file.seconds, static_cast<double>(of_file) / rate, 1e-3);
    EXPECT_EQ(file.bytes, std::filesystem::file_size(options_.output / file.name));
    samples += of_file;
  }
  EXPECT_EQ(samples, whole.size());
  EXPECT_NEAR(split.levels.rms_dbfs(), single.levels.rms_dbfs(), 0.01) << "measured over all files";
}

TEST_F(BookFolderTest, MutagenReadsWhatEachFileIs) {
  options_.shape.split_chapters = true;
  options_.metadata = {.narrator = "Anna", .genre = "Fiction"};
  render();
  const char* titles[] = {"One: Dawn", "Two/Noon", "Three?"};
  const char* files[] = {"01 - One - Dawn.mp3", "02 - Two-Noon.mp3", "03 - Three.mp3"};
  for (int i = 0; i < 3; ++i) {
    const nlohmann::json seen = mutagen(options_.output / files[i]);
    const nlohmann::json& frames = seen.at("frames");
    EXPECT_EQ(frames.at("TIT2"), titles[i]);
    EXPECT_EQ(frames.at("TALB"), "The Lamp");
    EXPECT_EQ(frames.at("TRCK"), std::to_string(i + 1) + "/3");
    EXPECT_EQ(frames.at("TPE1"), "Ann Author, Ben Writer, Jr.");
    EXPECT_EQ(frames.at("TPE2"), "Ann Author, Ben Writer, Jr.");
    EXPECT_EQ(frames.at("TCOM"), "Anna");
    EXPECT_EQ(frames.at("TCON"), "Fiction");
    EXPECT_NE(frames.at("TXXX:DISCLOSURE").get<std::string>().find("voice default"), std::string::npos)
        << "the voice, whatever the narrator is called";
    EXPECT_TRUE(seen.at("chapters").empty());
  }
}

TEST_F(BookFolderTest, ChaptersOfOneFileBeginWhereTheyAreHeard) {
  options_.output = folder_.path() / "book.mp3";
  render();
  const std::vector<Sound> heard = bursts_in(tests::ffmpeg_samples(options_.output));
  const nlohmann::json by_mutagen = mutagen(options_.output).at("chapters");
  const nlohmann::json by_ffprobe = nlohmann::json::parse(tests::ffprobe(options_.output)).at("chapters");
  // utterances: heading and two paragraphs; heading and one; heading and one
  const std::size_t first_of_chapter[] = {0, heard.size() - 4, heard.size() - 2};
  ASSERT_EQ(by_mutagen.size(), 3U);
  ASSERT_EQ(by_ffprobe.size(), 3U);
  for (std::size_t i = 0; i < 3; ++i) {
    const double begin = heard.at(first_of_chapter[i]).begin_s;
    EXPECT_NEAR(by_mutagen[i].at("start").get<double>(), begin, tolerance_s);
    EXPECT_NEAR(std::stod(by_ffprobe[i].at("start_time").get<std::string>()), begin, tolerance_s);
  }
}

TEST_F(BookFolderTest, SubtitlesComeWithTheSoundAndSayWhatIsWritten) {
  options_.shape.subtitles = true;
  for (const bool split : {false, true}) {
    options_.shape.split_chapters = split;
    options_.replace = true;
    render();
    std::string text;
    for (const std::string& name : names()) {
      if (!name.ends_with(".mp3")) {
        continue;
      }
      const std::filesystem::path mp3 = options_.output / name;
      const std::vector<Sound> heard = bursts_in(tests::ffmpeg_samples(mp3));
      const std::vector<ReadCue> cues = read_vtt(std::filesystem::path(mp3).replace_extension(".vtt"));
      ASSERT_EQ(cues.size(), heard.size());
      ASSERT_FALSE(cues.empty());
      for (std::size_t i = 0; i < cues.size(); ++i) {
        EXPECT_NEAR(cues[i].begin_s, heard[i].begin_s, tolerance_s) << cues[i].text;
        EXPECT_NEAR(cues[i].end_s, heard[i].end_s, tolerance_s) << cues[i].text;
        text += cues[i].text + "|";
      }
    }
    EXPECT_EQ(text.find("dollars"), std::string::npos) << "that is how it is said";
    EXPECT_NE(text.find("Dr. Lee paid $5 on 3 March 1912."), std::string::npos) << text;
    EXPECT_NE(text.find("Nobody &lt; nothing &amp; all."), std::string::npos) << text;
    EXPECT_NE(text.find("The end came at 9:30.|"), std::string::npos) << text;
    // ffprobe takes it for what it is
    const auto vtt = options_.output / (split ? "03 - Three.vtt" : "The Lamp.vtt");
    EXPECT_NE(tests::ffprobe(vtt).find("\"codec_name\": \"webvtt\""), std::string::npos);
  }
}

TEST_F(BookFolderTest, AnAudiobookshelfFolderHasOneFileItsCoverAndItsMetadata) {
  options_.input = AUDIOBOOKD_SOURCE_DIR "/tests/data/documents/pandoc-3.epub";
  options_.shape.audiobookshelf = true;
  options_.metadata = {.subtitle = "A tale", .isbn = "978-0-00-000000-2", .asin = "B00ABCDEFG"};
  const BookReport report = render();
  EXPECT_EQ(names(), (std::vector<std::string>{"The Lamp at Greyholm.mp3", "cover.png", "metadata.json"}));
  const nlohmann::json book = metadata();
  EXPECT_EQ(book.at("title"), "The Lamp at Greyholm");
  EXPECT_EQ(book.at("subtitle"), "A tale");
  EXPECT_EQ(book.at("authors"), (nlohmann::json{"Ann Author", "Ben Writer"}));
  EXPECT_EQ(book.at("narrators"), nlohmann::json{"default"});
  EXPECT_EQ(book.at("series"), nlohmann::json{"Coast #2"});
  EXPECT_EQ(book.at("publisher"), "Shore Press");
  EXPECT_EQ(book.at("publishedYear"), "2021");
  EXPECT_EQ(book.at("isbn"), "9780000000002");
  EXPECT_EQ(book.at("asin"), "B00ABCDEFG");
  EXPECT_EQ(book.at("language"), "en");
  EXPECT_EQ(book.at("explicit"), false);
  const nlohmann::json& chapters = book.at("chapters");
  ASSERT_EQ(chapters.size(), 3U);
  EXPECT_EQ(chapters[1].at("title"), "Chapter 1: Light");
  EXPECT_EQ(chapters[1].at("id"), 1);
  EXPECT_EQ(chapters[0].at("end"), chapters[1].at("start"));
  EXPECT_NEAR(chapters[2].at("end").get<double>(), report.audio_seconds, 0.001);
  ASSERT_EQ(book.at("files").size(), 2U);
  EXPECT_EQ(book.at("files")[1], (nlohmann::json{{"name", "cover.png"}, {"bytes", 74}}));
  EXPECT_EQ(mutagen(options_.output / "The Lamp at Greyholm.mp3").at("cover_bytes"), 74);
}

TEST_F(BookFolderTest, ChaptersOfSeveralFilesFollowOneAnotherInTheMetadata) {
  options_.shape = {.split_chapters = true, .audiobookshelf = true};
  render();
  const nlohmann::json book = metadata();
  double end = 0;
  for (std::size_t i = 0; i < 3; ++i) {
    const nlohmann::json& chapter = book.at("chapters")[i];
    EXPECT_NEAR(chapter.at("start").get<double>(), end, 0.001);
    end += book.at("files")[i].at("seconds").get<double>();
    EXPECT_NEAR(chapter.at("end").get<double>(), end, 0.002);
  }
}

TEST_F(BookFolderTest, TheAudioOfAFolderIsThatOfAPlainFile) {
  options_.output = folder_.path() / "book.mp3";
  render();
  const std::string plain = tests::read_file(options_.output);
  options_.output = folder_.path() / "book";
  options_.shape = {.audiobookshelf = true, .subtitles = true};
  render();
  EXPECT_TRUE(tests::read_file(options_.output / "The Lamp.mp3") == plain);
}

TEST_F(BookFolderTest, OneGainServesAllFilesAndABookThatIsOffIsEncodedAgainAsAWhole) {
  options_.shape = {.split_chapters = true, .subtitles = true};
  options_.loudness = LoudnessTarget{.lufs = -23, .true_peak_dbtp = -3};
  amplitude_ = [](const std::string& text) { // louder than the sentences of its voice, and the second chapter quieter
    return text.find("harbour") != std::string::npos || text.find("the lamp was still") != std::string::npos ? 0.2F
           : text.find("sea was calm again") != std::string::npos                                            ? 0.5F
                                                                                                             : 1.0F;
  };
  const BookReport report = render();
  EXPECT_TRUE(report.encoded_again);
  EXPECT_NEAR(report.levels.loudness_lufs(), -23, 0.5);
  EXPECT_EQ(names().size(), 7U) << "nothing of the first encoding is left";
  const auto loudest = [&](const std::string& name) {
    const std::vector<float> samples = tests::ffmpeg_samples(options_.output / name);
    return std::abs(*std::ranges::max_element(samples, {}, [](float sample) { return std::abs(sample); }));
  };
  EXPECT_NEAR(loudest("03 - Three.mp3") / loudest("01 - One - Dawn.mp3"), 1, 0.05);
}

TEST_F(BookFolderTest, AnInterruptedBookBecomesTheSameFolder) {
  options_.shape = {.split_chapters = true, .audiobookshelf = true, .subtitles = true};
  render();
  const auto whole = content();
  options_.output = folder_.path() / "again";
  options_.chunk_store = folder_.path() / "other-chunks";
  prepare_ = [](testing::FakeRenderer& renderer) { renderer.deliveries_before_device_fault = 4; };
  EXPECT_EQ(complaint(), "the device is gone");
  EXPECT_FALSE(std::filesystem::exists(options_.output));
  prepare_ = {};
  render();
  EXPECT_TRUE(content() == whole);
}

TEST_F(BookFolderTest, ItsFingerprintIsThatOfWhatItsDescriptionLists) {
  options_.shape.split_chapters = true;
  render();
  const storage::LocalStorage storage({.input = folder_.path(), .output = folder_.path()});
  const std::string fingerprint = fingerprint_of_folder(storage, "book");
  tests::write_file(options_.output / "notes.txt", "a listener's");
  EXPECT_EQ(fingerprint_of_folder(storage, "book"), fingerprint);
  tests::write_file(options_.output / "03 - Three.mp3", "damaged");
  EXPECT_NE(fingerprint_of_folder(storage, "book"), fingerprint);
  std::filesystem::remove(options_.output / "03 - Three.mp3");
  EXPECT_THROW((void)fingerprint_of_folder(storage, "book"), storage::PermanentError);
  tests::write_file(options_.output / "metadata.json", "[]");
  EXPECT_THROW((void)fingerprint_of_folder(storage, "book"), storage::PermanentError);
}

TEST_F(BookFolderTest, PlaceholdersMakeTheFoldersThatLibrariesExpect) {
  options_.output = folder_.path() / "{author}/{series}/{series_index} - {title}";
  options_.shape.audiobookshelf = true;
  const BookReport report = render();
  const auto expected = folder_.path() / "Ann Author, Ben Writer, Jr/Coast/2 - The Lamp";
  EXPECT_EQ(report.output, expected.string());
  EXPECT_TRUE(std::filesystem::exists(expected / "The Lamp.mp3"));
  EXPECT_NE(complaint().find("exists already; --force replaces it"), std::string::npos);
}

TEST_F(BookFolderTest, MistakesAreNamed) {
  options_.shape.split_chapters = true;
  options_.output = folder_.path() / "book.mp3";
  EXPECT_NE(complaint().find("book.mp3' is the name of a file, but --split"), std::string::npos) << complaint();
  options_.output = folder_.path() / "book";
  options_.cover = folder_.write("cover.gif", "GIF89a");
  EXPECT_NE(complaint().find("cover.gif' is no cover: it is neither JPEG nor PNG"), std::string::npos) << complaint();
  options_.cover = folder_.path() / "missing.png";
  EXPECT_NE(complaint().find("missing.png"), std::string::npos) << complaint();
  options_.cover.clear();
  folder_.write("book", "somebody's file");
  EXPECT_NE(complaint().find("exists already"), std::string::npos) << complaint();
}

TEST(BookDescription, NamesAreSplitAsPeopleMeanThem) {
  EXPECT_EQ(split_names("Ann Author, Ben Writer"), (std::vector<std::string>{"Ann Author", "Ben Writer"}));
  EXPECT_EQ(split_names("Sammy Davis, Jr., Ann"), (std::vector<std::string>{"Sammy Davis, Jr.", "Ann"}));
  EXPECT_TRUE(split_names("").empty());
}

TEST(Subtitles, LongBooksHaveHours) {
  EXPECT_EQ(to_webvtt({{3599.9996, 360'000.5, "a\nb"}}), "WEBVTT\n\n1\n01:00:00.000 --> 100:00:00.500\na b\n");
}

TEST(ChapterFileStem, NumbersAreWideEnoughToSort) {
  EXPECT_EQ(chapter_file_stem(0, 9, "A"), "01 - A");
  EXPECT_EQ(chapter_file_stem(8, 120, "A"), "009 - A");
  EXPECT_EQ(chapter_file_stem(0, 1, "???"), "01");
  EXPECT_LE(chapter_file_stem(0, 1, std::string(500, 'x')).size(), 195U);
}

} // namespace
} // namespace audiobookd::daemon
