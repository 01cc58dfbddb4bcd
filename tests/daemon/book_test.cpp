// Books rendered through pool, store and writer, with a fake engine on a thread of its own.
#include "daemon/book_renderer.h"
#include "daemon/engine_thread.h"
#include "daemon/errors.h"
#include "daemon/fingerprint_sink.h"
#include "storage/local_storage.h"
#include "tests/daemon/fakes.h"

#include <algorithm>
#include <cstdlib>
#include <fstream>
#include <future>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>
#include <random>
#include <thread>

namespace audiobookd::daemon {
namespace {

class MemorySink final : public storage::ByteSink {
public:
  void append(std::span<const std::byte> bytes) override {
    content.append(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  }
  void overwrite(std::uint64_t offset, std::span<const std::byte> bytes) override {
    content.replace(offset, bytes.size(), reinterpret_cast<const char*>(bytes.data()), bytes.size());
  }
  void clear() override { content.clear(); }
  [[nodiscard]] std::uint64_t size() const noexcept override { return content.size(); }

  std::string content;
};

class BookTest : public ::testing::Test {
protected:
  static BookRequest request(const std::string& text = testing::sample_text(40)) {
    BookRequest request;
    request.document = jobs::parse_document(text, "book.txt");
    request.fallback_title = "book";
    return request;
  }

  struct Outcome {
    std::string mp3;
    BookReport report;
    double fraction = 0;
  };

  /// Renders with @p renderer and the store in @p folder.
  Outcome render(testing::FakeRenderer& renderer, const std::string& folder, const BookRequest& book) {
    storage::ChunkStore store({.folder = folder_.path() / folder, .max_bytes = 1u << 30});
    UtterancePool pool(renderer, store, pool_options(renderer.info()));
    EngineThread engine(renderer, pool, [] {});
    ChunkClaim claim(store, "book");
    const auto progress = std::make_shared<BookProgress>();
    MemorySink sink;
    Outcome outcome;
    SingleFile output(sink);
    outcome.report = render_book({renderer, pool, store, encoders_}, book, claim, output, progress, stop_.get_token());
    outcome.mp3 = sink.content;
    outcome.fraction = progress->fraction();
    return outcome;
  }

  Outcome render(const std::string& folder, const BookRequest& book) {
    testing::FakeRenderer renderer;
    return render(renderer, folder, book);
  }

  testing::TemporaryFolder folder_;
  std::stop_source stop_;
  storage::WorkerPool encoders_{2};
};

TEST_F(BookTest, TheBytesDoNotDependOnTheOrderOfArrival) {
  const Outcome in_order = render("a", request());
  std::mt19937 random(7);
  testing::FakeRenderer shuffling;
  shuffling.arrange = [&](auto& round) { std::ranges::shuffle(round, random); };
  const Outcome shuffled = render(shuffling, "b", request());
  EXPECT_FALSE(in_order.mp3.empty());
  EXPECT_TRUE(in_order.mp3 == shuffled.mp3);
  EXPECT_EQ(in_order.fraction, 1);
}

TEST_F(BookTest, AfterAnInterruptionOnlyTheRestIsRenderedAndTheBytesAreTheSame) {
  const Outcome whole = render("whole", request());
  testing::FakeRenderer dying;
  dying.deliveries_before_device_fault = 15;
  EXPECT_THROW(render(dying, "parts", request()), Interrupted);
  testing::FakeRenderer second;
  const Outcome rest = render(second, "parts", request());
  EXPECT_TRUE(whole.mp3 == rest.mp3);
  EXPECT_EQ(rest.report.rendered, whole.report.rendered - 15);
  EXPECT_EQ(second.delivered_texts().size(), rest.report.rendered);
}

/// Four seconds of a tone, as an utterance.
engine::Waveform tone(float amplitude) {
  engine::Waveform waveform{.samples = std::vector<float>(96'000)};
  for (std::size_t i = 0; i < waveform.samples.size(); ++i) {
    waveform.samples[i] = amplitude * std::sin(0.2F * static_cast<float>(i));
  }
  return waveform;
}

bool is_level_sentence(const engine::Utterance& utterance) {
  return utterance.text.find("paragraph number") == std::string::npos;
}

TEST_F(BookTest, IsAsLoudAsAskedForWhateverTheVoice) {
  BookRequest wanted = request(testing::sample_text(10));
  wanted.loudness = LoudnessTarget{.lufs = -19, .true_peak_dbtp = -3};
  for (const float amplitude : {0.02F, 0.5F}) {
    testing::FakeRenderer renderer;
    renderer.replace = [&](const engine::Utterance&) { return tone(amplitude); };
    const std::string folder = std::to_string(amplitude);
    const Outcome first = render(renderer, folder, wanted);
    EXPECT_NEAR(first.report.levels.loudness_lufs(), -19, 1);
    EXPECT_LE(first.report.levels.true_peak_dbtp(), -3);
    EXPECT_FALSE(first.report.encoded_again) << "the voice's gain was known";
    const nlohmann::json result = nlohmann::json::parse(first.report.to_json());
    EXPECT_NEAR(result.at("levels").at("loudness_lufs").get<double>(), -19, 1);

    const std::size_t rendered = renderer.delivered_texts().size();
    EXPECT_TRUE(render(renderer, folder, wanted).mp3 == first.mp3);
    EXPECT_EQ(renderer.delivered_texts().size(), rendered) << "the level of the voice is measured once";
  }
}

TEST_F(BookTest, ThatIsLouderThanItsVoiceIsEncodedAgain) {
  BookRequest wanted = request(testing::sample_text(10));
  wanted.loudness = LoudnessTarget{.lufs = -23, .true_peak_dbtp = -3};
  testing::FakeRenderer renderer;
  renderer.replace = [](const engine::Utterance& utterance) {
    return tone(is_level_sentence(utterance) ? 0.05F : 0.2F);
  };
  const Outcome uneven = render(renderer, "uneven", wanted);
  EXPECT_TRUE(uneven.report.encoded_again);
  EXPECT_NEAR(uneven.report.levels.loudness_lufs(), -23, 0.1);
  EXPECT_EQ(uneven.fraction, 1);

  renderer.replace = [](const engine::Utterance&) { return tone(0.2F); };
  const Outcome even = render(renderer, "even", wanted);
  EXPECT_FALSE(even.report.encoded_again);
  EXPECT_EQ(even.mp3.size(), uneven.mp3.size()) << "nothing of the first file is left";
}

TEST_F(BookTest, SilenceIsNotTurnedUp) {
  BookRequest wanted = request(testing::sample_text(10));
  wanted.loudness = LoudnessTarget();
  testing::FakeRenderer renderer;
  renderer.replace = [](const engine::Utterance&) { return tone(0); };
  const Outcome silent = render(renderer, "silent", wanted);
  EXPECT_EQ(silent.report.gain_db, 0);
  EXPECT_FALSE(silent.report.encoded_again);
  EXPECT_TRUE(nlohmann::json::parse(silent.report.to_json()).at("levels").at("loudness_lufs").is_null());
}

TEST_F(BookTest, ASecondRunRendersOnlyWhatChanged) {
  render("a", request());
  std::string text = testing::sample_text(40);
  text.insert(text.find("This is paragraph number 20"), "A new sentence stands in the middle of everything.\n\n");
  testing::FakeRenderer renderer;
  const Outcome second = render(renderer, "a", request(text));
  EXPECT_EQ(renderer.delivered_texts(), std::vector<std::string>{"A new sentence stands in the middle of everything."});
  EXPECT_EQ(second.report.rendered, 1u);
}

TEST_F(BookTest, CorruptChunksAreRenderedAgain) {
  const Outcome first = render("a", request());
  for (const auto& entry : std::filesystem::recursive_directory_iterator(folder_.path() / "a")) {
    if (entry.path().extension() == ".audio") {
      std::fstream file(entry.path(), std::ios::in | std::ios::out | std::ios::binary);
      file.seekg(-3, std::ios::end);
      const int byte = file.get();
      file.seekp(-3, std::ios::end);
      file.put(static_cast<char>(byte ^ 1)); // another one, whatever it was
    }
  }
  const Outcome second = render("a", request());
  EXPECT_TRUE(first.mp3 == second.mp3);
  EXPECT_EQ(second.report.rendered, first.report.rendered);
  EXPECT_EQ(second.report.warnings, std::vector<std::string>{std::to_string(first.report.rendered) +
                                                             " stored chunks were damaged and rendered again"});
}

TEST_F(BookTest, WhatIsIntactButNotOursPoisonsNoBook) {
  const Outcome first = render("a", request());
  {
    const Book book = plan_book(request().document, {}, testing::FakeRenderer());
    storage::ChunkStore store({.folder = folder_.path() / "a", .max_bytes = 1u << 30});
    const std::vector<float> sound(100);
    store.put_audio(book.pieces[1].chunk_key, 24000, sound, "not JSON");
    store.put_audio(book.pieces[2].chunk_key, 24000, sound, "[]");
    store.put_audio(book.pieces[3].chunk_key, 24000, sound, R"({"hit_token_limit":"yes"})");
    store.put_audio(book.pieces[4].chunk_key, 8000, sound, R"({"hit_token_limit":false})");
    for (const std::size_t i : {5u, 6u}) {
      store.remove(book.pieces[i].chunk_key);
      store.put_tokens(book.pieces[i].chunk_key, std::vector<std::int32_t>{1}, i == 5 ? "{}" : "not JSON");
    }
  }
  const Outcome second = render("a", request());
  EXPECT_TRUE(first.mp3 == second.mp3);
  EXPECT_EQ(second.report.rendered, 6u);
}

TEST_F(BookTest, ABookWaitsForRoomInTheStoreAsLongAsItHasPatience) {
  const testing::FakeRenderer renderer;
  const Book book = plan_book(request().document, {}, renderer);
  storage::ChunkStore store({.folder = folder_.path() / "a", .max_bytes = 64u << 20});
  store.claim("other", 64u << 20, {});
  ChunkClaim impatient(store, "impatient");
  EXPECT_THROW(impatient.take(book, renderer.info(), {}), storage::NoRoomError);
  std::stop_source stop;
  auto waiting = std::async(std::launch::async, [&] {
    ChunkClaim claim(store, "waiting", std::chrono::hours(1));
    claim.take(book, renderer.info(), stop.get_token());
    return store.open_jobs();
  });
  while (std::ranges::count(store.open_jobs(), "waiting") == 0) {
    std::this_thread::yield();
  }
  store.end_claim("other");
  EXPECT_EQ(std::ranges::count(waiting.get(), "waiting"), 1);
  store.claim("other", 64u << 20, {});
  auto interrupted = std::async(std::launch::async, [&] {
    ChunkClaim claim(store, "waiting", std::chrono::hours(1));
    claim.take(book, renderer.info(), stop.get_token());
  });
  stop.request_stop();
  EXPECT_THROW(interrupted.get(), Interrupted);
}

TEST_F(BookTest, WhatIsWrittenIsPlannedAsItIsSaidAndTitlesAsTheyAreWritten) {
  const jobs::Document document = jobs::parse_document("CHAPTER IX\n\nDr. Lee paid $5 for the gif.\n", "book.txt");
  BookOptions options;
  options.dictionaries = {{{"gif", "picture"}}, {{"gif", "jif"}}};
  const testing::FakeRenderer renderer;
  const Book spoken = plan_book(document, options, renderer);
  ASSERT_EQ(spoken.pieces.size(), 2U);
  EXPECT_EQ(spoken.pieces[0].utterance.text, "Chapter nine");
  EXPECT_EQ(spoken.pieces[1].utterance.text, "Doctor Lee paid five dollars for the jif.");
  EXPECT_EQ(spoken.chapter_titles, std::vector<std::string>{"CHAPTER IX"});
  options.normalize = false;
  const Book written = plan_book(document, options, renderer);
  ASSERT_EQ(written.pieces.size(), 2U);
  EXPECT_EQ(written.pieces[0].utterance.text, "CHAPTER IX");
  EXPECT_EQ(written.pieces[1].utterance.text, "Dr. Lee paid $5 for the jif.");
}

TEST_F(BookTest, TextThatReturnsInAnotherChapterIsRenderedOnceAndHeardTwice) {
  const std::string refrain = "And so the long night went on, as it always had.\n\n";
  const Outcome outcome = render("a", request("CHAPTER 1\n\n" + refrain + "CHAPTER 2\n\n" + refrain));
  EXPECT_EQ(outcome.report.utterances, 4u);
  EXPECT_EQ(outcome.report.rendered, 3u);
}

TEST_F(BookTest, TheDurationIsTheSumOfUtterancesAndPauses) {
  const jobs::Document document = request().document;
  const testing::FakeRenderer renderer;
  const Book book = plan_book(document, {}, renderer);
  double expected = 0;
  for (const PlannedUtterance& place : book.utterances) {
    const auto waveform = testing::FakeRenderer::waveform_of(book.pieces[place.piece].utterance);
    expected += static_cast<double>(waveform.samples.size()) / waveform.sample_rate + place.pause_s;
  }
  const Outcome outcome = render("a", request());
  EXPECT_NEAR(outcome.report.audio_seconds, expected, 1e-3);
  EXPECT_EQ(outcome.report.chapters, 4u);
}

TEST_F(BookTest, WhoeverWaitsHearsTheFirstSentenceAloneAndTheFirstHalfMinuteIsUrgent) {
  const std::string text = "Somebody waits for this sentence. Then he hears another one. And at last a third.\n\n" +
                           testing::sample_text(30);
  const jobs::Document document = jobs::parse_document(text, "book.txt");
  const testing::FakeRenderer renderer;
  EXPECT_TRUE(std::ranges::none_of(plan_book(document, {}, renderer).pieces,
                                   [](const Piece& piece) { return piece.utterance.urgent; }));
  BookOptions options;
  options.is_interactive = true;
  const Book book = plan_book(document, options, renderer);
  EXPECT_EQ(book.pieces[0].utterance.text, "Somebody waits for this sentence.");
  EXPECT_EQ(book.pieces[1].utterance.text, "Then he hears another one. And at last a third.");
  int urgent_tokens = 0;
  for (const Piece& piece : book.pieces) {
    urgent_tokens += piece.utterance.urgent ? piece.predicted_tokens : 0;
  }
  EXPECT_TRUE(book.pieces[0].utterance.urgent);
  EXPECT_FALSE(book.pieces.back().utterance.urgent);
  EXPECT_GE(urgent_tokens, 750);
  EXPECT_LT(urgent_tokens, 750 + 390);
}

TEST_F(BookTest, ItsTagsSayWhatItsDocumentSays) {
  BookRequest wanted = request();
  jobs::Document& document = wanted.document;
  document.series = "Sea Stories";
  document.series_index = "2";
  document.publisher = "Shore Press";
  document.year = "2021";
  document.description = "Of lamps.";
  document.cover = jobs::Cover{.bytes = "picture", .media_type = "image/png", .width = 3, .height = 5};
  const std::string mp3 = render("a", wanted).mp3;
  for (const char* part : {"Sea Stories", "Shore Press", "2021", "Of lamps.", "image/png", "picture"}) {
    EXPECT_NE(mp3.find(part), std::string::npos) << part;
  }
}

TEST_F(BookTest, ABookCarriesWhatItsDocumentSaysOfIt) {
  jobs::Document document =
      jobs::parse_document("---\ntitle: T\nauthor: A\nseries: S\nseries_index: 2\nlang: de\n---\nx y\n\n"
                           "# One\n\nz\n",
                           "book.md");
  const testing::FakeRenderer renderer;
  const Book book = plan_book(document, {}, renderer);
  EXPECT_EQ(book.title, "T");
  EXPECT_EQ(book.author, "A");
  EXPECT_EQ(book.chapter_titles, (std::vector<std::string>{"T", "One"}));
  ASSERT_EQ(book.warnings.size(), 1u);
  EXPECT_EQ(book.warnings[0], "the document says that its language is \"de\"; it is read as \"en\"");
  document.language = "EN-gb";
  EXPECT_TRUE(plan_book(document, {}, renderer).warnings.empty());
}

TEST_F(BookTest, TheReportIsJsonWithEverythingPeopleAskFor) {
  const auto json = nlohmann::json::parse(render("a", request()).report.to_json());
  EXPECT_EQ(json.at("utterances").get<int>(), json.at("rendered").get<int>() + json.at("reused").get<int>());
  EXPECT_GT(json.at("words").get<int>(), 400);
  EXPECT_GT(json.at("audio_seconds").get<double>(), 1);
  EXPECT_EQ(json.at("model"), "fake-english");
  EXPECT_EQ(json.at("voice"), "default");
  EXPECT_EQ(json.at("synthetic"), false);
  EXPECT_GE(json.at("first_audio_ms").get<int>(), 0);
  const auto seconds = [&json](const char* name) { return json.at(name).get<double>(); };
  EXPECT_GE(seconds("plan_seconds"), 0);
  EXPECT_GE(seconds("tail_seconds"), 0);
  EXPECT_LE(seconds("plan_seconds") + seconds("tail_seconds"), seconds("wall_seconds") + 0.002); // each is rounded
  EXPECT_LE(json.at("first_audio_ms").get<double>(), 1000 * seconds("wall_seconds") + 1);
  for (const char* stage : {"prefill", "decode", "encoder", "cfm", "vocoder", "encode"}) {
    EXPECT_TRUE(json.at("seconds_per_stage").contains(stage)) << stage;
  }
}

TEST_F(BookTest, SyntheticWeightsAreSaidInTheReportAndInTheFile) {
  testing::FakeRenderer renderer;
  renderer.mutable_info().synthetic = true;
  const Outcome outcome = render(renderer, "a", request());
  EXPECT_EQ(outcome.report.warnings, std::vector<std::string>{"synthetic weights: noise"});
  EXPECT_NE(outcome.mp3.find("synthetic weights: noise"), std::string::npos);
}

TEST_F(BookTest, AVoiceThatIsNotLoadedIsNamed) {
  BookRequest book = request();
  book.options.voice = "nobody";
  EXPECT_THROW(render("a", book), std::invalid_argument);
}

TEST_F(BookTest, AFinishedBookLeavesNoClaimOnTheStore) {
  render("a", request());
  const storage::ChunkStore store({.folder = folder_.path() / "a", .max_bytes = 1u << 30});
  EXPECT_EQ(store.open_jobs(), std::vector<std::string>{});
}

TEST(FingerprintSink, KnowsAnOutputAgainAlsoWhenItsHeaderWasRewritten) {
  const std::string tail(11u << 20, 'x');
  MemorySink memory;
  FingerprintSink sink(memory);
  sink.append(std::as_bytes(std::span<const char>("????", 4)));
  sink.append(std::as_bytes(std::span(tail)));
  sink.overwrite(1, std::as_bytes(std::span<const char>("ab", 2)));
  EXPECT_EQ(memory.content, "?ab?" + tail);

  const testing::TemporaryFolder folder;
  const storage::LocalStorage files({.input = folder.path(), .output = folder.path()});
  folder.write("out", memory.content);
  EXPECT_EQ(sink.fingerprint(), fingerprint_of(files, "out"));
  memory.content.back() = 'y';
  folder.write("out", memory.content);
  EXPECT_NE(sink.fingerprint(), fingerprint_of(files, "out"));
}

} // namespace
} // namespace audiobookd::daemon
