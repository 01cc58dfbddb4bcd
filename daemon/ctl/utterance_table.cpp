// See utterance_table.h.
#include "daemon/ctl/utterance_table.h"

#include "daemon/ctl/printable.h"

#include <algorithm>
#include <cmath>
#include <fmt/format.h>
#include <ostream>
#include <regex>
#include <set>
#include <stdexcept>
#include <tuple>

namespace audiobookd::daemon {
namespace {

constexpr std::size_t fewest_text_columns = 20;

std::string format_time(double seconds) {
  const auto tenths = static_cast<long>(std::floor(10 * seconds + 1e-6));
  return fmt::format("{}:{:02}:{:02}.{}", tenths / 36'000, tenths / 600 % 60, tenths / 10 % 60, tenths % 10);
}

/// "0 [1] 2": all attempts, the one that is heard in brackets.
std::string takes_of(const ListedUtterance& utterance) {
  std::string text;
  for (int take = 0; take < std::max(utterance.num_takes, utterance.take + 1); ++take) {
    text += fmt::format("{}{}", text.empty() ? "" : " ",
                        take == utterance.take ? fmt::format("[{}]", take) : std::to_string(take));
  }
  return text;
}

std::string findings_of(const ListedUtterance& utterance) {
  std::string text;
  const auto add = [&text](const std::string& word) { text += (text.empty() ? "" : ",") + word; };
  for (const Finding& finding : utterance.findings) {
    add(printable(finding.gate));
  }
  if (utterance.unheard) {
    add("unheard");
  }
  if (utterance.redone) {
    add("redone");
  }
  return text.empty() ? "-" : text;
}

/// Smaller: looked at first.
auto rank_of(const ListedUtterance* utterance) {
  return std::tuple(-utterance->badness(), utterance->unheard ? 0 : 1, -utterance->num_takes);
}

void require_one_file(const BookListing& listing) {
  std::set<std::string> files;
  for (const ListedUtterance& utterance : listing.utterances) {
    files.insert(utterance.file);
  }
  if (files.size() > 1) {
    throw std::invalid_argument("--around: the book has " + std::to_string(files.size()) +
                                " files; --chapter N says in which the time is");
  }
}

void check_chapter(const BookListing& listing, std::size_t chapter) {
  const std::size_t last = listing.utterances.empty() ? 0 : listing.utterances.back().chapter;
  if (chapter == 0 || chapter > last) {
    throw std::invalid_argument("--chapter: " + std::to_string(chapter) + " does not exist, the book has " +
                                std::to_string(last) + (last == 1 ? " chapter" : " chapters"));
  }
}

std::string summary_of(const BookListing& listing) {
  const auto count = [&](auto predicate) { return std::ranges::count_if(listing.utterances, predicate); };
  return fmt::format("{} utterances: {} with findings, {} of several takes, {} redone\n", listing.utterances.size(),
                     count([](const ListedUtterance& one) { return !one.findings.empty(); }),
                     count([](const ListedUtterance& one) { return one.num_takes > 1; }),
                     count([](const ListedUtterance& one) { return one.redone; }));
}

} // namespace

double parse_time(const std::string& text) {
  static const std::regex form(R"((?:(?:(\d{1,4}):)?(\d{1,4}):)?(\d{1,7}(?:\.\d{1,6})?))");
  std::smatch match;
  if (!std::regex_match(text, match, form)) {
    throw std::invalid_argument("\"" + printable(text) + "\" is no time; expected seconds, MM:SS or HH:MM:SS");
  }
  const auto part = [&](int i) { return match[i].matched ? std::stod(match[i]) : 0; };
  return 3600 * part(1) + 60 * part(2) + part(3);
}

std::vector<const ListedUtterance*> select_utterances(const BookListing& listing, const UtteranceFilter& filter) {
  if (filter.chapter) {
    check_chapter(listing, *filter.chapter);
  } else if (filter.around_s) {
    require_one_file(listing);
  }
  std::vector<const ListedUtterance*> selected;
  for (const ListedUtterance& utterance : listing.utterances) {
    const bool is_near = !filter.around_s || (utterance.start_s - around_reach_s <= *filter.around_s &&
                                              *filter.around_s <= utterance.end_s + around_reach_s);
    if (is_near && (!filter.chapter || utterance.chapter == *filter.chapter)) {
      selected.push_back(&utterance);
    }
  }
  if (filter.suspicious_first) {
    std::ranges::stable_sort(selected, {}, rank_of);
  }
  if (filter.limit > 0 && selected.size() > filter.limit) {
    selected.resize(filter.limit);
  }
  return selected;
}

void print_utterances(std::ostream& out, std::size_t columns, const BookListing& listing,
                      const std::vector<const ListedUtterance*>& utterances) {
  std::size_t takes_width = 5;
  std::size_t findings_width = 8;
  for (const ListedUtterance* utterance : utterances) {
    takes_width = std::max(takes_width, takes_of(*utterance).size());
    findings_width = std::max(findings_width, findings_of(*utterance).size());
  }
  const std::size_t before_text = 5 + 1 + 11 + 1 + 4 + 2 + takes_width + 2 + findings_width + 2;
  const std::size_t text_columns = columns == 0                                  ? SIZE_MAX
                                   : columns > before_text + fewest_text_columns ? columns - before_text
                                                                                 : fewest_text_columns;
  out << fmt::format("{:>5} {:>11} {:>4}  {:<{}}  {:<{}}  {}\n", "#", "TIME", "CH", "TAKES", takes_width, "FINDINGS",
                     findings_width, "TEXT");
  for (const ListedUtterance* utterance : utterances) {
    out << fmt::format("{:>5} {:>11} {:>4}  {:<{}}  {:<{}}  {}\n", utterance->number, format_time(utterance->start_s),
                       utterance->chapter, takes_of(*utterance), takes_width, findings_of(*utterance), findings_width,
                       shortened(printable(utterance->written), text_columns));
  }
  out << '\n' << summary_of(listing);
}

nlohmann::ordered_json to_json(const BookListing& listing, const std::vector<const ListedUtterance*>& utterances) {
  nlohmann::ordered_json list = nlohmann::ordered_json::array();
  for (const ListedUtterance* utterance : utterances) {
    list.push_back(to_json(*utterance));
  }
  return {{"job", listing.job},     {"output", listing.output},   {"model", listing.model},
          {"voice", listing.voice}, {"gain_db", listing.gain_db}, {"utterances", list}};
}

} // namespace audiobookd::daemon
