// Counts and lists of what the chunk store says about pieces.
#include "daemon/gate_report.h"

#include <algorithm>
#include <cmath>
#include <fmt/format.h>
#include <nlohmann/json.hpp>
#include <set>

namespace audiobookd::daemon {
namespace {

constexpr std::size_t most_text_bytes = 160;

/// Not in the middle of a character.
std::string shortened(const std::string& text) {
  if (text.size() <= most_text_bytes) {
    return text;
  }
  std::size_t end = most_text_bytes;
  while (end > 0 && (static_cast<unsigned char>(text[end]) & 0xC0) == 0x80) {
    --end;
  }
  return text.substr(0, end) + "…";
}

double rounded(double value) { return std::round(value * 1000) / 1000; }

const char* plural(std::size_t count) { return count == 1 ? "" : "s"; }

} // namespace

std::string GateReport::summary() const {
  std::string text;
  if (retried > 0) {
    text = fmt::format("{} utterance{} rendered again, {} kept as best effort", retried,
                       retried == 1 ? " was" : "s were", best_effort);
  }
  if (unheard > 0) {
    text += fmt::format("{}{} utterance{} not judged by gates.command, which failed", text.empty() ? "" : "; ", unheard,
                        unheard == 1 ? " was" : "s were");
  }
  return text;
}

std::string describe(const BestEffort& utterance) {
  return fmt::format("chapter {}{}: \"{}\": {} after {} take{}", utterance.chapter,
                     utterance.chapter_title.empty() ? "" : " (" + utterance.chapter_title + ")", utterance.text,
                     describe(utterance.findings), utterance.takes, plural(static_cast<std::size_t>(utterance.takes)));
}

nlohmann::ordered_json to_json(const GateReport& report) {
  auto listed = nlohmann::ordered_json::array();
  for (const BestEffort& utterance : report.listed) {
    auto findings = nlohmann::ordered_json::array();
    for (const Finding& finding : utterance.findings) {
      findings.push_back(
          {{"gate", finding.gate}, {"value", rounded(finding.value)}, {"bound", rounded(finding.bound)}});
    }
    listed.push_back({{"chapter", utterance.chapter},
                      {"chapter_title", utterance.chapter_title},
                      {"text", utterance.text},
                      {"takes", utterance.takes},
                      {"findings", findings}});
  }
  return {{"retried", report.retried},
          {"best_effort", report.best_effort},
          {"best_effort_utterances", listed},
          {"unheard", report.unheard}};
}

GateReport gate_report(const Book& book, const std::map<std::size_t, AudioNotes>& notes) {
  GateReport report;
  std::set<std::size_t> seen;
  for (const PlannedUtterance& place : book.utterances) {
    const auto found = notes.find(place.piece);
    if (found == notes.end() || !seen.insert(place.piece).second) {
      continue;
    }
    const AudioNotes& of_piece = found->second;
    const bool is_chosen = book.pieces[place.piece].chosen.has_value();
    report.retried += !is_chosen && !of_piece.takes.empty() && (of_piece.attempt > 0 || of_piece.takes.size() > 1);
    if (of_piece.findings.empty()) {
      continue;
    }
    ++report.best_effort;
    if (report.listed.size() < GateReport::most_listed) {
      report.listed.push_back({place.chapter + 1, book.chapter_titles.at(place.chapter),
                               shortened(book.pieces[place.piece].utterance.text),
                               std::max(1, static_cast<int>(of_piece.takes.size())), of_piece.findings});
    }
  }
  return report;
}

} // namespace audiobookd::daemon
