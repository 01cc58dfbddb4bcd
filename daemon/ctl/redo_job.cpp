// See redo_job.h.
#include "daemon/ctl/redo_job.h"

#include "daemon/ctl/enqueue.h"
#include "jobs/job.h"

#include <map>
#include <nlohmann/json.hpp>
#include <stdexcept>
#include <utility>

namespace audiobookd::daemon {
namespace {

using Json = nlohmann::ordered_json;

void check(const BookListing& listing, const RedoWish& wish) {
  for (const std::size_t number : wish.numbers) {
    if (number == 0 || number > listing.utterances.size()) {
      throw std::invalid_argument("utterance " + std::to_string(number) + " does not exist, the book has " +
                                  std::to_string(listing.utterances.size()));
    }
  }
  if (wish.text && wish.numbers.size() != 1) {
    throw std::invalid_argument("--text: is of one utterance, and " + std::to_string(wish.numbers.size()) +
                                " are named");
  }
  if (wish.original && (wish.seed || wish.text || wish.take)) {
    throw std::invalid_argument(
        "--original: takes everything back, so neither --seed nor --text nor --take go with it");
  }
}

/// What @p job has redone, by number.
std::map<std::size_t, Json> redone_so_far(const Json& job) {
  std::map<std::size_t, Json> redone;
  if (job.contains("redo") && job["redo"].contains("utterances")) {
    for (const Json& one : job["redo"]["utterances"]) {
      redone.emplace(one.at("number").get<std::size_t>(), one);
    }
  }
  return redone;
}

int next_take(const ListedUtterance& utterance) {
  if (utterance.num_takes >= jobs::most_takes) {
    throw std::invalid_argument("utterance " + std::to_string(utterance.number) + " has " +
                                std::to_string(utterance.num_takes) +
                                " takes already; --take chooses one of them, "
                                "--seed S begins anew");
  }
  return utterance.num_takes;
}

/// @param known what was redone of it before; null: nothing.
Json redo_of(const ListedUtterance& utterance, const Json& known, const RedoWish& wish) {
  Json redo = {{"number", utterance.number}, {"key", utterance.key}};
  const bool starts_anew = wish.text || wish.seed;
  if (wish.text) {
    redo["text"] = *wish.text;
  } else if (known.contains("text")) {
    redo["text"] = known["text"];
  }
  if (wish.seed) {
    redo["seed"] = *wish.seed;
  } else if (known.contains("seed") && !wish.text) {
    redo["seed"] = known["seed"];
  }
  if (wish.take || !starts_anew) {
    redo["take"] = wish.take ? *wish.take : next_take(utterance);
  }
  if (!starts_anew) {
    redo["takes"] = utterance.num_takes;
  }
  return redo;
}

} // namespace

std::string redo_job(const BookListing& listing, const std::string& payload, const RedoWish& wish,
                     const std::string& id) {
  check(listing, wish);
  if (payload.empty()) {
    throw std::invalid_argument("the listing does not say by which job the book was made; --job FILE says it");
  }
  check_job(payload); // before it is looked into
  Json job = Json::parse(payload);
  std::map<std::size_t, Json> redone = redone_so_far(job);
  for (const std::size_t number : wish.numbers) {
    if (wish.original && redone.erase(number) == 0) {
      throw std::invalid_argument("--original: utterance " + std::to_string(number) + " was not redone");
    }
    if (!wish.original) {
      redone[number] = redo_of(listing.utterances[number - 1], redone[number], wish);
    }
  }
  Json list = Json::array();
  for (auto& [number, redo] : redone) {
    list.push_back(std::move(redo));
  }
  job.erase("idempotency_key");
  job.erase("not_before");
  job["id"] = id;
  job["if_exists"] = "replace";
  job["listing"] = true;
  job["redo"] = {{"gain_db", listing.gain_db}, {"utterances", list}};
  std::string json = job.dump();
  check_job(json);
  return json;
}

} // namespace audiobookd::daemon
