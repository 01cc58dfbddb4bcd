// The utterances of all open books, between the books' writers and the engine: the engine takes from it what is worth
// rendering next, and leaves finished audio that goes straight to the chunk store.
//
// Order of service: urgent pieces; then books of the highest priority; among them deficit round-robin by predicted
// tokens, so that a short book gets its share beside a huge one; inside a book the reading order, so that its writer
// keeps up with the engine. No audio is held for the sake of order: waveforms leave memory as fast as the store takes
// them, and while too many wait, the engine is offered nothing.
//
// What arrives is judged (gates.h, and perhaps a program that listens, gate_command.h). An utterance with findings is
// rendered again with other random numbers, and of its takes the best is kept (takes.h), so that every book comes to an
// end and a book that starts again comes to the same choice.
//
// Threads: the WorkSource and Sink functions belong to the engine's threads (several at once where it is several
// engines), everything else to any. Book tickets must be gone before the pool is destroyed, and the engine must have
// left run().
#pragma once

#include "daemon/book.h"
#include "daemon/book_progress.h"
#include "daemon/gate_command.h"
#include "daemon/gates.h"
#include "daemon/renderer.h"
#include "daemon/takes.h"
#include "daemon/task_lanes.h"
#include "engine/engine.h"
#include "storage/chunk_store.h"

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <exception>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <span>
#include <stop_token>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

namespace audiobookd::daemon {

class BookTicket;

struct PoolOptions {
  std::size_t read_ahead = 64;   ///< pieces of one book from its first missing one on that are offered; twice the batch
  std::size_t store_threads = 2; ///< that check waveforms and put them into the store
  std::size_t store_backlog = 64;         ///< results waiting for those threads beyond which nothing more is offered
  int max_retries = 2;                    ///< of one piece, each with other random numbers
  std::optional<GateSettings> gates = {}; ///< nothing: whatever can be heard at all is taken
  std::optional<GateCommandSettings> command = {}; ///< that listens to what the gates look at
};

/// What is judged and how, for all books.
struct GateOptions {
  std::optional<GateSettings> gates = {};
  std::optional<GateCommandSettings> command = {};
};

/// Options that suit the batch of an engine. With a synthetic one nothing is judged, and the log says so.
[[nodiscard]] PoolOptions pool_options(const engine::EngineInfo& info, const GateOptions& gates = {});

/// Where a piece is. Waveforms on their way to the store count as `delivered`.
enum class PieceState { missing, in_flight, delivered, stored };

class UtterancePool final : public engine::WorkSource, public engine::Sink {
public:
  UtterancePool(Renderer& renderer, storage::ChunkStore& store, const PoolOptions& options);

  /// Adds a book: pieces whose audio is in the store are not rendered again, those whose tokens are there are only
  /// synthesised. @param priority smaller is served first. @param progress hears what is stored.
  /// @throws what the store throws.
  [[nodiscard]] std::unique_ptr<BookTicket> open(std::shared_ptr<const Book> book, int priority,
                                                 std::shared_ptr<BookProgress> progress);

  std::vector<engine::Utterance> next(std::size_t free_capacity) override;
  std::vector<engine::Utterance> next_urgent(std::size_t free_capacity) override;
  void aligned(engine::UtteranceId id, const engine::Alignment& alignment) override;
  void tokens(engine::UtteranceId id, std::span<const std::int32_t> speech_tokens) override;
  void finished(engine::UtteranceId id, engine::Waveform waveform) override;
  void failed(engine::UtteranceId id, std::string why) override;

  /// From now on next() offers nothing.
  void stop_offering();
  /// After stop_offering(): drops what the engine is decoding, so that run() can return soon. What it is making sound
  /// of already still arrives and is stored, also when its book was closed; tokens of the others are stored since they
  /// were complete.
  void cancel_in_flight();
  /// The engine has returned for good: once what it delivered is stored, whoever waits for anything else is told
  /// Interrupted. @param device_failure why it returned if its device failed, else empty: writers of books that it was
  /// working on are told DeviceFailure.
  void end(const std::string& device_failure = {});

  /// Takes of an utterance that may come to lie in the store besides the one that is heard.
  [[nodiscard]] int most_takes() const { return options_.gates || command_ ? options_.max_retries + 1 : 0; }
  [[nodiscard]] std::size_t in_flight() const;
  /// Rises whenever the engine delivers anything.
  [[nodiscard]] std::uint64_t deliveries() const;

private:
  friend class BookTicket;
  struct Slot {
    PieceState state = PieceState::missing;
    int attempt = 0;
    bool was_rendered = false;                 // since the book was opened
    bool was_lost = false;                     // the store had lost the take that was to be heard
    std::vector<std::int32_t> speech_tokens;   // of an earlier run
    std::optional<AlignmentSummary> alignment; // of these
    std::vector<Take> takes;                   // that gates found fault with
  };
  using Clock = std::chrono::steady_clock;
  struct OpenBook {
    OpenBook(std::shared_ptr<const Book> book, int service_priority, std::shared_ptr<BookProgress> book_progress)
        : plan(std::move(book)), priority(service_priority), progress(std::move(book_progress)) {}
    const std::shared_ptr<const Book> plan;
    const std::vector<Piece>& pieces = plan->pieces;
    const int priority;
    const std::shared_ptr<BookProgress> progress;
    std::vector<Slot> slots;
    std::vector<std::size_t> todo;                // pieces missing at the start, in reading order
    std::size_t window_begin = 0;                 // index into todo: everything before is delivered
    std::size_t window_end = 0;                   // index into todo: everything before was ready once
    std::set<std::pair<bool, std::size_t>> ready; // (is new, piece): what is tried again goes first
    std::int64_t credit = 0;                      // tokens it may still take in this round
    std::size_t rendered = 0;
    std::size_t unheard = 0; // pieces that the gate command did not judge
    std::optional<Clock::time_point> last_delivery;
    std::exception_ptr failure;
    std::condition_variable_any changed;
  };
  using BookPtr = std::shared_ptr<OpenBook>;
  struct InFlight {
    BookPtr book;
    std::size_t piece = 0;
    std::vector<std::int32_t> tokens; // as far as gates want them
    std::optional<AlignmentSummary> alignment;
  };
  /// What is in flight when its sound has arrived.
  struct Arrival {
    InFlight place;
    std::shared_ptr<const engine::Waveform> sound;
    std::optional<double> score; // of the gate command
    bool unheard = false;        // it failed to judge it
  };

  [[nodiscard]] BookPtr look_up(std::shared_ptr<const Book> plan, int priority,
                                std::shared_ptr<BookProgress> progress) const;
  void adopt_chosen(const Piece& piece) const;
  void widen_window(OpenBook& book) const;
  [[nodiscard]] bool is_busy() const;
  [[nodiscard]] bool is_served_at(const OpenBook& book, int priority) const;
  OpenBook* choose_book();
  engine::Utterance take(OpenBook& book);
  InFlight take_back(engine::UtteranceId id);
  void listen(Arrival arrival);
  void settle(const Arrival& arrival);
  [[nodiscard]] std::vector<Finding> examine(const Arrival& arrival) const;
  void add_take(const Arrival& arrival, std::vector<Finding> findings);
  void choose(const BookPtr& book, std::size_t piece, const Arrival* last);
  void store_chosen(const BookPtr& book, std::size_t piece, int sample_rate, std::span<const float> samples,
                    const AudioNotes& notes);
  void retry(const BookPtr& book, std::size_t piece, const std::string& why);
  void begin_attempt(OpenBook& book, std::size_t piece, int attempt);
  void make_urgent(OpenBook& book, std::size_t piece);
  void fail(OpenBook& book, std::exception_ptr why);
  void withdraw_in_flight(const OpenBook& book);
  void close(const BookPtr& book);

  Renderer& renderer_;
  storage::ChunkStore& store_;
  const PoolOptions options_;
  mutable std::mutex mutex_; // protects everything below but lanes_
  std::vector<BookPtr> books_;
  std::size_t turn_ = 0; // index into books_
  std::unordered_map<engine::UtteranceId, InFlight> in_flight_;
  engine::UtteranceId last_id_ = 0;
  std::uint64_t deliveries_ = 0;
  bool offering_ = true;
  bool ended_ = false;
  bool said_unheard_ = false; // the log was told that the gate command fails
  const std::optional<GateCommand> command_;
  std::stop_source stop_listening_;
  TaskLanes lanes_;                    // its threads use everything above
  std::optional<TaskLanes> listeners_; // last: its threads use everything above; present with a command
};

/// What a book's writer holds while its book is rendered. Destroying it withdraws the book.
class BookTicket {
public:
  ~BookTicket();
  BookTicket(const BookTicket&) = delete;
  BookTicket& operator=(const BookTicket&) = delete;

  /// Blocks until @p piece is in the store.
  /// @throws RenderError when a piece of the book cannot be rendered; what the store threw; Interrupted when @p stop is
  /// requested or the engine has stopped before; DeviceFailure when the engine failed while it worked on the book.
  void wait_stored(std::size_t piece, std::stop_token stop);
  /// The stored audio of @p piece turned out to be unreadable: it is rendered again, before everything else.
  void render_again(std::size_t piece);

  [[nodiscard]] std::size_t rendered() const; ///< pieces rendered since the book was opened
  [[nodiscard]] std::size_t unheard() const;  ///< takes that the gate command failed to judge
  /// When the engine delivered the latest of its waveforms, if it delivered any.
  [[nodiscard]] std::optional<std::chrono::steady_clock::time_point> last_delivery() const;

private:
  friend class UtterancePool;
  BookTicket(UtterancePool& pool, UtterancePool::BookPtr book) : pool_(pool), book_(std::move(book)) {}

  UtterancePool& pool_;
  UtterancePool::BookPtr book_;
};

} // namespace audiobookd::daemon
