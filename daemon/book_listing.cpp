// See book_listing.h.
#include "daemon/book_listing.h"

#include "engine/hash128.h"

#include <algorithm>
#include <cmath>
#include <stdexcept>

namespace audiobookd::daemon {
namespace {

using Json = nlohmann::ordered_json;

constexpr int listing_version = 1;
constexpr std::size_t longest_name = 200; // of what can be published

/// Tells samples apart at every rate.
double rounded(double seconds) { return std::round(1e6 * seconds) / 1e6; }

std::string text_of(const Json& json) { return json.dump(-1, ' ', false, Json::error_handler_t::replace); }

Json to_json(const std::vector<Finding>& findings) {
  Json json = Json::array();
  for (const Finding& finding : findings) {
    json.push_back({{"gate", finding.gate}, {"value", finding.value}, {"bound", finding.bound}});
  }
  return json;
}

Json to_json(const std::vector<Take>& takes) {
  Json json = Json::array();
  for (const Take& take : takes) {
    json.push_back({{"take", take.attempt}, {"badness", take.badness}, {"findings", to_json(take.findings)}});
  }
  return json;
}

std::vector<Finding> findings_from(const Json& json) {
  std::vector<Finding> findings;
  for (const Json& one : json) {
    findings.push_back({one.at("gate"), one.at("value"), one.at("bound")});
  }
  return findings;
}

std::vector<Take> takes_from(const Json& json) {
  std::vector<Take> takes;
  for (const Json& one : json) {
    takes.push_back({one.at("take"), one.at("badness"), findings_from(one.at("findings"))});
  }
  return takes;
}

ListedUtterance utterance_from(const Json& json) {
  ListedUtterance utterance;
  json.at("number").get_to(utterance.number);
  json.at("file").get_to(utterance.file);
  json.at("start").get_to(utterance.start_s);
  json.at("end").get_to(utterance.end_s);
  json.at("chapter").get_to(utterance.chapter);
  json.at("chapter_title").get_to(utterance.chapter_title);
  json.at("written").get_to(utterance.written);
  json.at("spoken").get_to(utterance.spoken);
  json.at("seed").get_to(utterance.seed);
  json.at("key").get_to(utterance.key);
  if (!json.at("same_as").is_null()) {
    utterance.same_as = json.at("same_as").get<std::size_t>();
  }
  json.at("redone").get_to(utterance.redone);
  json.at("take").get_to(utterance.take);
  json.at("unheard").get_to(utterance.unheard);
  utterance.findings = findings_from(json.at("findings"));
  utterance.takes = takes_from(json.at("takes"));
  json.at("num_takes").get_to(utterance.num_takes);
  return utterance;
}

BookListing listing_from(const Json& json) {
  if (const int version = json.at("v"); version != listing_version) {
    throw std::runtime_error("its format is " + std::to_string(version) + ", this version knows " +
                             std::to_string(listing_version));
  }
  BookListing listing;
  json.at("job").get_to(listing.job);
  listing.payload = json.at("payload").is_null() ? "" : text_of(json.at("payload"));
  json.at("output").get_to(listing.output);
  json.at("fingerprint").get_to(listing.fingerprint);
  json.at("model").get_to(listing.model);
  json.at("voice").get_to(listing.voice);
  json.at("gain_db").get_to(listing.gain_db);
  for (const Json& utterance : json.at("utterances")) {
    listing.utterances.push_back(utterance_from(utterance));
    if (listing.utterances.back().number != listing.utterances.size()) {
      throw std::runtime_error("utterance " + std::to_string(listing.utterances.size()) + " is missing");
    }
  }
  return listing;
}

} // namespace

double ListedUtterance::badness() const {
  const auto heard = std::ranges::find(takes, take, &Take::attempt);
  return heard == takes.end() ? static_cast<double>(findings.size()) : heard->badness;
}

std::string listing_name(const std::string& output, bool is_folder) {
  if (is_folder) {
    return output + "/" + listing_file;
  }
  const std::size_t begin = output.rfind('/') == std::string::npos ? 0 : output.rfind('/') + 1;
  const std::string suffix = std::string(".") + listing_file;
  std::string name = "." + output.substr(begin) + suffix;
  if (name.size() > longest_name) {
    name = "." + engine::HashBuilder().add(output.substr(begin)).finish().hex() + suffix;
  }
  return output.substr(0, begin) + name;
}

Json to_json(const ListedUtterance& utterance) {
  return {{"number", utterance.number},
          {"file", utterance.file},
          {"start", rounded(utterance.start_s)},
          {"end", rounded(utterance.end_s)},
          {"chapter", utterance.chapter},
          {"chapter_title", utterance.chapter_title},
          {"written", utterance.written},
          {"spoken", utterance.spoken},
          {"seed", utterance.seed},
          {"key", utterance.key},
          {"same_as", utterance.same_as ? Json(*utterance.same_as) : Json()},
          {"redone", utterance.redone},
          {"take", utterance.take},
          {"unheard", utterance.unheard},
          {"findings", to_json(utterance.findings)},
          {"takes", to_json(utterance.takes)},
          {"num_takes", utterance.num_takes}};
}

std::string to_json(const BookListing& listing) {
  const Json head = {
      {"v", listing_version},       {"job", listing.job},
      {"output", listing.output},   {"fingerprint", listing.fingerprint},
      {"model", listing.model},     {"voice", listing.voice},
      {"gain_db", listing.gain_db}, {"payload", listing.payload.empty() ? Json() : Json::parse(listing.payload)}};
  std::string text = text_of(head);
  text.pop_back(); // its brace
  text += ",\n\"utterances\":[";
  const char* separator = "\n";
  for (const ListedUtterance& utterance : listing.utterances) {
    text += separator + text_of(to_json(utterance));
    separator = ",\n";
  }
  return text + "\n]}\n";
}

BookListing parse_listing(std::string_view json, const std::string& name) {
  try {
    return listing_from(Json::parse(json));
  } catch (const std::exception& error) { // what nlohmann throws is one, too
    throw std::runtime_error("'" + name + "' is no listing of utterances that can be read: " + error.what());
  }
}

} // namespace audiobookd::daemon
