// Several engines behind one door: who gets what, who is cancelled, and how one that fails ends all.
#include "daemon/renderer_group.h"
#include "daemon/utterance_pool.h"
#include "tests/daemon/fakes.h"
#include "tests/daemon/process.h"

#include <algorithm>
#include <future>
#include <gtest/gtest.h>

namespace audiobookd::daemon {
namespace {

class RendererGroupTest : public ::testing::Test {
protected:
  /// A group of two fakes of that batch.
  void make_group(int max_batch) {
    std::vector<RendererGroup::Named> members;
    for (const char* name : {"a", "b"}) {
      auto renderer = std::make_unique<testing::FakeRenderer>();
      renderer->mutable_info().max_batch = max_batch;
      fakes_.push_back(renderer.get());
      members.push_back({name, std::move(renderer)});
    }
    group_ = std::make_unique<RendererGroup>(std::move(members));
    pool_ = std::make_unique<UtterancePool>(*group_, store_, PoolOptions{.read_ahead = 1000});
  }

  void start() {
    ended_ = std::async(std::launch::async, [this] { group_->run(*pool_, *pool_, stop_.get_token()); });
  }

  /// Stops the group and gives what run() threw.
  void stop() {
    stop_.request_stop();
    ended_.get();
  }

  std::unique_ptr<BookTicket> open_book(std::size_t num_pieces) {
    auto book = std::make_shared<Book>();
    for (std::size_t i = 0; i < num_pieces; ++i) {
      Piece piece;
      piece.utterance.text = "piece " + std::to_string(i);
      piece.utterance.key = group_->utterance_key(piece.utterance.text, "en", "default", 0);
      piece.chunk_key = group_->chunk_key(piece.utterance);
      piece.predicted_tokens = 100;
      book->pieces.push_back(std::move(piece));
    }
    return pool_->open(book, 0, std::make_shared<BookProgress>());
  }

  /// Waits until the engines together hold @p count utterances.
  void wait_in_flight(std::size_t count) {
    while (pool_->in_flight() < count) {
      group_->notify();
      std::this_thread::yield();
    }
  }

  testing::TemporaryFolder folder_;
  storage::ChunkStore store_{{.folder = folder_.path() / "chunks", .max_bytes = 1u << 30}};
  std::vector<testing::FakeRenderer*> fakes_;
  std::unique_ptr<RendererGroup> group_;
  std::unique_ptr<UtterancePool> pool_;
  std::stop_source stop_;
  std::future<void> ended_;
};

TEST_F(RendererGroupTest, WorkIsHandedOutEvenlyAndEveryPieceIsRenderedOnce) {
  constexpr std::size_t num_pieces = 100;
  make_group(200); // each could take everything
  for (testing::FakeRenderer* fake : fakes_) {
    fake->hold();
  }
  const auto ticket = open_book(num_pieces);
  start();
  wait_in_flight(num_pieces);
  const std::vector<DeviceActivity> activity = group_->activity();
  ASSERT_EQ(activity.size(), 2u);
  EXPECT_EQ(activity[0].in_flight + activity[1].in_flight, num_pieces);
  EXPECT_GE(std::min(activity[0].in_flight, activity[1].in_flight), (num_pieces - 32) / 2);
  for (testing::FakeRenderer* fake : fakes_) {
    fake->let_go();
  }
  std::vector<std::string> texts;
  for (std::size_t i = 0; i < num_pieces; ++i) {
    ticket->wait_stored(i, {});
  }
  for (const testing::FakeRenderer* fake : fakes_) {
    std::ranges::copy(fake->delivered_texts(), std::back_inserter(texts));
  }
  std::ranges::sort(texts);
  EXPECT_EQ(texts.size(), num_pieces);
  EXPECT_EQ(std::ranges::adjacent_find(texts), texts.end());
  EXPECT_EQ(group_->stats().utterances_finished, num_pieces);
  stop();
}

TEST_F(RendererGroupTest, ACancelReachesTheEngineThatHasTheUtterance) {
  make_group(2);
  for (testing::FakeRenderer* fake : fakes_) {
    fake->hold();
  }
  auto ticket = open_book(4);
  start();
  wait_in_flight(4);
  ticket.reset();
  EXPECT_EQ(fakes_[0]->cancelled().size(), 2u);
  EXPECT_EQ(fakes_[1]->cancelled().size(), 2u);
  for (const DeviceActivity& device : group_->activity()) {
    EXPECT_EQ(device.in_flight, 0u);
  }
  stop();
}

TEST_F(RendererGroupTest, WhenOneFailsTheOthersDeliverWhatTheyHaveAndTakeNoMore) {
  make_group(3);
  fakes_[0]->deliveries_before_device_fault = 0;
  for (testing::FakeRenderer* fake : fakes_) {
    fake->hold();
  }
  const auto ticket = open_book(20);
  start();
  wait_in_flight(6);
  const std::size_t notifications = fakes_[1]->notifications();
  fakes_[0]->let_go();
  fakes_[1]->wait_notified(notifications + 1); // of the end
  fakes_[1]->let_go();
  try {
    ended_.get();
    FAIL() << "the failure was lost";
  } catch (const std::runtime_error& error) {
    EXPECT_STREQ(error.what(), "device a: the device is gone");
  }
  EXPECT_EQ(fakes_[0]->delivered_texts().size(), 0u);
  EXPECT_EQ(fakes_[1]->delivered_texts().size(), 3u);
}

TEST_F(RendererGroupTest, WhatIsLoadedIsSummedUp) {
  make_group(3);
  fakes_[0]->out_of_memory = 2;
  fakes_[1]->out_of_memory = 3;
  EXPECT_EQ(group_->info().max_batch, 6);
  EXPECT_EQ(group_->info().device, "2 x cpu");
  EXPECT_EQ(group_->info().model, "fake-english");
  EXPECT_EQ(group_->stats().out_of_memory, 5u);
}

TEST(RendererGroup, EnginesThatWouldNotSoundTheSameAreRefused) {
  std::vector<RendererGroup::Named> members;
  for (const char* dtype : {"bf16", "fp32"}) {
    auto renderer = std::make_unique<testing::FakeRenderer>();
    renderer->mutable_info().dtype = dtype;
    members.push_back({dtype, std::move(renderer)});
  }
  EXPECT_THROW(RendererGroup(std::move(members)), std::invalid_argument);
}

TEST(RendererGroup, DevicesAreNamedOneByOneOrAllAtOnce) {
  EXPECT_EQ(devices_of("cpu"), std::vector<std::string>{"cpu"});
  EXPECT_EQ(devices_of("cuda:0,cuda:2"), (std::vector<std::string>{"cuda:0", "cuda:2"}));
  EXPECT_THROW(static_cast<void>(devices_of("cuda,cuda:0")), std::invalid_argument);
  if (engine::Engine::num_gpus() == 0) {
    EXPECT_THROW(static_cast<void>(devices_of("all")), std::runtime_error);
  } else {
    EXPECT_EQ(devices_of("all").size(), static_cast<std::size_t>(engine::Engine::num_gpus()));
  }
}

TEST(RendererGroup, TwoEnginesOnTheCpuRenderWhatOneDoes) {
  const testing::TemporaryFolder folder;
  engine::EngineOptions options;
  options.checkpoint = testing::tiny_checkpoint();
  options.cpu_threads = 1;
  const auto load = [&options] { return std::make_unique<EngineRenderer>(options); };
  const auto render = [&folder](Renderer& renderer, const std::string& name) {
    storage::ChunkStore store({.folder = folder.path() / name, .max_bytes = 1u << 30});
    UtterancePool pool(renderer, store, {});
    auto book = std::make_shared<Book>();
    for (const char* text : {"One of them speaks.", "The other one answers.", "Both are heard.", "And then no more."}) {
      Piece piece;
      piece.utterance.text = text;
      piece.utterance.cfm_steps = 1;
      piece.utterance.key = renderer.utterance_key(text, "en", "default", 0);
      piece.chunk_key = renderer.chunk_key(piece.utterance);
      piece.predicted_tokens = renderer.predict_tokens(text);
      book->pieces.push_back(std::move(piece));
    }
    std::stop_source stop;
    auto ended = std::async(std::launch::async, [&] { renderer.run(pool, pool, stop.get_token()); });
    const auto ticket = pool.open(book, 0, std::make_shared<BookProgress>());
    std::vector<std::vector<float>> sounds;
    for (std::size_t i = 0; i < book->pieces.size(); ++i) {
      ticket->wait_stored(i, {});
      sounds.push_back(store.read_audio(book->pieces[i].chunk_key).value().samples);
    }
    stop.request_stop();
    ended.get();
    return sounds;
  };
  const auto single = load();
  std::vector<RendererGroup::Named> members;
  members.push_back({"first", load()});
  members.push_back({"second", load()});
  RendererGroup group(std::move(members));
  EXPECT_TRUE(render(group, "two") == render(*single, "one"));
}

} // namespace
} // namespace audiobookd::daemon
