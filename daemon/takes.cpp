// What is empty is left out: an utterance that passes at once has the metadata it always had.
#include "daemon/takes.h"

#include "engine/hash128.h"

#include <algorithm>
#include <cstdint>
#include <nlohmann/json.hpp>

namespace audiobookd::daemon {
namespace {

using Json = nlohmann::json;

Json to_json(const std::vector<Finding>& findings) {
  Json json = Json::array();
  for (const Finding& finding : findings) {
    json.push_back({{"gate", finding.gate}, {"value", finding.value}, {"bound", finding.bound}});
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

Json to_json(const std::vector<Take>& takes) {
  Json json = Json::array();
  for (const Take& take : takes) {
    json.push_back({{"attempt", take.attempt}, {"badness", take.badness}, {"findings", to_json(take.findings)}});
  }
  return json;
}

std::vector<Take> takes_from(const Json& json) {
  std::vector<Take> takes;
  for (const Json& one : json) {
    takes.push_back({one.at("attempt"), one.at("badness"), findings_from(one.at("findings"))});
  }
  return takes;
}

Json to_json(const AlignmentSummary& summary) {
  return {{"text_length", summary.text_length},
          {"skipped", summary.skipped},
          {"reread", summary.reread},
          {"unread", summary.unread},
          {"tail", summary.tail}};
}

AlignmentSummary summary_from(const Json& json) {
  return {.text_length = json.at("text_length"),
          .skipped = json.at("skipped"),
          .reread = json.at("reread"),
          .unread = json.at("unread"),
          .tail = json.at("tail")};
}

/// What @p read makes of @p metadata; nothing when a field is missing or of another type.
template <typename Read>
auto parse(const std::string& metadata, const Read& read) -> std::optional<decltype(read(Json()))> {
  try {
    const Json json = Json::parse(metadata);
    return json.at("attempt").is_number_integer() ? std::optional(read(json)) : std::nullopt;
  } catch (const Json::exception&) {
    return std::nullopt;
  }
}

} // namespace

std::string take_key(const std::string& chunk_key, int attempt) {
  return engine::HashBuilder().add("take").add(chunk_key).add(static_cast<std::uint64_t>(attempt)).finish().hex();
}

const Take& best_of(const std::vector<Take>& takes) {
  return *std::ranges::min_element(takes, [](const Take& a, const Take& b) { return a.badness < b.badness; });
}

std::string to_metadata(const AudioNotes& notes) {
  Json json = {{"attempt", notes.attempt}, {"hit_token_limit", notes.hit_token_limit}};
  if (!notes.findings.empty()) {
    json["findings"] = to_json(notes.findings);
  }
  if (!notes.takes.empty()) {
    json["takes"] = to_json(notes.takes);
  }
  if (notes.unheard) {
    json["unheard"] = true;
  }
  return json.dump();
}

std::string to_metadata(const TokenNotes& notes) {
  Json json = {{"attempt", notes.attempt}};
  if (notes.alignment) {
    json["alignment"] = to_json(*notes.alignment);
  }
  if (!notes.takes.empty()) {
    json["takes"] = to_json(notes.takes);
  }
  return json.dump();
}

std::optional<AudioNotes> audio_notes(const std::string& metadata) {
  return parse(metadata, [](const Json& json) {
    AudioNotes notes;
    notes.attempt = json.at("attempt");
    notes.hit_token_limit = json.at("hit_token_limit").get<bool>();
    notes.findings = findings_from(json.value("findings", Json::array()));
    notes.takes = takes_from(json.value("takes", Json::array()));
    notes.unheard = json.value("unheard", false);
    return notes;
  });
}

std::optional<TokenNotes> token_notes(const std::string& metadata) {
  return parse(metadata, [](const Json& json) {
    TokenNotes notes;
    notes.attempt = json.at("attempt");
    if (json.contains("alignment")) {
      notes.alignment = summary_from(json.at("alignment"));
    }
    notes.takes = takes_from(json.value("takes", Json::array()));
    return notes;
  });
}

} // namespace audiobookd::daemon
