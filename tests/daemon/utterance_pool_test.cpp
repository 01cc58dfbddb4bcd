// What the engine is offered, in which order, and what becomes of what it delivers. The tests play the engine.
#include "daemon/errors.h"
#include "daemon/utterance_pool.h"
#include "tests/daemon/fakes.h"

#include <algorithm>
#include <gtest/gtest.h>
#include <limits>
#include <thread>

namespace audiobookd::daemon {
namespace {

class UtterancePoolTest : public ::testing::Test {
protected:
  void make_pool(const PoolOptions& options) { pool_ = std::make_unique<UtterancePool>(renderer_, store_, options); }

  /// A book of one piece for each predicted length, with texts "NAME 0", "NAME 1", …
  std::shared_ptr<const Book> make_book(const std::string& name, const std::vector<int>& lengths) {
    auto book = std::make_shared<Book>();
    for (std::size_t i = 0; i < lengths.size(); ++i) {
      Piece piece;
      piece.utterance.text = name + " " + std::to_string(i);
      piece.utterance.key = renderer_.utterance_key(piece.utterance.text, "en", "default", 0);
      piece.chunk_key = renderer_.chunk_key(piece.utterance);
      piece.predicted_tokens = lengths[i];
      book->pieces.push_back(std::move(piece));
      book->utterances.push_back({i, 0, 0});
    }
    return book;
  }

  std::unique_ptr<BookTicket> open(const std::shared_ptr<const Book>& book, int priority = 0) {
    return pool_->open(book, priority, std::make_shared<BookProgress>());
  }

  std::vector<std::string> next_texts(std::size_t capacity) {
    std::vector<std::string> texts;
    for (const engine::Utterance& utterance : pool_->next(capacity)) {
      texts.push_back(utterance.text);
      taken_.push_back(utterance);
    }
    return texts;
  }

  void finish(const engine::Utterance& utterance) {
    pool_->finished(utterance.id, testing::FakeRenderer::waveform_of(utterance));
  }

  static std::size_t count(const std::vector<std::string>& texts, const std::string& prefix) {
    return static_cast<std::size_t>(
        std::ranges::count_if(texts, [&](const std::string& text) { return text.starts_with(prefix); }));
  }

  using Texts = std::vector<std::string>;
  testing::TemporaryFolder folder_;
  testing::FakeRenderer renderer_;
  storage::ChunkStore store_{{.folder = folder_.path() / "chunks", .max_bytes = 1u << 30}};
  std::unique_ptr<UtterancePool> pool_;
  std::vector<engine::Utterance> taken_;
};

TEST_F(UtterancePoolTest, AShortBookGetsRowsAtOnceBesideAHugeOne) {
  make_pool({.read_ahead = 1000});
  const auto huge = open(make_book("huge", std::vector<int>(1000, 300)));
  EXPECT_EQ(count(next_texts(64), "huge"), 64u);
  const auto small = open(make_book("small", {300, 300}));
  EXPECT_EQ(count(next_texts(4), "small"), 2u);
}

TEST_F(UtterancePoolTest, BooksShareByTokensNotByUtterances) {
  make_pool({.read_ahead = 1000});
  const auto long_ones = open(make_book("long", std::vector<int>(1000, 400)));
  const auto short_ones = open(make_book("short", std::vector<int>(1000, 40)));
  const Texts texts = next_texts(110);
  EXPECT_EQ(count(texts, "long"), 10u);
  EXPECT_EQ(count(texts, "short"), 100u);
}

TEST_F(UtterancePoolTest, AHigherPriorityIsServedFirst) {
  make_pool({});
  const auto normal = open(make_book("normal", {100, 100}), 1);
  const auto high = open(make_book("high", {100, 100}), 0);
  EXPECT_EQ(next_texts(3), (Texts{"high 0", "high 1", "normal 0"}));
}

TEST_F(UtterancePoolTest, ABookIsOfferedInReadingOrderAndNothingBeyondItsWindow) {
  make_pool({.read_ahead = 3});
  const auto ticket = open(make_book("a", {10, 30, 20, 99, 5}));
  EXPECT_EQ(next_texts(9), (Texts{"a 0", "a 1", "a 2"}));
  finish(taken_[1]);
  finish(taken_[2]);
  EXPECT_EQ(next_texts(9), Texts{}) << "the window begins at the lowest missing piece, which is still in flight";
  finish(taken_[0]);
  EXPECT_EQ(next_texts(9), (Texts{"a 3", "a 4"}));
}

TEST_F(UtterancePoolTest, UrgentPiecesAreOfferedApartInTheirOrderAndBeforeThoseTheyCameAfter) {
  make_pool({});
  const auto novel = open(make_book("novel", {100, 100, 100}), 0);
  EXPECT_TRUE(pool_->next_urgent(9).empty());
  auto request = make_book("request", {10, 300, 200});
  auto urgent = std::make_shared<Book>(*request);
  urgent->pieces[0].utterance.urgent = true;
  urgent->pieces[1].utterance.urgent = true;
  const auto waited_for = open(urgent, -1);
  const std::vector<engine::Utterance> first = pool_->next_urgent(1);
  ASSERT_EQ(first.size(), 1u);
  EXPECT_EQ(first[0].text, "request 0");
  EXPECT_TRUE(first[0].urgent);
  EXPECT_EQ(next_texts(2), (Texts{"request 1", "request 2"})) << "an engine that asks for nothing apart";
  EXPECT_TRUE(pool_->next_urgent(9).empty());
  EXPECT_EQ(next_texts(1), Texts{"novel 0"});
}

TEST_F(UtterancePoolTest, WhatIsStoredIsNotOfferedAndDoesNotFillTheWindow) {
  make_pool({.read_ahead = 2});
  const auto book = make_book("a", {1, 1, 1, 1, 1});
  for (const std::size_t i : {1u, 2u}) {
    store_.put_audio(book->pieces[i].chunk_key, 24000, std::vector<float>(10), R"({"hit_token_limit":false})");
  }
  const auto ticket = open(book);
  EXPECT_EQ(next_texts(9), (Texts{"a 0", "a 3"}));
  ticket->wait_stored(1, {});
}

TEST_F(UtterancePoolTest, AFullBacklogOffersNothing) {
  make_pool({.store_backlog = 0});
  const auto ticket = open(make_book("a", {1, 1}));
  EXPECT_EQ(next_texts(9), Texts{});
}

TEST_F(UtterancePoolTest, FinishedAudioIsInTheStoreWhenItsWriterIsWoken) {
  make_pool({});
  const auto book = make_book("a", {10, 20});
  const auto ticket = open(book);
  next_texts(2);
  finish(taken_[1]);
  ticket->wait_stored(1, {});
  const auto chunk = store_.read_audio(book->pieces[1].chunk_key);
  ASSERT_TRUE(chunk);
  EXPECT_EQ(chunk->samples, testing::FakeRenderer::waveform_of(taken_[1]).samples);
  EXPECT_EQ(ticket->rendered(), 1u);
  EXPECT_EQ(pool_->in_flight(), 1u);
}

TEST_F(UtterancePoolTest, TokensOfAnEarlierRunAreNotDecodedAgain) {
  const auto book = make_book("a", {10});
  make_pool({});
  {
    const auto ticket = open(book);
    next_texts(1);
    pool_->tokens(taken_[0].id, std::vector<std::int32_t>{7, 8, 9});
    pool_->end();
  }
  make_pool({});
  const auto ticket = open(book);
  next_texts(1);
  EXPECT_EQ(taken_[1].speech_tokens, (std::vector<std::int32_t>{7, 8, 9}));
}

TEST_F(UtterancePoolTest, AFailureIsTriedAgainAtOnceWithOtherRandomNumbers) {
  make_pool({.max_retries = 2});
  const auto ticket = open(make_book("a", {10, 20, 30}));
  next_texts(1);
  next_texts(1);
  pool_->failed(taken_[0].id, "no luck");
  EXPECT_EQ(next_texts(1), Texts{"a 0"});
  EXPECT_EQ(taken_[2].attempt, 1);
  EXPECT_NE(taken_[2].id, taken_[0].id);
}

TEST_F(UtterancePoolTest, AfterTheLastRetryTheBookFailsWithTheReasonAndLeavesTheEngine) {
  make_pool({.max_retries = 1});
  const auto ticket = open(make_book("a", {10, 20, 30}));
  next_texts(2);
  pool_->failed(taken_[0].id, "no luck");
  next_texts(1);
  pool_->failed(taken_[2].id, "no luck again");
  try {
    ticket->wait_stored(2, {});
    FAIL() << "the book did not fail";
  } catch (const RenderError& error) {
    EXPECT_STREQ(error.what(), "utterance \"a 0\" failed 2 times, at last: no luck again");
  }
  EXPECT_EQ(next_texts(9), Texts{});
  EXPECT_EQ(renderer_.cancelled(), std::vector<engine::UtteranceId>{taken_[1].id});
}

TEST_F(UtterancePoolTest, AnEmptyWaveformAndNotANumberAreFailures) {
  make_pool({.max_retries = 1});
  const auto ticket = open(make_book("a", {10}));
  next_texts(1);
  pool_->finished(taken_[0].id, {});
  const auto second = [&] {
    while (next_texts(1).empty()) { // the waveform is looked at on another thread, which offers the piece again
      std::this_thread::yield();
    }
    return taken_[1];
  }();
  EXPECT_EQ(second.attempt, 1);
  engine::Waveform broken = testing::FakeRenderer::waveform_of(second);
  broken.samples[5] = std::numeric_limits<float>::quiet_NaN();
  pool_->finished(second.id, broken);
  try {
    ticket->wait_stored(0, {});
    FAIL() << "the book did not fail";
  } catch (const RenderError& error) {
    EXPECT_NE(std::string(error.what()).find("sample 5 is not a finite number"), std::string::npos) << error.what();
  }
}

TEST_F(UtterancePoolTest, AClosedBookLeavesTheEngineAndItsLateResultsAreIgnored) {
  make_pool({});
  const auto book = make_book("a", {10});
  auto ticket = open(book);
  next_texts(1);
  ticket.reset();
  EXPECT_EQ(renderer_.cancelled(), std::vector<engine::UtteranceId>{taken_[0].id});
  finish(taken_[0]);
  pool_->end();
  EXPECT_FALSE(store_.contains_audio(book->pieces[0].chunk_key));
}

TEST_F(UtterancePoolTest, WhatStillArrivesAfterTheTimeToStopIsKeptForTheNextRun) {
  make_pool({});
  const auto book = make_book("a", {10, 20});
  auto ticket = open(book);
  next_texts(2);
  pool_->stop_offering();
  pool_->cancel_in_flight();
  EXPECT_EQ(renderer_.cancelled().size(), 2u);
  ticket.reset();
  finish(taken_[1]); // its sound was being made
  pool_->end();
  EXPECT_FALSE(store_.contains_audio(book->pieces[0].chunk_key));
  EXPECT_TRUE(store_.contains_audio(book->pieces[1].chunk_key));
}

TEST_F(UtterancePoolTest, WhenTheEngineHasEndedWritersAreInterrupted) {
  make_pool({});
  const auto ticket = open(make_book("a", {10, 20}));
  next_texts(1);
  finish(taken_[0]);
  pool_->end();
  EXPECT_NO_THROW(ticket->wait_stored(0, {}));
  EXPECT_THROW(ticket->wait_stored(1, {}), Interrupted);
  EXPECT_EQ(next_texts(1), Texts{});
}

TEST_F(UtterancePoolTest, ADeviceFailureIsToldToTheBooksThatWereOnTheDevice) {
  make_pool({});
  const auto on_device = open(make_book("a", {10, 20}));
  next_texts(2);
  finish(taken_[0]);
  const auto waiting = open(make_book("b", {10}));
  pool_->end("CUDA error 700");
  EXPECT_THROW(waiting->wait_stored(0, {}), Interrupted);
  try {
    on_device->wait_stored(1, {});
    FAIL() << "no failure";
  } catch (const DeviceFailure& failure) {
    EXPECT_STREQ(failure.what(), "the device failed: CUDA error 700");
  }
  try {
    waiting->wait_stored(0, {});
    FAIL() << "no failure";
  } catch (const DeviceFailure&) {
    FAIL() << "it was not on the device";
  } catch (const Interrupted&) {
  }
  EXPECT_EQ(pool_->in_flight(), 0u);
}

TEST_F(UtterancePoolTest, AWriterThatIsToldToStopIsInterrupted) {
  make_pool({});
  const auto ticket = open(make_book("a", {10}));
  std::stop_source stop;
  stop.request_stop();
  EXPECT_THROW(ticket->wait_stored(0, stop.get_token()), Interrupted);
}

TEST_F(UtterancePoolTest, RenderAgainComesBeforeEverythingElse) {
  make_pool({});
  const auto ticket = open(make_book("a", {10, 20, 30}));
  next_texts(2);
  finish(taken_[1]);
  ticket->wait_stored(1, {});
  ticket->render_again(1);
  EXPECT_EQ(next_texts(1), Texts{"a 1"});
  EXPECT_EQ(taken_[2].attempt, 0) << "the same random numbers, the same audio";
}

} // namespace
} // namespace audiobookd::daemon
