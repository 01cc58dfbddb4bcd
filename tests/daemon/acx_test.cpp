// The parts of preset acx: levels that are corrected, measures with their limits, documents with credits and in parts.
#include "daemon/acx_document.h"
#include "daemon/acx_levels.h"
#include "daemon/acx_report.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <gtest/gtest.h>
#include <numbers>

namespace audiobookd::daemon {
namespace {

using storage::DecodedAudio;
using storage::Levels;

constexpr int rate = 44'100;

/// Tone of @p amplitude between room tone, all of it a quarter of a period between two samples.
DecodedAudio heard(double amplitude, double seconds = 10) {
  std::vector<float> samples(static_cast<std::size_t>(seconds * rate));
  for (std::size_t i = 0; i < samples.size(); ++i) {
    samples[i] = static_cast<float>(amplitude * std::sin(2 * std::numbers::pi * 440 * static_cast<double>(i) / rate));
  }
  DecodedAudio decoded;
  decoded.levels = Levels::of(samples, 0, samples.size(), rate);
  decoded.seconds = seconds;
  decoded.sample_rate = rate;
  decoded.channels = 1;
  decoded.lowest_kbps = decoded.highest_kbps = 192;
  decoded.powers.assign(static_cast<std::size_t>(seconds * 100), static_cast<float>(amplitude * amplitude / 2));
  return decoded;
}

double amplitude_of_rms(double dbfs) { return std::pow(10, dbfs / 20) * std::numbers::sqrt2; }

TEST(AcxLevels, TheGainOfAVoiceAimsInsideTheLimits) {
  EXPECT_NEAR(acx_levels(-30).gain_db, AcxAims::rms_dbfs + 30, 1e-9);
  EXPECT_LT(acx_levels(-30).ceiling_dbtp.value(), -3);
  EXPECT_EQ(acx_levels(-INFINITY).gain_db, 0);
  EXPECT_EQ(acx_levels(-90).gain_db, 20);
}

TEST(AcxLevels, WhatIsWithinTheLimitsStaysAsItIs) {
  for (const double rms : {-22.5, -20.0, -18.5}) {
    EXPECT_FALSE(acx_correction({.gain_db = 3, .ceiling_dbtp = -3.5}, heard(amplitude_of_rms(rms)))) << rms;
  }
  EXPECT_FALSE(acx_correction({.ceiling_dbtp = -3.5}, heard(0))) << "silence has no gain";
}

TEST(AcxLevels, WhatIsNotIsBroughtInsideByNoMoreThanNeeded) {
  const auto louder = acx_correction({.gain_db = 3, .ceiling_dbtp = -3.5}, heard(amplitude_of_rms(-25)));
  ASSERT_TRUE(louder);
  EXPECT_NEAR(louder->gain_db, 3 + 2.5, 0.01);
  EXPECT_EQ(louder->ceiling_dbtp, -3.5);
  const auto quieter = acx_correction({.gain_db = 3, .ceiling_dbtp = -3.5}, heard(amplitude_of_rms(-16)));
  ASSERT_TRUE(quieter);
  EXPECT_NEAR(quieter->gain_db, 3 - 2.5, 0.01);
}

TEST(AcxLevels, PeaksAboveTheLimitLowerTheCeiling) {
  DecodedAudio decoded = heard(amplitude_of_rms(-20));
  std::vector<float> click(100);
  click[50] = 0.75F; // -2.5 dB
  decoded.levels.add(Levels::of(click, 0, click.size(), rate));
  const auto lower = acx_correction({.gain_db = 3, .ceiling_dbtp = -3.5}, decoded);
  ASSERT_TRUE(lower);
  EXPECT_EQ(lower->gain_db, 3);
  EXPECT_NEAR(lower->ceiling_dbtp.value(), -3.5 - 0.6, 0.05);
}

TEST(AcxLevels, NoGainBeyondWhatIsStillAVoice) {
  EXPECT_FALSE(acx_correction({.gain_db = 20, .ceiling_dbtp = -3.5}, heard(amplitude_of_rms(-50))));
}

AcxFile file_with(std::vector<AcxMeasure> measures) { return {"01 - A.mp3", 0, 1, std::move(measures)}; }

const AcxMeasure* find(const std::vector<AcxMeasure>& measures, const std::string& name) {
  const auto found = std::ranges::find(measures, name, &AcxMeasure::name);
  return found == measures.end() ? nullptr : &*found;
}

TEST(AcxReportTest, LimitsAreInclusiveAndNoNumberFails) {
  EXPECT_TRUE((AcxMeasure{"x", -3, std::nullopt, -3}).passes());
  EXPECT_FALSE((AcxMeasure{"x", -2.999, std::nullopt, -3}).passes());
  EXPECT_TRUE((AcxMeasure{"x", -23, -23, -18}).passes());
  EXPECT_FALSE((AcxMeasure{"x", -INFINITY, -23, -18}).passes());
  EXPECT_FALSE((AcxMeasure{"x", NAN, std::nullopt, -3}).passes());
  EXPECT_FALSE(AcxReport{}.passes()) << "no file was measured";
}

TEST(AcxReportTest, EachMeasureFailsByItself) {
  struct Planted {
    const char* measure;
    std::function<void(DecodedAudio&)> plant;
  };
  const Planted all[] = {
      {"sample_rate_hz", [](DecodedAudio& audio) { audio.sample_rate = 48'000; }},
      {"channels", [](DecodedAudio& audio) { audio.channels = 2; }},
      {"bitrate_kbps", [](DecodedAudio& audio) { audio.lowest_kbps = audio.highest_kbps = 160; }},
      {"bitrate_spread_kbps", [](DecodedAudio& audio) { audio.highest_kbps = 256; }},
      {"seconds", [](DecodedAudio& audio) { audio.seconds = 7'200.1; }},
      {"head_seconds", [](DecodedAudio& audio) { audio.powers[10] = 1; }},
      {"tail_seconds", [](DecodedAudio& audio) { audio.powers[audio.powers.size() - 50] = 1; }},
  };
  const auto sound = [] {
    DecodedAudio audio = heard(amplitude_of_rms(-20));
    std::fill_n(audio.powers.begin(), 75, 1e-7F);
    std::fill_n(audio.powers.end() - 250, 250, 1e-7F);
    std::vector<float> quiet(rate, 1e-4F);
    audio.levels.add(Levels::of(quiet, 0, quiet.size(), rate));
    return audio;
  };
  const DecodedAudio good = sound();
  const AcxFile passes = file_with(measure_acx({good, {}, 0}));
  EXPECT_TRUE(passes.passes()) << to_text({{passes}}, "x");
  for (const auto& [measure, plant] : all) {
    DecodedAudio audio = sound();
    plant(audio);
    const AcxReport report{{file_with(measure_acx({audio, {}, 0}))}};
    ASSERT_EQ(report.failures().size(), 1U) << measure << ": " << to_text(report, "x");
    EXPECT_TRUE(report.failures()[0].starts_with("01 - A.mp3: " + std::string(measure))) << report.failures()[0];
  }
  EXPECT_FALSE(file_with(measure_acx({good, {}, 0.002})).passes()) << "clipped";
  EXPECT_EQ(find(measure_acx({good, {}, 0}), "voice_noise_dbfs"), nullptr);
}

TEST(AcxReportTest, NoiseOfTheVoiceIsWhatIsHeardWhereItDoesNotSpeak) {
  DecodedAudio audio = heard(amplitude_of_rms(-20));
  const auto quiet = [&](std::size_t from, float power) { std::fill_n(audio.powers.begin() + from, 8, power); };
  quiet(120, 1e-7F);
  quiet(320, 1e-5F); // -50 dB
  quiet(520, 1e-5F);
  quiet(800, 1e-9F); // between utterances
  const std::vector<AcxSpan> utterances = {{1, 2.5}, {3, 4.5}, {5, 6.5}, {7, 7.03}};
  const auto measures = measure_acx({audio, utterances, 0});
  const AcxMeasure* noise = find(measures, "voice_noise_dbfs");
  ASSERT_NE(noise, nullptr);
  EXPECT_NEAR(noise->value, -50, 0.01) << "the median of three; the fourth is too short";
  EXPECT_FALSE(noise->passes());
}

TEST(AcxReportTest, FilesOfDifferentFormatsFailTogether) {
  AcxReport report{{file_with({{"sample_rate_hz", 44'100, {}, {}},
                               {"channels", 1, {}, {}},
                               {"bitrate_kbps", 192, {}, {}},
                               {"bitrate_spread_kbps", 0, {}, {}}})}};
  report.files.push_back(report.files[0]);
  EXPECT_TRUE(report.passes());
  report.files[1].measures[2].value = 256;
  EXPECT_FALSE(report.passes());
  EXPECT_EQ(report.failures(), std::vector<std::string>{"the files are not all of one format"});
}

// --- documents ----------------------------------------------------------------------------------------------------

jobs::Document document_of(std::vector<jobs::Chapter> chapters) {
  jobs::Document document;
  document.title = "The Lamp";
  document.chapters = std::move(chapters);
  return document;
}

/// A second for each character.
double length_of(const std::string& text) { return static_cast<double>(text.size()); }

std::vector<std::string> titles_of(const jobs::Document& document) {
  std::vector<std::string> titles;
  for (const jobs::Chapter& chapter : document.chapters) {
    titles.push_back(chapter.title);
  }
  return titles;
}

std::string text_of(const jobs::Chapter& chapter) {
  std::string text;
  for (const jobs::Paragraph& paragraph : chapter.paragraphs) {
    text += (text.empty() ? "" : "|") + paragraph.text;
  }
  return text;
}

constexpr jobs::Pauses no_pauses{.sentence_s = 0, .paragraph_s = 0, .scene_s = 0, .chapter_s = 0};

TEST(AcxDocument, CreditsStandAroundChaptersThatKeepTheirNames) {
  const jobs::Document document = document_of({{"", {{.text = "Before."}}}, {"", {{.text = "Then."}}}, {"End", {}}});
  const jobs::Document book = with_credits(document, {.opening = "{title}.\n\n By  {author}.", .closing = "The end."},
                                           {.title = "The Lamp", .author = "Ann"});
  EXPECT_EQ(titles_of(book),
            (std::vector<std::string>{"Opening Credits", "The Lamp", "Chapter 2", "End", "Closing Credits"}));
  EXPECT_EQ(text_of(book.chapters.front()), "The Lamp.|By Ann.");
  EXPECT_EQ(text_of(book.chapters.back()), "The end.");
  EXPECT_THROW((void)with_credits(document, {.opening = "{author}.", .closing = "x"}, {}), jobs::DocumentError);
}

TEST(AcxDocument, ALongChapterIsDividedWhereAParagraphEndsAndNothingIsLost) {
  jobs::Chapter chapter{"Three", {{.text = "Three", .kind = jobs::ParagraphKind::heading}}};
  std::string whole = "Three";
  for (int i = 0; i < 25; ++i) {
    chapter.paragraphs.push_back({.text = std::string(10, static_cast<char>('a' + i))});
    whole += "|" + chapter.paragraphs.back().text;
  }
  const jobs::Document book =
      in_parts(document_of({{"Two", {{.text = "Short."}}}, chapter}), length_of, no_pauses, 100);
  EXPECT_EQ(titles_of(book), (std::vector<std::string>{"Two", "Three, part 1", "Three, part 2", "Three, part 3"}));
  std::string parts;
  for (std::size_t i = 1; i < 4; ++i) {
    jobs::Chapter part = book.chapters[i];
    if (i > 1) {
      EXPECT_EQ(part.paragraphs.front().text, part.title) << "is read aloud";
      EXPECT_EQ(part.paragraphs.front().kind, jobs::ParagraphKind::heading);
      part.paragraphs.erase(part.paragraphs.begin());
    }
    double length = 0;
    for (const jobs::Paragraph& paragraph : part.paragraphs) {
      length += length_of(paragraph.text);
    }
    EXPECT_LE(length, 100);
    EXPECT_GE(length, 70) << "parts are of about the same length";
    parts += (parts.empty() ? "" : "|") + text_of(part);
  }
  EXPECT_EQ(parts, whole);
}

TEST(AcxDocument, TheEndOfASceneIsPreferredAndAHeadingStaysWithItsText) {
  const auto body = [](std::size_t length) { return jobs::Paragraph{.text = std::string(length, 'x')}; };
  const jobs::Paragraph scene{.text = "* * *", .kind = jobs::ParagraphKind::scene_break};
  const jobs::Paragraph heading{.text = "Sub", .kind = jobs::ParagraphKind::heading};
  const jobs::Document by_scene = in_parts(
      document_of({{"A", {body(20), body(25), scene, body(15), body(20), body(20)}}}), length_of, no_pauses, 80);
  ASSERT_EQ(by_scene.chapters.size(), 2U);
  EXPECT_EQ(by_scene.chapters[0].paragraphs.size(), 3U);
  const jobs::Document by_heading =
      in_parts(document_of({{"A", {body(25), body(22), heading, body(25), body(25)}}}), length_of, no_pauses, 60);
  ASSERT_EQ(by_heading.chapters.size(), 2U);
  EXPECT_EQ(by_heading.chapters[1].paragraphs[1].text, "Sub");
}

TEST(AcxDocument, AParagraphThatIsTooLongAloneStaysWhole) {
  const jobs::Document book =
      in_parts(document_of({{"A", {{.text = std::string(200, 'x')}}}}), length_of, no_pauses, 80);
  EXPECT_EQ(titles_of(book), std::vector<std::string>{"A"});
  const jobs::Document two =
      in_parts(document_of({{"A", {{.text = "short"}, {.text = std::string(200, 'x')}, {.text = "end"}}}}), length_of,
               no_pauses, 80);
  std::size_t longest = 0;
  for (const jobs::Chapter& chapter : two.chapters) {
    longest = std::max(longest, chapter.paragraphs.size());
  }
  EXPECT_LE(two.chapters.size(), 3U);
}

} // namespace
} // namespace audiobookd::daemon
