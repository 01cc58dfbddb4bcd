// Deficit round-robin (Shreedhar and Varghese, 1995) over books, a window of ready pieces inside each. One mutex: every
// critical section is a few look-ups.
#include "daemon/utterance_pool.h"

#include "daemon/errors.h"

#include <algorithm>
#include <climits>
#include <cmath>
#include <nlohmann/json.hpp>

namespace audiobookd::daemon {
namespace {

/// Tokens a book may take in one round: about one long utterance.
constexpr std::int64_t quantum = 400;

std::string describe(const engine::Waveform& waveform) {
  if (waveform.samples.empty()) {
    return "the engine delivered no samples";
  }
  const auto bad = std::ranges::find_if(waveform.samples, [](float sample) { return !std::isfinite(sample); });
  if (bad == waveform.samples.end()) {
    return {};
  }
  return "sample " + std::to_string(bad - waveform.samples.begin()) + " is not a finite number";
}

std::string token_metadata(int attempt) { return nlohmann::json{{"attempt", attempt}}.dump(); }

/// Nothing when @p metadata is not what token_metadata() makes.
std::optional<int> attempt_of(const std::string& metadata) {
  const auto json = nlohmann::json::parse(metadata, nullptr, false);
  const bool is_ours = json.is_object() && json.contains("attempt") && json["attempt"].is_number_integer();
  return is_ours ? std::optional(json["attempt"].get<int>()) : std::nullopt;
}

} // namespace

PoolOptions pool_options(const engine::EngineInfo& info) {
  constexpr std::size_t batch_of_store_thread = 256; // one GPU's batch takes two
  const auto batch = static_cast<std::size_t>(std::max(1, info.max_batch));
  PoolOptions options;
  options.read_ahead = 2 * batch;
  options.store_threads = std::clamp<std::size_t>(batch / batch_of_store_thread, 2, 16);
  options.store_backlog = std::max(options.store_backlog, options.read_ahead);
  return options;
}

UtterancePool::UtterancePool(Renderer& renderer, storage::ChunkStore& store, const PoolOptions& options)
    : renderer_(renderer), store_(store), options_(options),
      lanes_(options.store_threads, options.store_backlog, [this] { renderer_.notify(); }) {}

std::unique_ptr<BookTicket> UtterancePool::open(std::shared_ptr<const Book> plan, int priority,
                                                std::shared_ptr<BookProgress> progress) {
  BookPtr book = look_up(std::move(plan), priority, std::move(progress));
  {
    const std::lock_guard lock(mutex_);
    widen_window(*book);
    books_.push_back(book);
  }
  renderer_.notify();
  return std::unique_ptr<BookTicket>(new BookTicket(*this, std::move(book)));
}

UtterancePool::BookPtr UtterancePool::look_up(std::shared_ptr<const Book> plan, int priority,
                                              std::shared_ptr<BookProgress> progress) const {
  auto book = std::make_shared<OpenBook>(std::move(plan), priority, std::move(progress));
  const std::vector<Piece>& pieces = book->pieces;
  book->slots.resize(pieces.size());
  for (std::size_t i = 0; i < pieces.size(); ++i) {
    Slot& slot = book->slots[i];
    if (store_.contains_audio(pieces[i].chunk_key)) {
      slot.state = PieceState::stored;
      book->progress->add_stored(pieces[i].predicted_tokens);
      continue;
    }
    book->todo.push_back(i);
    auto tokens = store_.read_tokens(pieces[i].chunk_key);
    if (const auto attempt = tokens ? attempt_of(tokens->metadata) : std::nullopt) {
      slot.attempt = *attempt;
      slot.speech_tokens = std::move(tokens->tokens);
    }
  }
  return book;
}

void UtterancePool::widen_window(OpenBook& book) const {
  const auto is_delivered = [&book](std::size_t piece) {
    return book.slots[piece].state == PieceState::delivered || book.slots[piece].state == PieceState::stored;
  };
  while (book.window_begin < book.window_end && is_delivered(book.todo[book.window_begin])) {
    ++book.window_begin;
  }
  while (book.window_end < std::min(book.todo.size(), book.window_begin + options_.read_ahead)) {
    const std::size_t piece = book.todo[book.window_end++];
    book.ready.emplace(true, piece);
  }
}

std::vector<engine::Utterance> UtterancePool::next(std::size_t free_capacity) {
  std::vector<engine::Utterance> answer;
  const std::lock_guard lock(mutex_);
  if (!offering_ || lanes_.is_full()) {
    return answer;
  }
  while (answer.size() < free_capacity) {
    OpenBook* book = choose_book();
    if (book == nullptr) {
      break;
    }
    answer.push_back(take(*book));
  }
  return answer;
}

std::vector<engine::Utterance> UtterancePool::next_urgent(std::size_t free_capacity) {
  std::vector<engine::Utterance> answer;
  const std::lock_guard lock(mutex_);
  if (!offering_ || lanes_.is_full()) {
    return answer;
  }
  for (const BookPtr& book : books_) { // in the order they were opened
    const auto offers_urgent = [&book] {
      return !book->ready.empty() && book->pieces[book->ready.begin()->second].utterance.urgent;
    };
    while (answer.size() < free_capacity && offers_urgent()) {
      answer.push_back(take(*book));
    }
  }
  return answer;
}

bool UtterancePool::is_served_at(const OpenBook& book, int priority) const {
  return book.priority == priority && !book.ready.empty();
}

UtterancePool::OpenBook* UtterancePool::choose_book() {
  int priority = INT_MAX;
  bool any = false;
  for (const BookPtr& book : books_) {
    if (!book->ready.empty()) {
      priority = std::min(priority, book->priority);
      any = true;
    }
  }
  while (any) {
    OpenBook& book = *books_[turn_ % books_.size()];
    if (!is_served_at(book, priority)) {
      book.credit = 0;
    } else if (book.credit >= book.pieces[book.ready.begin()->second].predicted_tokens) {
      return &book;
    }
    turn_ = (turn_ + 1) % books_.size();
    if (is_served_at(*books_[turn_], priority)) {
      books_[turn_]->credit += quantum;
    }
  }
  return nullptr;
}

engine::Utterance UtterancePool::take(OpenBook& book) {
  const std::size_t piece = book.ready.begin()->second;
  book.ready.erase(book.ready.begin());
  book.credit -= book.pieces[piece].predicted_tokens;
  Slot& slot = book.slots[piece];
  slot.state = PieceState::in_flight;
  engine::Utterance utterance = book.pieces[piece].utterance;
  utterance.id = ++last_id_;
  utterance.attempt = slot.attempt;
  utterance.speech_tokens = slot.speech_tokens;
  const auto owner = std::ranges::find(books_, &book, &BookPtr::get);
  in_flight_.emplace(utterance.id, InFlight{*owner, piece});
  return utterance;
}

UtterancePool::InFlight UtterancePool::take_back(engine::UtteranceId id) {
  ++deliveries_;
  const auto found = in_flight_.find(id);
  if (found == in_flight_.end()) {
    return {}; // withdrawn meanwhile
  }
  InFlight result = std::move(found->second);
  in_flight_.erase(found);
  return result;
}

void UtterancePool::tokens(engine::UtteranceId id, std::span<const std::int32_t> speech_tokens) {
  const std::lock_guard lock(mutex_);
  ++deliveries_;
  const auto found = in_flight_.find(id);
  if (found == in_flight_.end()) {
    return;
  }
  const auto& [book, piece] = found->second;
  const int attempt = book->slots[piece].attempt;
  lanes_.push(piece, [this, book = book, piece = piece, attempt,
                      kept = std::vector<std::int32_t>(speech_tokens.begin(), speech_tokens.end())] {
    try {
      store_.put_tokens(book->pieces[piece].chunk_key, kept, token_metadata(attempt));
    } catch (const std::exception&) {
      const std::lock_guard guard(mutex_);
      fail(*book, std::current_exception());
    }
  });
}

void UtterancePool::finished(engine::UtteranceId id, engine::Waveform waveform) {
  const std::lock_guard lock(mutex_);
  const InFlight done = take_back(id);
  if (!done.book) {
    return;
  }
  done.book->slots[done.piece].state = PieceState::delivered;
  done.book->last_delivery = Clock::now();
  widen_window(*done.book);
  lanes_.push(done.piece, [this, done, sound = std::make_shared<const engine::Waveform>(std::move(waveform))] {
    store_waveform(done.book, done.piece, *sound);
  });
}

void UtterancePool::store_waveform(const BookPtr& book, std::size_t piece, const engine::Waveform& waveform) {
  const std::string fault = describe(waveform);
  std::unique_lock lock(mutex_);
  Slot& slot = book->slots[piece];
  if (!fault.empty()) {
    retry(*book, piece, fault);
    return;
  }
  const nlohmann::json metadata = {{"attempt", slot.attempt}, {"hit_token_limit", waveform.hit_token_limit}};
  lock.unlock();
  std::exception_ptr failure;
  try {
    store_.put_audio(book->pieces[piece].chunk_key, waveform.sample_rate, waveform.samples, metadata.dump());
  } catch (const std::exception&) {
    failure = std::current_exception();
  }
  lock.lock();
  if (failure) {
    fail(*book, failure);
    return;
  }
  slot.state = PieceState::stored;
  slot.speech_tokens.clear();
  book->progress->add_stored(book->pieces[piece].predicted_tokens);
  book->rendered += slot.was_rendered ? 0 : 1;
  slot.was_rendered = true;
  book->changed.notify_all();
}

void UtterancePool::failed(engine::UtteranceId id, std::string why) {
  const std::lock_guard lock(mutex_);
  const InFlight lost = take_back(id);
  if (lost.book) {
    retry(*lost.book, lost.piece, why);
  }
}

void UtterancePool::retry(OpenBook& book, std::size_t piece, const std::string& why) {
  Slot& slot = book.slots[piece];
  if (slot.attempt >= options_.max_retries) {
    const std::string message = "utterance \"" + book.pieces[piece].utterance.text + "\" failed " +
                                std::to_string(slot.attempt + 1) + " times, at last: " + why;
    fail(book, std::make_exception_ptr(RenderError(message)));
    return;
  }
  ++slot.attempt;
  slot.speech_tokens.clear(); // other random numbers, other tokens
  make_urgent(book, piece);
}

void UtterancePool::make_urgent(OpenBook& book, std::size_t piece) {
  book.slots[piece].state = PieceState::missing;
  if (!book.failure) {
    book.ready.emplace(false, piece);
  }
  renderer_.notify();
}

void UtterancePool::fail(OpenBook& book, std::exception_ptr why) {
  if (!book.failure) {
    book.failure = std::move(why);
  }
  book.ready.clear();
  book.window_end = book.todo.size();
  withdraw_in_flight(book);
  book.changed.notify_all();
}

void UtterancePool::withdraw_in_flight(const OpenBook& book) {
  for (auto it = in_flight_.begin(); it != in_flight_.end();) {
    if (it->second.book.get() == &book) {
      renderer_.cancel(it->first);
      it = in_flight_.erase(it);
    } else {
      ++it;
    }
  }
}

void UtterancePool::stop_offering() {
  const std::lock_guard lock(mutex_);
  offering_ = false;
}

void UtterancePool::cancel_in_flight() {
  const std::lock_guard lock(mutex_);
  for (const auto& [id, place] : in_flight_) {
    renderer_.cancel(id);
  }
}

void UtterancePool::end(const std::string& device_failure) {
  lanes_.wait_idle();
  const std::lock_guard lock(mutex_);
  offering_ = false;
  ended_ = true;
  if (!device_failure.empty()) {
    const auto failure = std::make_exception_ptr(DeviceFailure(device_failure));
    while (!in_flight_.empty()) {
      const BookPtr book = in_flight_.begin()->second.book;
      fail(*book, failure); // withdraws what it has in flight
    }
  }
  for (const BookPtr& book : books_) {
    book->changed.notify_all();
  }
}

std::size_t UtterancePool::in_flight() const {
  const std::lock_guard lock(mutex_);
  return in_flight_.size();
}

std::uint64_t UtterancePool::deliveries() const {
  const std::lock_guard lock(mutex_);
  return deliveries_;
}

void UtterancePool::close(const BookPtr& book) {
  const std::lock_guard lock(mutex_);
  if (offering_) { // else what still arrives is stored for whoever takes the book up again
    withdraw_in_flight(*book);
  }
  std::erase(books_, book);
  turn_ = 0;
}

BookTicket::~BookTicket() { pool_.close(book_); }

void BookTicket::wait_stored(std::size_t piece, std::stop_token stop) {
  std::unique_lock lock(pool_.mutex_);
  const auto is_stored = [&] { return book_->slots[piece].state == PieceState::stored; };
  book_->changed.wait(lock, stop, [&] { return is_stored() || book_->failure || pool_.ended_; });
  if (book_->failure) {
    std::rethrow_exception(book_->failure);
  }
  if (stop.stop_requested() || !is_stored()) {
    throw Interrupted();
  }
}

void BookTicket::render_again(std::size_t piece) {
  const std::lock_guard lock(pool_.mutex_);
  book_->progress->add_stored(-book_->pieces[piece].predicted_tokens);
  pool_.make_urgent(*book_, piece);
}

std::size_t BookTicket::rendered() const {
  const std::lock_guard lock(pool_.mutex_);
  return book_->rendered;
}

std::optional<std::chrono::steady_clock::time_point> BookTicket::last_delivery() const {
  const std::lock_guard lock(pool_.mutex_);
  return book_->last_delivery;
}

} // namespace audiobookd::daemon
