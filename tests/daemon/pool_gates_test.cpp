// Retries, takes and best effort, and that a book which starts again comes to the same bytes. The tests play the
// engine.
#include "daemon/assembler.h"
#include "daemon/errors.h"
#include "daemon/gate_report.h"
#include "daemon/utterance_pool.h"
#include "tests/daemon/fakes.h"
#include "tests/daemon/speech_like.h"

#include <gtest/gtest.h>
#include <thread>

namespace audiobookd::daemon {
namespace {

constexpr int predicted = 75; // 3 s

class PoolGatesTest : public ::testing::Test {
protected:
  PoolGatesTest() { make_pool(); }

  void make_pool() {
    pool_.reset();
    pool_ = std::make_unique<UtterancePool>(renderer_, store_,
                                            PoolOptions{.max_retries = retries_, .gates = gates_, .command = command_});
  }

  std::shared_ptr<const Book> make_book(int pieces = 1) {
    auto book = std::make_shared<Book>();
    book->chapter_titles = {"One"};
    for (int i = 0; i < pieces; ++i) {
      Piece piece;
      piece.utterance.text = "text " + std::to_string(i);
      piece.utterance.key = renderer_.utterance_key(piece.utterance.text, "en", "default", 0);
      piece.chunk_key = renderer_.chunk_key(piece.utterance);
      piece.predicted_tokens = predicted;
      book->pieces.push_back(std::move(piece));
      book->utterances.push_back({static_cast<std::size_t>(i), 0, 0});
    }
    return book;
  }

  std::unique_ptr<BookTicket> open(const std::shared_ptr<const Book>& book) {
    return pool_->open(book, 0, std::make_shared<BookProgress>());
  }

  /// What the pool offers next, as soon as it does: waveforms are judged on other threads.
  engine::Utterance next() {
    while (true) {
      const std::size_t notified = renderer_.notifications();
      const auto offered = pool_->next(1);
      if (!offered.empty()) {
        return offered.front();
      }
      renderer_.wait_notified(notified + 1);
    }
  }

  static engine::Waveform good() { return testing::speech_like(3); }
  /// Longer than it may be, and the worse the longer.
  static engine::Waveform too_long(double seconds) { return testing::speech_like(seconds); }

  AudioNotes notes_of(const std::string& key) { return audio_notes(store_.read_audio(key).value().metadata).value(); }
  std::vector<float> samples_of(const std::string& key) { return store_.read_audio(key).value().samples; }

  testing::TemporaryFolder folder_;
  testing::FakeRenderer renderer_;
  storage::ChunkStore store_{{.folder = folder_.path() / "chunks", .max_bytes = 1u << 30}};
  int retries_ = 2;
  std::optional<GateSettings> gates_ = GateSettings{};
  std::optional<GateCommandSettings> command_;
  std::unique_ptr<UtterancePool> pool_;
};

TEST_F(PoolGatesTest, WhatPassesAtOnceIsStoredOnceWithTheMetadataItAlwaysHad) {
  const auto book = make_book();
  const auto ticket = open(book);
  pool_->finished(next().id, good());
  ticket->wait_stored(0, {});
  EXPECT_EQ(store_.stats().written, 1u);
  EXPECT_EQ(store_.read_audio(book->pieces[0].chunk_key)->metadata, R"({"attempt":0,"hit_token_limit":false})");
}

TEST_F(PoolGatesTest, ATakeWithFindingsIsTriedAgainAndTheOneThatPassesIsHeard) {
  const auto book = make_book();
  const auto ticket = open(book);
  pool_->finished(next().id, too_long(9));
  const engine::Utterance second = next();
  EXPECT_EQ(second.attempt, 1);
  EXPECT_TRUE(second.speech_tokens.empty());
  pool_->finished(second.id, good());
  ticket->wait_stored(0, {});
  const std::string& key = book->pieces[0].chunk_key;
  EXPECT_EQ(samples_of(key), good().samples);
  const AudioNotes notes = notes_of(key);
  EXPECT_EQ(notes.attempt, 1);
  EXPECT_TRUE(notes.findings.empty());
  ASSERT_EQ(notes.takes.size(), 1u);
  EXPECT_EQ(notes.takes[0].findings.at(0).gate, "duration");
  EXPECT_EQ(samples_of(take_key(key, 0)), too_long(9).samples) << "takes are kept";
}

TEST_F(PoolGatesTest, OfThreeTakesWithFindingsTheBestIsHeard) {
  for (const std::vector<double>& lengths : {std::vector<double>{9, 7, 8}, {7, 9, 8}, {9, 8, 7}}) {
    const auto book = make_book();
    store_.remove(book->pieces[0].chunk_key);
    make_pool();
    const auto ticket = open(book);
    for (const double length : lengths) {
      pool_->finished(next().id, too_long(length));
    }
    ticket->wait_stored(0, {});
    const std::string& key = book->pieces[0].chunk_key;
    EXPECT_EQ(samples_of(key), too_long(7).samples);
    EXPECT_EQ(notes_of(key).takes.size(), 3u);
    EXPECT_FALSE(notes_of(key).findings.empty());
    EXPECT_TRUE(pool_->next(9).empty()) << "there is no fourth attempt";
  }
}

TEST_F(PoolGatesTest, AfterAKillTheBookGoesOnWithTheNextAttemptAndComesToTheSame) {
  const auto book = make_book();
  const std::string& key = book->pieces[0].chunk_key;
  for (int kill_after = 0; kill_after < 3; ++kill_after) {
    store_.remove(key);
    make_pool();
    auto ticket = open(book);
    const std::vector<double> lengths = {8, 7, 9};
    for (std::size_t attempt = 0; attempt < lengths.size(); ++attempt) {
      const engine::Utterance utterance = next();
      EXPECT_EQ(utterance.attempt, static_cast<int>(attempt));
      if (static_cast<int>(attempt) == kill_after) {
        pool_->tokens(utterance.id, std::vector<std::int32_t>{1, 2, 3});
        pool_->stop_offering(); // a new pool over the same store knows what a new process knows
        ticket.reset();
        pool_->end();
        make_pool();
        ticket = open(book);
        const engine::Utterance again = next();
        EXPECT_EQ(again.attempt, utterance.attempt);
        EXPECT_EQ(again.speech_tokens, (std::vector<std::int32_t>{1, 2, 3}));
        pool_->finished(again.id, too_long(lengths[attempt]));
      } else {
        pool_->finished(utterance.id, too_long(lengths[attempt]));
      }
    }
    ticket->wait_stored(0, {});
    EXPECT_EQ(samples_of(key), too_long(7).samples) << "killed in attempt " << kill_after;
    EXPECT_EQ(notes_of(key).takes.size(), 3u);
  }
}

TEST_F(PoolGatesTest, ASynthesisThatIsResumedIsJudgedWithTheAlignmentOfItsDecoding) {
  const auto book = make_book();
  auto ticket = open(book);
  const engine::Utterance first = next();
  engine::Alignment skipping = testing::steady(50, 2);
  skipping.positions.erase(skipping.positions.begin() + 41, skipping.positions.begin() + 71);
  pool_->aligned(first.id, skipping);
  pool_->tokens(first.id, std::vector<std::int32_t>{1, 2, 3});
  pool_->stop_offering();
  ticket.reset();
  pool_->end();
  make_pool();
  ticket = open(book);
  const engine::Utterance resumed = next();
  EXPECT_EQ(resumed.speech_tokens, (std::vector<std::int32_t>{1, 2, 3}));
  pool_->finished(resumed.id, good());
  const engine::Utterance second = next();
  EXPECT_EQ(second.attempt, 1);
  pool_->finished(second.id, good());
  ticket->wait_stored(0, {});
  EXPECT_EQ(notes_of(book->pieces[0].chunk_key).takes.at(0).findings.at(0).gate, "skipped_text");
}

TEST_F(PoolGatesTest, ABestTakeThatTheStoreHasLostIsRenderedOnceMore) {
  const auto book = make_book();
  const auto ticket = open(book);
  pool_->finished(next().id, too_long(7));
  pool_->finished(next().id, too_long(9));
  const engine::Utterance third = next();
  store_.remove(take_key(book->pieces[0].chunk_key, 0));
  pool_->finished(third.id, too_long(8));
  const engine::Utterance again = next();
  EXPECT_EQ(again.attempt, 0);
  pool_->finished(again.id, too_long(7));
  ticket->wait_stored(0, {});
  EXPECT_EQ(samples_of(book->pieces[0].chunk_key), too_long(7).samples);
  EXPECT_EQ(notes_of(book->pieces[0].chunk_key).takes.size(), 3u);
}

TEST_F(PoolGatesTest, AnAttemptThatFailsDoesNotLoseTheTakesBeforeIt) {
  const auto book = make_book();
  const auto ticket = open(book);
  pool_->finished(next().id, too_long(8));
  pool_->failed(next().id, "no luck");
  pool_->failed(next().id, "no luck again");
  ticket->wait_stored(0, {});
  EXPECT_EQ(samples_of(book->pieces[0].chunk_key), too_long(8).samples);
}

TEST_F(PoolGatesTest, WithoutRetriesTheFirstTakeIsHeardAndItsFindingsAreKept) {
  retries_ = 0;
  make_pool();
  const auto book = make_book();
  const auto ticket = open(book);
  pool_->finished(next().id, too_long(9));
  ticket->wait_stored(0, {});
  EXPECT_FALSE(notes_of(book->pieces[0].chunk_key).findings.empty());
}

TEST_F(PoolGatesTest, WithoutGatesEverythingIsTaken) {
  gates_.reset();
  make_pool();
  const auto book = make_book();
  const auto ticket = open(book);
  pool_->finished(next().id, too_long(9));
  ticket->wait_stored(0, {});
  EXPECT_TRUE(notes_of(book->pieces[0].chunk_key).takes.empty());
  EXPECT_EQ(pool_->most_takes(), 0);
}

TEST_F(PoolGatesTest, WhatWasRenderedAgainAndKeptAsBestEffortIsReportedFromTheStore) {
  const auto book = make_book(3);
  {
    const auto ticket = open(book);
    for (int i = 0; i < 6; ++i) {
      const engine::Utterance utterance = next();
      const bool is_bad = utterance.text == "text 1" || (utterance.text == "text 2" && utterance.attempt == 0);
      pool_->finished(utterance.id, is_bad ? too_long(8) : good());
    }
    for (std::size_t i = 0; i < 3; ++i) {
      ticket->wait_stored(i, {});
    }
  }
  make_pool();
  const auto ticket = open(book); // nothing is rendered in this run
  PieceReader reader(*book, *ticket, store_, 24000);
  for (std::size_t i = 0; i < 3; ++i) {
    (void)reader.read(i, {});
  }
  const GateReport report = gate_report(*book, reader.notes());
  EXPECT_EQ(report.retried, 2u);
  EXPECT_EQ(report.best_effort, 1u);
  ASSERT_EQ(report.listed.size(), 1u);
  EXPECT_EQ(report.listed[0].text, "text 1");
  EXPECT_EQ(report.listed[0].chapter, 1u);
  EXPECT_EQ(report.listed[0].takes, 3);
  EXPECT_EQ(report.summary(), "2 utterances were rendered again, 1 kept as best effort");
}

TEST_F(PoolGatesTest, TheListOfBestEffortsIsBounded) {
  const auto book = make_book(2 * static_cast<int>(GateReport::most_listed));
  std::map<std::size_t, AudioNotes> notes;
  for (std::size_t i = 0; i < book->pieces.size(); ++i) {
    notes[i].findings = {{"duration", 3, 2}};
    notes[i].takes = {{0, 1, notes[i].findings}};
  }
  const GateReport report = gate_report(*book, notes);
  EXPECT_EQ(report.best_effort, book->pieces.size());
  EXPECT_EQ(report.listed.size(), GateReport::most_listed);
}

TEST_F(PoolGatesTest, ASyntheticEngineIsNotJudged) {
  engine::EngineInfo info = renderer_.info();
  EXPECT_TRUE(pool_options(info, {.gates = GateSettings{.max_retries = 5}}).gates);
  EXPECT_EQ(pool_options(info, {.gates = GateSettings{.max_retries = 5}}).max_retries, 5);
  info.synthetic = true;
  EXPECT_FALSE(pool_options(info, {.gates = GateSettings{}}).gates);
}

TEST_F(PoolGatesTest, AListenersLowScoreIsAFindingAndAFailingListenerIsCountedAndForgiven) {
  gates_.reset();
  command_ = GateCommandSettings{.command = {"sh", "-c", "cat >/dev/null; echo '{\"score\": 0.2}'"}, .min_score = 0.5};
  make_pool();
  const auto book = make_book();
  {
    const auto ticket = open(book);
    for (int attempt = 0; attempt < 3; ++attempt) {
      pool_->finished(next().id, good());
    }
    ticket->wait_stored(0, {});
    EXPECT_EQ(notes_of(book->pieces[0].chunk_key).findings, (std::vector<Finding>{{"command", 0.2, 0.5}}));
    EXPECT_EQ(ticket->unheard(), 0u);
  }
  store_.remove(book->pieces[0].chunk_key);
  command_->command = {"false"};
  make_pool();
  const auto ticket = open(book);
  pool_->finished(next().id, good());
  ticket->wait_stored(0, {});
  EXPECT_TRUE(notes_of(book->pieces[0].chunk_key).findings.empty());
  EXPECT_EQ(ticket->unheard(), 1u);
}

} // namespace
} // namespace audiobookd::daemon
