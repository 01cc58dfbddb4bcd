// See redo_fixture.h.
#include "tests/daemon/redo_fixture.h"

#include <algorithm>
#include <cmath>
#include <set>
#include <utility>

namespace audiobookd::daemon::testing {
namespace {

/// Passes everything on.
class Watched final : public storage::Publication {
public:
  Watched(std::unique_ptr<storage::Publication> inner, std::function<void()> on_commit)
      : inner_(std::move(inner)), on_commit_(std::move(on_commit)) {}
  void append(std::span<const std::byte> bytes) override { inner_->append(bytes); }
  void overwrite(std::uint64_t offset, std::span<const std::byte> bytes) override { inner_->overwrite(offset, bytes); }
  void clear() override { inner_->clear(); }
  [[nodiscard]] std::uint64_t size() const noexcept override { return inner_->size(); }
  storage::PublishResult commit(storage::IfExists if_exists, const std::function<bool()>& still_mine) override {
    on_commit_();
    return inner_->commit(if_exists, still_mine);
  }
  [[nodiscard]] const std::string& target() const noexcept override { return inner_->target(); }

private:
  std::unique_ptr<storage::Publication> inner_;
  std::function<void()> on_commit_;
};

std::size_t sample_at(double seconds) { return static_cast<std::size_t>(std::llround(seconds * 24'000)); }

} // namespace

std::unique_ptr<storage::Publication> FragileFolder::open_output(std::string_view name, std::string_view owner,
                                                                 const std::stop_token& stop) const {
  return std::make_unique<Watched>(LocalFolder::open_output(name, owner, stop), [this, output = std::string(name)] {
    if (on_commit) {
      on_commit(output);
    }
  });
}

RedoFixture::RedoFixture() {
  folder_.write("files/book.txt", sample_text(12));
  defaults_.shape.listing = true;
  restart(std::nullopt);
}

void RedoFixture::restart(std::optional<GateSettings> gates) {
  engine_.reset();
  pool_.reset();
  pool_ = std::make_unique<UtterancePool>(renderer_, store_, PoolOptions{.gates = gates});
  engine_ = std::make_unique<EngineThread>(renderer_, *pool_, [] {});
}

nlohmann::json RedoFixture::job(const std::string& input) {
  const std::string stem = std::filesystem::path(input).stem().string();
  return {{"id", "book"}, {"input", input}, {"output", "out/" + stem + ".flac"}};
}

FakeQueue::Record RedoFixture::run(const nlohmann::json& job) {
  const std::string payload = job.dump();
  queue_.add(jobs::parse_job(payload, "1-0"), "normal", payload);
  const JobSurroundings surroundings{.queue = queue_,
                                     .studio = {renderer_, *pool_, store_, encoders_},
                                     .storage = storage_,
                                     .clips = clips_,
                                     .defaults = defaults_,
                                     .on_end = [] {}};
  {
    const RenderJob running(queue_.claim().value(), surroundings); // its destructor waits for the end
  }
  return queue_.record(job.at("id"));
}

FakeQueue::Record RedoFixture::redo(const RedoWish& wish) {
  const BookListing listed = listing();
  const std::string id = "book.redo-" + std::to_string(++redos_);
  return run(nlohmann::json::parse(redo_job(listed, listed.payload, wish, id)));
}

void RedoFixture::expect_only_changed(const std::vector<float>& before, const BookListing& listed_before,
                                      const std::vector<float>& after, const BookListing& listed_after,
                                      const std::vector<std::size_t>& numbers) {
  const std::set<std::size_t> changed(numbers.begin(), numbers.end());
  ASSERT_EQ(listed_before.utterances.size(), listed_after.utterances.size());
  std::size_t at_before = 0;
  std::size_t at_after = 0;
  const auto compare_to = [&](std::size_t end_before, std::size_t end_after) {
    ASSERT_EQ(end_before - at_before, end_after - at_after);
    ASSERT_LE(end_before, before.size());
    ASSERT_LE(end_after, after.size());
    EXPECT_TRUE(std::equal(before.begin() + static_cast<std::ptrdiff_t>(at_before),
                           before.begin() + static_cast<std::ptrdiff_t>(end_before),
                           after.begin() + static_cast<std::ptrdiff_t>(at_after)))
        << "samples " << at_before << " to " << end_before;
  };
  for (std::size_t i = 0; i < listed_before.utterances.size(); ++i) {
    if (!changed.contains(i + 1)) {
      continue;
    }
    const ListedUtterance& was = listed_before.utterances[i];
    const ListedUtterance& is = listed_after.utterances[i];
    compare_to(sample_at(was.start_s), sample_at(is.start_s));
    at_before = sample_at(was.end_s);
    at_after = sample_at(is.end_s);
    const auto begin = [](const std::vector<float>& samples, double s) {
      return samples.begin() + static_cast<std::ptrdiff_t>(sample_at(s));
    };
    EXPECT_FALSE(std::equal(begin(before, was.start_s), begin(before, was.end_s), begin(after, is.start_s),
                            begin(after, is.end_s)))
        << "utterance " << i + 1 << " is what it was";
  }
  compare_to(before.size(), after.size());
}

} // namespace audiobookd::daemon::testing
