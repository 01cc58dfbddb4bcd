// Redoing single utterances: what changes, what stays to the sample, what the listing says of it.
#include "daemon/takes.h"
#include "tests/daemon/redo_fixture.h"
#include "tests/storage/ffmpeg.h"

#include <algorithm>
#include <cmath>

namespace audiobookd::daemon {
namespace {

using tests::ffmpeg_samples;
using tests::read_file;

class RedoTest : public testing::RedoFixture {};

TEST_F(RedoTest, AListingSaysWhenEveryUtteranceIsHeard) {
  const auto record = run(job());
  ASSERT_EQ(record.state, "done") << record.error;
  EXPECT_EQ(nlohmann::json::parse(record.result).at("listing"), "out/.book.flac.utterances.json");
  const BookListing listed = listing();
  const std::vector<float> samples = ffmpeg_samples(output());
  ASSERT_GT(listed.utterances.size(), 12U);
  constexpr double rate = 24'000;
  constexpr std::size_t millisecond = 24;
  double before_s = 0;
  for (const ListedUtterance& one : listed.utterances) {
    const auto begin = static_cast<std::size_t>(std::llround(one.start_s * rate));
    const auto end = static_cast<std::size_t>(std::llround(one.end_s * rate));
    ASSERT_LT(begin, end) << one.number;
    ASSERT_LE(end, samples.size());
    const auto is_heard = [&](std::size_t from, std::size_t to) {
      return std::any_of(samples.begin() + static_cast<std::ptrdiff_t>(from),
                         samples.begin() + static_cast<std::ptrdiff_t>(to), [](float x) { return x != 0; });
    };
    EXPECT_FALSE(is_heard(static_cast<std::size_t>(std::llround(before_s * rate)), begin)) << "before " << one.number;
    EXPECT_TRUE(is_heard(begin, begin + millisecond)) << one.number;
    EXPECT_TRUE(is_heard(end - millisecond, end)) << one.number;
    EXPECT_EQ(one.file, "book.flac");
    EXPECT_EQ(one.key.size(), 16U);
    before_s = one.end_s;
  }
  EXPECT_EQ(listed.utterances.back().chapter, 2U);
  EXPECT_EQ(listed.payload, job().dump());
  EXPECT_EQ(listed.job, "book");
}

TEST_F(RedoTest, ABookWithoutListingHasNoneAndSaysSo) {
  nlohmann::json silent = job();
  silent["listing"] = false;
  const auto record = run(silent);
  ASSERT_EQ(record.state, "done") << record.error;
  EXPECT_TRUE(nlohmann::json::parse(record.result).at("listing").is_null());
  EXPECT_EQ(tests::list_names(files_ / "out"), std::vector<std::string>{"book.flac"});
}

TEST_F(RedoTest, OnlyTheUtteranceThatIsRedoneChangesAndOnlyItIsRendered) {
  run(job());
  const BookListing before = listing();
  const std::vector<float> sound = ffmpeg_samples(output());
  const std::size_t rendered_before = rendered();
  const auto record = redo({.numbers = {5}});
  ASSERT_EQ(record.state, "done") << record.error;
  EXPECT_EQ(rendered() - rendered_before, 1U);
  const BookListing after = listing();
  expect_only_changed(sound, before, ffmpeg_samples(output()), after, {5});
  EXPECT_EQ(after.utterances[4].take, 1);
  EXPECT_EQ(after.utterances[4].num_takes, 2);
  ASSERT_EQ(after.utterances[4].takes.size(), 2U) << "the one before is known still";
  EXPECT_TRUE(after.utterances[4].redone);
  EXPECT_FALSE(after.utterances[3].redone);
  EXPECT_EQ(after.job, "book.redo-1");
}

TEST_F(RedoTest, RedosAddUp) {
  run(job());
  const BookListing before = listing();
  const std::vector<float> sound = ffmpeg_samples(output());
  ASSERT_EQ(redo({.numbers = {2}, .seed = 99}).state, "done");
  ASSERT_EQ(redo({.numbers = {7, 9}}).state, "done");
  const auto record = redo({.numbers = {4}, .text = "Something else was said here, and at more length."});
  ASSERT_EQ(record.state, "done") << record.error;
  const BookListing after = listing();
  expect_only_changed(sound, before, ffmpeg_samples(output()), after, {2, 4, 7, 9});
  EXPECT_EQ(after.utterances[1].seed, 99U);
  EXPECT_EQ(after.utterances[3].written, "Something else was said here, and at more length.");
  EXPECT_EQ(after.utterances[3].key, before.utterances[3].key) << "it names what the document says";
}

TEST_F(RedoTest, TheTextOfARedoIsReadAsOthersAre) {
  run(job());
  ASSERT_EQ(redo({.numbers = {3}, .text = "It cost\n$5."}).state, "done");
  EXPECT_EQ(listing().utterances[2].written, "It cost $5.");
  EXPECT_EQ(listing().utterances[2].spoken, "It cost five dollars.");
  const std::string spoken_before = listing().utterances[3].spoken;
  const auto too_long = redo({.numbers = {3}, .text = std::string(300, 'a') + " " + std::string(300, 'b')});
  EXPECT_EQ(too_long.state, "dead");
  EXPECT_NE(too_long.error.find("redo: utterance 3: its text lasts about 36.1 s; an utterance may last 15.6 s"),
            std::string::npos)
      << too_long.error;
  const auto empty = redo({.numbers = {3}, .text = "* * *"});
  EXPECT_EQ(empty.state, "dead");
  EXPECT_NE(empty.error.find("redo: utterance 3: its text has nothing to say"), std::string::npos) << empty.error;
  EXPECT_EQ(listing().utterances[2].spoken, "It cost five dollars.") << "what failed has changed nothing";
  EXPECT_EQ(listing().utterances[3].spoken, spoken_before);
}

TEST_F(RedoTest, ATakeThatWasHeardBeforeComesBackToTheByteWithoutBeingRendered) {
  run(job());
  const std::string first = read_file(output());
  redo({.numbers = {5, 6}});
  const std::string second = read_file(output());
  redo({.numbers = {5}});
  EXPECT_EQ(listing().utterances[4].take, 2);
  const std::size_t rendered_before = rendered();
  ASSERT_EQ(redo({.numbers = {5}, .take = 1}).state, "done");
  EXPECT_EQ(read_file(output()), second);
  EXPECT_EQ(listing().utterances[4].num_takes, 3) << "the next one is none of these";
  ASSERT_EQ(redo({.numbers = {5, 6}, .take = 0}).state, "done");
  EXPECT_EQ(read_file(output()), first);
  EXPECT_EQ(rendered(), rendered_before);
}

TEST_F(RedoTest, TakesThatTheStoreHasLostAreRenderedTheSame) {
  run(job());
  const std::string first = read_file(output());
  redo({.numbers = {5}});
  const std::string second = read_file(output());
  for (const Book plan = plan_book(jobs::parse_document(read_file(files_ / "book.txt"), "book.txt"), {}, renderer_);
       const Piece& piece : plan.pieces) {
    store_.remove(piece.chunk_key);
    store_.remove(take_key(piece.chunk_key, 1));
  }
  redo({.numbers = {5}, .take = 0});
  EXPECT_EQ(read_file(output()), first);
  redo({.numbers = {5}, .take = 1});
  EXPECT_EQ(read_file(output()), second);
}

TEST_F(RedoTest, ATakeThatTheStoreHasDamagedIsRenderedTheSame) {
  run(job());
  redo({.numbers = {5}});
  const std::string second = read_file(output());
  const Book plan = plan_book(jobs::parse_document(read_file(files_ / "book.txt"), "book.txt"), {}, renderer_);
  const std::string key = take_key(plan.pieces[plan.utterances[4].piece].chunk_key, 1);
  std::size_t damaged = 0;
  for (const auto& entry : std::filesystem::recursive_directory_iterator(folder_.path() / "chunks")) {
    if (entry.path().filename() == key + ".audio") {
      std::string bytes = read_file(entry.path());
      bytes[bytes.size() - 10] = static_cast<char>(bytes[bytes.size() - 10] ^ 1);
      tests::write_file(entry.path(), bytes);
      ++damaged;
    }
  }
  ASSERT_EQ(damaged, 1U);
  const std::size_t rendered_before = rendered();
  ASSERT_EQ(redo({.numbers = {5}, .take = 1}).state, "done");
  EXPECT_EQ(rendered(), rendered_before + 1);
  EXPECT_EQ(read_file(output()), second);
}

TEST_F(RedoTest, WhatWasRedoneCanBeTakenBack) {
  run(job());
  const std::string first = read_file(output());
  redo({.numbers = {5}, .text = "Something else."});
  redo({.numbers = {7}});
  ASSERT_EQ(redo({.numbers = {5, 7}, .original = true}).state, "done");
  EXPECT_EQ(read_file(output()), first);
  EXPECT_FALSE(listing().utterances[4].redone);
}

TEST_F(RedoTest, TheGatesDoNotOverruleSomebodyWhoHasChosen) {
  restart(GateSettings()); // which find fault with all that this engine says
  run(job());
  const BookListing before = listing();
  ASSERT_EQ(before.utterances[4].takes.size(), 3U);
  EXPECT_FALSE(before.utterances[4].findings.empty());
  const int heard = before.utterances[4].take;
  const int worse = heard == 0 ? 1 : 0;
  const std::vector<float> sound = ffmpeg_samples(output());
  const std::size_t rendered_before = rendered();
  ASSERT_EQ(redo({.numbers = {5}, .take = worse}).state, "done");
  EXPECT_EQ(rendered(), rendered_before) << "the store has it";
  BookListing after = listing();
  expect_only_changed(sound, before, ffmpeg_samples(output()), after, {5});
  EXPECT_EQ(after.utterances[4].take, worse);
  EXPECT_EQ(after.utterances[4].takes, before.utterances[4].takes);
  ASSERT_EQ(redo({.numbers = {5}}).state, "done");
  EXPECT_EQ(rendered(), rendered_before + 1) << "one take, whatever the gates find";
  after = listing();
  EXPECT_EQ(after.utterances[4].take, 3);
  EXPECT_EQ(after.utterances[4].takes.size(), 4U);
  EXPECT_FALSE(after.utterances[4].findings.empty());
}

TEST_F(RedoTest, ATakeOfTheStoreIsHeardToTheBit) {
  restart(GateSettings());
  run(job());
  const BookListing before = listing();
  const Book plan = plan_book(jobs::parse_document(read_file(files_ / "book.txt"), "book.txt"), {}, renderer_);
  const Piece& piece = plan.pieces[plan.utterances[4].piece];
  const int wanted = before.utterances[4].take == 0 ? 1 : 0;
  auto stored = store_.read_audio(take_key(piece.chunk_key, wanted)).value();
  for (float& sample : stored.samples) {
    sample = -sample;
  }
  store_.put_audio(take_key(piece.chunk_key, wanted), 24'000, stored.samples, stored.metadata);
  ASSERT_EQ(redo({.numbers = {5}, .take = wanted}).state, "done");
  const std::vector<float> sound = ffmpeg_samples(output());
  const ListedUtterance heard = listing().utterances[4];
  const auto begin = static_cast<std::size_t>(std::llround(heard.start_s * 24'000));
  ASSERT_EQ(std::llround(heard.end_s * 24'000) - std::llround(heard.start_s * 24'000),
            static_cast<long>(stored.samples.size()));
  for (std::size_t i = 1000; i < 1100; ++i) { // behind the fade
    EXPECT_NEAR(sound[begin + i], stored.samples[i], 1.0 / 32768);
  }
}

TEST_F(RedoTest, TextThatReturnsIsRedoneAtOnePlaceOnly) {
  folder_.write("files/echo.md", "# One\n\nWho is there, at this hour?\n\n# Two\n\nWho is there, at this hour?\n\n"
                                 "# Three\n\nWho is there, at this hour?\n");
  run(job("echo.md"));
  const auto echo = [this] { return listing("out/echo.flac"); };
  const BookListing before = echo();
  ASSERT_EQ(before.utterances.size(), 6U);
  EXPECT_EQ(before.utterances[3].same_as, 2U);
  EXPECT_EQ(before.utterances[5].same_as, 2U);
  const std::vector<float> sound = ffmpeg_samples(output("out/echo.flac"));
  const std::string job = redo_job(before, before.payload, {.numbers = {4}}, "echo.redo-1");
  ASSERT_EQ(run(nlohmann::json::parse(job)).state, "done");
  expect_only_changed(sound, before, ffmpeg_samples(output("out/echo.flac")), echo(), {4});
  EXPECT_EQ(echo().utterances[3].same_as, std::nullopt);
  EXPECT_EQ(echo().utterances[5].same_as, 2U);
}

TEST_F(RedoTest, ADocumentThatHasChangedIsNotRedoneAndTheUtteranceNamed) {
  run(job());
  const std::string first = read_file(output());
  std::string text = testing::sample_text(12);
  text.insert(text.find("\n\n", text.find("\n\n") + 2), " And more was said.");
  folder_.write("files/book.txt", text);
  const std::size_t changed = 2;
  const auto record = redo({.numbers = {changed}});
  EXPECT_EQ(record.state, "dead");
  EXPECT_NE(record.error.find("redo: utterance 2 is another one than when it was listed"), std::string::npos)
      << record.error;
  EXPECT_EQ(read_file(output()), first);
}

TEST_F(RedoTest, AnUtteranceThatTheBookDoesNotHaveIsNamed) {
  run(job());
  nlohmann::json wrong = job();
  wrong["id"] = "book.redo-1";
  wrong["if_exists"] = "replace";
  wrong["redo"]["utterances"] = {{{"number", 1000}, {"key", "0123456789abcdef"}}};
  const auto record = run(wrong);
  EXPECT_EQ(record.state, "dead");
  EXPECT_NE(record.error.find("redo: utterance 1000 does not exist, the book has "), std::string::npos) << record.error;
}

TEST_F(RedoTest, ATakeThatCannotBeHeardIsAnErrorThatSaysWhatToDo) {
  run(job());
  renderer_.replace = [](const engine::Utterance& utterance) {
    return utterance.attempt == 1 ? std::optional(engine::Waveform{.samples = {NAN}}) : std::nullopt;
  };
  const auto record = redo({.numbers = {5}});
  EXPECT_EQ(record.state, "dead");
  EXPECT_NE(record.error.find("take 1 of utterance \""), std::string::npos) << record.error;
  EXPECT_NE(record.error.find("cannot be heard, choose another"), std::string::npos) << record.error;
}

TEST_F(RedoTest, TheLoudnessOfEverythingElseStays) {
  defaults_.loudness = LoudnessTarget();
  bool loud = false;
  renderer_.replace = [&loud](const engine::Utterance& utterance) {
    engine::Waveform waveform = testing::FakeRenderer::waveform_of(utterance);
    const bool is_of_book = utterance.text.find("harbour") == std::string::npos; // else of the voice's level
    for (float& sample : waveform.samples) {
      sample *= is_of_book && !(loud && utterance.attempt == 1) ? 0.25F : 1.0F;
    }
    return std::optional(std::move(waveform));
  };
  const auto record = run(job());
  ASSERT_TRUE(nlohmann::json::parse(record.result).at("levels").at("encoded_again").get<bool>()) << record.result;
  const BookListing before = listing();
  const std::vector<float> sound = ffmpeg_samples(output());
  loud = true;
  ASSERT_EQ(redo({.numbers = {5}}).state, "done");
  EXPECT_EQ(listing().gain_db, before.gain_db);
  expect_only_changed(sound, before, ffmpeg_samples(output()), listing(), {5});
}

// --- Publishing ---------------------------------------------------------------------------------------------------

TEST_F(RedoTest, AListingThatCameWithoutItsBookIsNotTakenForThatOfTheBookBefore) {
  run(job());
  const std::string first = read_file(output());
  storage_.on_commit = [](const std::string& name) {
    if (name == "out/book.flac") {
      throw storage::TransientError("the worker dies here");
    }
  };
  const BookListing listed = listing();
  EXPECT_EQ(redo({.numbers = {5}}).state, "retry_wait");
  EXPECT_EQ(read_file(output()), first);
  try {
    (void)listing();
    FAIL() << "the listing is of what was not published";
  } catch (const std::runtime_error& error) {
    EXPECT_NE(std::string(error.what())
                  .find("'out/book.flac' is not the file that 'out/.book.flac.utterances.json' "
                        "describes"),
              std::string::npos)
        << error.what();
  }
  storage_.on_commit = nullptr;
  redos_ = 1;
  ASSERT_EQ(run(nlohmann::json::parse(redo_job(listed, listed.payload, {.numbers = {5}}, "book.redo-2"))).state,
            "done");
  EXPECT_EQ(listing().utterances[4].take, 1);
}

TEST_F(RedoTest, AWorkerThatLostItsLeasePublishesNeitherBookNorListing) {
  storage_.on_commit = [this](const std::string& /*name*/) {
    queue_.change("book", [](auto& record) { record.token = "somebody else's"; });
  };
  run(job());
  EXPECT_EQ(tests::list_names(files_ / "out"), std::vector<std::string>{});
}

TEST_F(RedoTest, ABookThatAppearsInTheLastMomentKeepsItsListing) {
  run(job());
  const std::string sound = read_file(output());
  const std::string listed = read_file(output("out/.book.flac.utterances.json"));
  std::filesystem::rename(output(), output("out/hidden"));
  std::filesystem::rename(output("out/.book.flac.utterances.json"), output("out/hidden.json"));
  renderer_.arrange = [&](auto& /*round*/) {
    if (std::filesystem::exists(output("out/hidden"))) { // while the second job renders
      std::filesystem::rename(output("out/hidden"), output());
      std::filesystem::rename(output("out/hidden.json"), output("out/.book.flac.utterances.json"));
    }
  };
  nlohmann::json other = job();
  other["id"] = "other";
  other["params"]["seed"] = 1;
  const auto record = run(other);
  EXPECT_EQ(record.state, "dead");
  EXPECT_NE(record.error.find("exists already"), std::string::npos) << record.error;
  EXPECT_EQ(read_file(output()), sound);
  EXPECT_EQ(read_file(output("out/.book.flac.utterances.json")), listed);
}

TEST_F(RedoTest, AnEarlierAttemptsBookIsFoundWithItsListing) {
  run(job());
  queue_.change("book", [](auto& record) { record.state = "queued"; }); // its worker died before complete()
  const auto record = run(job());
  ASSERT_EQ(record.state, "done");
  EXPECT_EQ(record.result, R"({"listing":"out/.book.flac.utterances.json","output":"out/book.flac",)"
                           R"("published_by_earlier_attempt":true})");
}

// --- Folders ------------------------------------------------------------------------------------------------------

class RedoFolderTest : public testing::RedoFixture {
protected:
  static nlohmann::json folder_job() {
    return {{"id", "book"},        {"input", "book.txt"}, {"output", "out/book"},
            {"split", "chapters"}, {"subtitles", "vtt"},  {"format", {{"codec", "flac"}}}};
  }
  [[nodiscard]] BookListing folder_listing() const { return read_listing(storage_, "out/book", true); }
  [[nodiscard]] std::map<std::string, std::string> content() const {
    std::map<std::string, std::string> files;
    for (const std::string& name : tests::list_names(files_ / "out/book")) {
      files[name] = read_file(files_ / "out/book" / name);
    }
    return files;
  }
};

TEST_F(RedoFolderTest, AFolderHasItsListingAmongItsFiles) {
  const auto record = run(folder_job());
  ASSERT_EQ(record.state, "done") << record.error;
  EXPECT_EQ(nlohmann::json::parse(record.result).at("listing"), "out/book/utterances.json");
  const nlohmann::json described = nlohmann::json::parse(content().at("metadata.json"));
  EXPECT_EQ(described.at("files").back().at("name"), "utterances.json");
  EXPECT_EQ(described.at("files").back().at("bytes"), content().at("utterances.json").size());
  const BookListing listed = folder_listing();
  EXPECT_TRUE(listed.fingerprint.empty());
  for (const ListedUtterance& one : listed.utterances) {
    EXPECT_TRUE(content().contains(one.file)) << one.file;
  }
  EXPECT_EQ(listed.utterances.front().start_s, 0);
  const auto second = std::ranges::find(listed.utterances, 2U, &ListedUtterance::chapter);
  ASSERT_NE(second, listed.utterances.end());
  EXPECT_EQ(second->start_s, 0) << "from the beginning of its file";
}

TEST_F(RedoFolderTest, OnlyTheFilesOfTheChapterThatIsRedoneChange) {
  run(folder_job());
  const auto before = content();
  const BookListing listed = folder_listing();
  const auto last = listed.utterances.size();
  const auto record = run(nlohmann::json::parse(
      redo_job(listed, listed.payload, {.numbers = {last}, .text = "It ended otherwise."}, "book.redo-1")));
  ASSERT_EQ(record.state, "done") << record.error;
  const auto after = content();
  std::vector<std::string> changed;
  for (const auto& [name, bytes] : after) {
    if (before.at(name) != bytes) {
      changed.push_back(name);
    }
  }
  const std::string stem = std::filesystem::path(listed.utterances.back().file).stem().string();
  EXPECT_EQ(changed, (std::vector<std::string>{stem + ".flac", stem + ".vtt", "metadata.json", "utterances.json"}));
  EXPECT_NE(after.at(stem + ".vtt").find("It ended otherwise."), std::string::npos);
  EXPECT_EQ(folder_listing().job, "book.redo-1");
}

} // namespace
} // namespace audiobookd::daemon
