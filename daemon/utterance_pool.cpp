// Deficit round-robin (Shreedhar and Varghese, 1995) over books, a window of ready pieces inside each. One mutex: every
// critical section is a few look-ups.
#include "daemon/utterance_pool.h"

#include "daemon/errors.h"
#include "storage/errors.h"

#include <algorithm>
#include <climits>
#include <spdlog/spdlog.h>

namespace audiobookd::daemon {
namespace {

/// Tokens a book may take in one round: about one long utterance.
constexpr std::int64_t quantum = 400;

} // namespace

PoolOptions pool_options(const engine::EngineInfo& info, const GateOptions& gates) {
  constexpr std::size_t batch_of_store_thread = 256; // one GPU's batch takes two
  const auto batch = static_cast<std::size_t>(std::max(1, info.max_batch));
  PoolOptions options;
  options.read_ahead = 2 * batch;
  options.store_threads = std::clamp<std::size_t>(batch / batch_of_store_thread, 2, 16);
  options.store_backlog = std::max(options.store_backlog, options.read_ahead);
  if (info.synthetic && (gates.gates || gates.command)) {
    spdlog::info("no gates on utterances: synthetic weights make noise, which cannot be judged");
    return options;
  }
  options.gates = gates.gates;
  options.command = gates.command;
  options.max_retries = gates.gates ? gates.gates->max_retries : options.max_retries;
  return options;
}

UtterancePool::UtterancePool(Renderer& renderer, storage::ChunkStore& store, const PoolOptions& options)
    : renderer_(renderer), store_(store), options_(options),
      command_(options.command ? std::optional<GateCommand>(std::in_place, *options.command) : std::nullopt),
      lanes_(options.store_threads, options.store_backlog, [this] { renderer_.notify(); }) {
  if (command_) {
    listeners_.emplace(static_cast<std::size_t>(command_->settings().processes), options.store_backlog,
                       [this] { renderer_.notify(); });
  }
}

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
    slot.attempt = pieces[i].chosen ? pieces[i].chosen->attempt : 0;
    adopt_chosen(pieces[i]);
    if (store_.contains_audio(pieces[i].chunk_key)) {
      slot.state = PieceState::stored;
      book->progress->add_stored(pieces[i].predicted_tokens);
      continue;
    }
    book->todo.push_back(i);
    auto tokens = store_.read_tokens(pieces[i].chunk_key);
    if (auto notes = tokens ? token_notes(tokens->metadata) : std::nullopt) {
      slot.attempt = notes->attempt;
      slot.alignment = notes->alignment;
      slot.takes = std::move(notes->takes);
      slot.speech_tokens = std::move(tokens->tokens);
    }
  }
  return book;
}

/// A take that somebody has chosen may be the one that was heard before.
void UtterancePool::adopt_chosen(const Piece& piece) const {
  if (!piece.chosen || store_.contains_audio(piece.chunk_key)) {
    return;
  }
  const auto chunk = store_.read_audio(piece.chosen->chunk_key);
  auto notes = chunk ? audio_notes(chunk->metadata) : std::nullopt;
  if (notes && notes->attempt == piece.chosen->attempt) {
    notes->takes.clear();
    store_.put_audio(piece.chunk_key, chunk->sample_rate, chunk->samples, to_metadata(*notes));
  }
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

/// Whether too much waits to be judged or stored.
bool UtterancePool::is_busy() const { return lanes_.is_full() || (listeners_ && listeners_->is_full()); }

std::vector<engine::Utterance> UtterancePool::next(std::size_t free_capacity) {
  std::vector<engine::Utterance> answer;
  const std::lock_guard lock(mutex_);
  if (!offering_ || is_busy()) {
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
  if (!offering_ || is_busy()) {
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
  in_flight_.emplace(utterance.id, InFlight{*owner, piece, slot.speech_tokens, slot.alignment});
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

void UtterancePool::aligned(engine::UtteranceId id, const engine::Alignment& alignment) {
  const AlignmentSummary summary = summarise(alignment);
  const std::lock_guard lock(mutex_);
  if (const auto found = in_flight_.find(id); found != in_flight_.end()) {
    found->second.alignment = summary;
  }
}

void UtterancePool::tokens(engine::UtteranceId id, std::span<const std::int32_t> speech_tokens) {
  const std::lock_guard lock(mutex_);
  ++deliveries_;
  const auto found = in_flight_.find(id);
  if (found == in_flight_.end()) {
    return;
  }
  InFlight& place = found->second;
  place.tokens.assign(speech_tokens.begin(), speech_tokens.end());
  const Slot& slot = place.book->slots[place.piece];
  TokenNotes notes{slot.attempt, place.alignment, slot.takes};
  lanes_.push(place.piece,
              [this, book = place.book, piece = place.piece, kept = place.tokens, notes = std::move(notes)] {
                try {
                  store_.put_tokens(book->pieces[piece].chunk_key, kept, to_metadata(notes));
                } catch (const std::exception&) {
                  const std::lock_guard guard(mutex_);
                  fail(*book, std::current_exception());
                }
              });
}

void UtterancePool::finished(engine::UtteranceId id, engine::Waveform waveform) {
  const std::lock_guard lock(mutex_);
  InFlight done = take_back(id);
  if (!done.book) {
    return;
  }
  done.book->slots[done.piece].state = PieceState::delivered;
  done.book->last_delivery = Clock::now();
  widen_window(*done.book);
  const std::size_t piece = done.piece;
  Arrival arrival{std::move(done), std::make_shared<const engine::Waveform>(std::move(waveform)), {}};
  if (listeners_) {
    listeners_->push(piece, [this, arrival = std::move(arrival)]() mutable { listen(std::move(arrival)); });
  } else {
    lanes_.push(piece, [this, arrival = std::move(arrival)] { settle(arrival); });
  }
}

/// On a thread for listening: has the command judge what can be heard, then passes it on.
void UtterancePool::listen(Arrival arrival) {
  const auto& [book, piece, tokens, alignment] = arrival.place;
  if (describe_fault(*arrival.sound).empty()) {
    try {
      arrival.score = command_->score(*arrival.sound, book->pieces[piece].utterance.text, stop_listening_.get_token());
    } catch (const Interrupted&) {
      return; // its tokens are stored: whoever takes the book up again makes it sound and listens
    } catch (const std::exception& error) {
      const std::lock_guard lock(mutex_);
      ++book->unheard;
      arrival.unheard = true;
      if (!std::exchange(said_unheard_, true)) {
        spdlog::error("{}; what it cannot judge is taken without it, from now on silently", error.what());
      }
    }
  }
  const std::size_t lane = piece;
  lanes_.push(lane, [this, arrival = std::move(arrival)] { settle(arrival); });
}

/// On a thread of the store: what becomes of a waveform.
void UtterancePool::settle(const Arrival& arrival) {
  const BookPtr& book = arrival.place.book;
  const std::size_t piece = arrival.place.piece;
  if (const std::string fault = describe_fault(*arrival.sound); !fault.empty()) {
    const std::lock_guard lock(mutex_);
    retry(book, piece, fault);
    return;
  }
  AudioNotes notes;
  {
    const std::lock_guard lock(mutex_);
    notes = {book->slots[piece].attempt, arrival.sound->hit_token_limit, {}, book->slots[piece].takes, arrival.unheard};
  }
  const auto known = std::ranges::find(notes.takes, notes.attempt, &Take::attempt);
  if (known != notes.takes.end()) { // was chosen before, and its audio had gone
    notes.findings = known->findings;
  } else if (std::vector<Finding> findings = examine(arrival); book->pieces[piece].chosen) {
    notes.findings = std::move(findings);
  } else if (!findings.empty()) {
    add_take(arrival, std::move(findings));
    return;
  }
  store_chosen(book, piece, arrival.sound->sample_rate, arrival.sound->samples, notes);
}

std::vector<Finding> UtterancePool::examine(const Arrival& arrival) const {
  std::vector<Finding> findings;
  const auto& [book, piece, tokens, alignment] = arrival.place;
  if (options_.gates) {
    const Reading reading{book->pieces[piece].predicted_tokens, renderer_.info().tokens_per_second, tokens, alignment};
    findings = judge(*arrival.sound, reading, *options_.gates);
  }
  if (arrival.score && *arrival.score < command_->settings().min_score) {
    findings.push_back({"command", *arrival.score, command_->settings().min_score});
  }
  return findings;
}

/// Keeps a take that has findings; then there is another attempt, or one is chosen.
void UtterancePool::add_take(const Arrival& arrival, std::vector<Finding> findings) {
  const BookPtr& book = arrival.place.book;
  const std::size_t piece = arrival.place.piece;
  const std::string& key = book->pieces[piece].chunk_key;
  std::unique_lock lock(mutex_);
  Slot& slot = book->slots[piece];
  const int attempt = slot.attempt;
  slot.takes.push_back({attempt, badness_of(findings), findings});
  const std::vector<Take> takes = slot.takes;
  lock.unlock();
  spdlog::debug("take {} of \"{}\": {}", attempt, book->pieces[piece].utterance.text, describe(findings));
  try {
    const AudioNotes notes{attempt, arrival.sound->hit_token_limit, std::move(findings), {}, arrival.unheard};
    store_.put_audio(take_key(key, attempt), arrival.sound->sample_rate, arrival.sound->samples, to_metadata(notes));
    if (attempt >= options_.max_retries) {
      choose(book, piece, &arrival);
      return;
    }
    store_.put_tokens(key, {}, to_metadata(TokenNotes{attempt + 1, {}, takes})); // so that a restart goes on there
  } catch (const std::exception&) {
    lock.lock();
    fail(*book, std::current_exception());
    return;
  }
  lock.lock();
  begin_attempt(*book, piece, attempt + 1);
}

/// No attempt is left: the best take is the one that is heard. @param last what arrived last, if it is a take.
void UtterancePool::choose(const BookPtr& book, std::size_t piece, const Arrival* last) {
  std::unique_lock lock(mutex_);
  Slot& slot = book->slots[piece];
  const Take best = best_of(slot.takes);
  AudioNotes notes{best.attempt, false, best.findings, slot.takes, false};
  const bool is_last = last != nullptr && best.attempt == slot.attempt;
  slot.attempt = best.attempt;
  lock.unlock();
  try {
    if (is_last) {
      notes.hit_token_limit = last->sound->hit_token_limit;
      notes.unheard = last->unheard;
      store_chosen(book, piece, last->sound->sample_rate, last->sound->samples, notes);
      return;
    }
    const auto chunk = store_.read_audio(take_key(book->pieces[piece].chunk_key, best.attempt));
    if (const auto stored = chunk ? audio_notes(chunk->metadata) : std::nullopt) {
      notes.hit_token_limit = stored->hit_token_limit;
      notes.unheard = stored->unheard;
      store_chosen(book, piece, chunk->sample_rate, chunk->samples, notes);
      return;
    }
  } catch (const std::exception&) {
    lock.lock();
    fail(*book, std::current_exception());
    return;
  }
  lock.lock();
  if (std::exchange(slot.was_lost, true)) {
    fail(*book, std::make_exception_ptr(storage::TransientError(
                    "the chunk store lost take " + take_key(book->pieces[piece].chunk_key, best.attempt) + " twice")));
    return;
  }
  begin_attempt(*book, piece, best.attempt); // the store has lost it: once more the same
}

void UtterancePool::store_chosen(const BookPtr& book, std::size_t piece, int sample_rate,
                                 std::span<const float> samples, const AudioNotes& notes) {
  std::exception_ptr failure;
  try {
    store_.put_audio(book->pieces[piece].chunk_key, sample_rate, samples, to_metadata(notes));
  } catch (const std::exception&) {
    failure = std::current_exception();
  }
  const std::lock_guard lock(mutex_);
  if (failure) {
    fail(*book, failure);
    return;
  }
  Slot& slot = book->slots[piece];
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
    retry(lost.book, lost.piece, why);
  }
}

void UtterancePool::retry(const BookPtr& book, std::size_t piece, const std::string& why) {
  Slot& slot = book->slots[piece];
  if (book->pieces[piece].chosen) {
    fail(*book, std::make_exception_ptr(RenderError("take " + std::to_string(slot.attempt) + " of utterance \"" +
                                                    book->pieces[piece].utterance.text +
                                                    "\" cannot be heard, choose another: " + why)));
  } else if (slot.attempt < options_.max_retries) {
    begin_attempt(*book, piece, slot.attempt + 1);
  } else if (!slot.takes.empty()) {
    slot.state = PieceState::delivered;
    lanes_.push(piece, [this, book, piece] { choose(book, piece, nullptr); });
  } else {
    const std::string message = "utterance \"" + book->pieces[piece].utterance.text + "\" failed " +
                                std::to_string(slot.attempt + 1) + " times, at last: " + why;
    fail(*book, std::make_exception_ptr(RenderError(message)));
  }
}

void UtterancePool::begin_attempt(OpenBook& book, std::size_t piece, int attempt) {
  Slot& slot = book.slots[piece];
  slot.attempt = attempt;
  slot.speech_tokens.clear(); // other random numbers, other tokens
  slot.alignment.reset();
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
  stop_listening_.request_stop();
}

void UtterancePool::end(const std::string& device_failure) {
  if (listeners_) {
    listeners_->wait_idle();
  }
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

std::size_t BookTicket::unheard() const {
  const std::lock_guard lock(pool_.mutex_);
  return book_->unheard;
}

std::optional<std::chrono::steady_clock::time_point> BookTicket::last_delivery() const {
  const std::lock_guard lock(pool_.mutex_);
  return book_->last_delivery;
}

} // namespace audiobookd::daemon
