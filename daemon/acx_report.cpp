// See acx_report.h.
#include "daemon/acx_report.h"

#include "daemon/acx.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <fmt/format.h>
#include <nlohmann/json.hpp>
#include <numeric>
#include <string_view>

namespace audiobookd::daemon {
namespace {

using Json = nlohmann::ordered_json;

constexpr double most_clipped_share = 0.001;
constexpr std::size_t most_failures = 50; // in a result

/// What a measure is called in the text, and its unit.
struct Label {
  std::string_view name;
  const char* text;
  const char* unit;
};

constexpr std::array<Label, 13> labels = {{{"sample_rate_hz", "sample rate", "Hz"},
                                           {"channels", "channels", ""},
                                           {"bitrate_kbps", "bit rate", "kbit/s"},
                                           {"bitrate_spread_kbps", "bit rate varies by", "kbit/s"},
                                           {"seconds", "length", "s"},
                                           {"rms_dbfs", "RMS", "dBFS"},
                                           {"peak_dbfs", "sample peak", "dBFS"},
                                           {"true_peak_dbtp", "true peak", "dBTP"},
                                           {"noise_floor_dbfs", "noise floor", "dBFS"},
                                           {"voice_noise_dbfs", "noise of the voice", "dBFS"},
                                           {"clipped_share", "clipped samples", "of all"},
                                           {"head_seconds", "room tone before", "s"},
                                           {"tail_seconds", "room tone after", "s"}}};
constexpr std::array<std::string_view, 4> format_measures = {"sample_rate_hz", "channels", "bitrate_kbps",
                                                             "bitrate_spread_kbps"};
constexpr const char* notice =
    "These are the technical numbers. The shops behind ACX take no synthetic narration without an agreement.";
constexpr const char* method =
    "Measured on the decoded MP3 files, each for itself; clipped samples on what the voice delivered. Noise floor: RMS "
    "of "
    "the quietest half second. Noise of the voice: median over its utterances of the quietest 30 ms of each.";

double to_db(double power) { return 10 * std::log10(power); }

bool is_heard(float power) { return to_db(power) > AcxLimits::most_noise_dbfs; }

/// The quietest 30 ms inside of an utterance, its outermost 10 ms left out: mean square. Nothing when it is too short.
std::optional<double> quietest(const std::vector<float>& powers, const AcxSpan& utterance) {
  constexpr std::ptrdiff_t windows = 3;
  constexpr double per_second = storage::DecodedAudio::powers_per_second;
  const auto size = static_cast<std::ptrdiff_t>(powers.size());
  const auto begin = static_cast<std::ptrdiff_t>(std::ceil(utterance.begin_s * per_second)) + 1;
  const auto end = std::min(static_cast<std::ptrdiff_t>(std::floor(utterance.end_s * per_second)) - 1, size);
  std::optional<double> least;
  for (std::ptrdiff_t first = begin; first + windows <= end; ++first) {
    const double mean = std::accumulate(powers.begin() + first, powers.begin() + first + windows, 0.0) / windows;
    least = std::min(least.value_or(mean), mean);
  }
  return least;
}

std::optional<double> voice_noise_dbfs(const AcxHearing& hearing) {
  std::vector<double> noises;
  for (const AcxSpan& utterance : hearing.utterances) {
    if (const auto noise = quietest(hearing.decoded.powers, utterance)) {
      noises.push_back(*noise);
    }
  }
  if (noises.empty()) {
    return std::nullopt;
  }
  const auto middle = noises.begin() + static_cast<std::ptrdiff_t>((noises.size() - 1) / 2);
  std::ranges::nth_element(noises, middle);
  return to_db(*middle);
}

const AcxMeasure* find(const AcxFile& file, std::string_view name) {
  const auto found = std::ranges::find(file.measures, name, &AcxMeasure::name);
  return found == file.measures.end() ? nullptr : &*found;
}

/// "-20.31", "192"
std::string number(double value) {
  const std::string text =
      std::abs(value) < 0.01 && value != 0 ? fmt::format("{:.4f}", value) : fmt::format("{:.2f}", value);
  return value == std::round(value) && std::isfinite(value) ? fmt::format("{:.0f}", value) : text;
}

std::string limits_of(const AcxMeasure& measure) {
  if (measure.least && measure.most) {
    return *measure.least == *measure.most ? number(*measure.least)
                                           : number(*measure.least) + " to " + number(*measure.most);
  }
  return measure.most ? "at most " + number(*measure.most) : "at least " + number(measure.least.value_or(0));
}

std::string describe(const AcxMeasure& measure) {
  return fmt::format("{} {}, {}", measure.name, number(measure.value), limits_of(measure));
}

std::string line_of(const AcxMeasure& measure) {
  const auto* label = std::ranges::find(labels, measure.name, &Label::name);
  return fmt::format("  {:<18} {:>10} {:<7} {:<14} {}\n", label->text, number(measure.value), label->unit,
                     limits_of(measure), measure.passes() ? "ok" : "FAIL");
}

Json number_or_null(double value) { return std::isfinite(value) ? Json(std::round(value * 1e4) / 1e4) : Json(nullptr); }

Json to_json(const AcxMeasure& measure) {
  Json json = {{"measure", measure.name}, {"value", number_or_null(measure.value)}};
  if (measure.least) {
    json["least"] = *measure.least;
  }
  if (measure.most) {
    json["most"] = *measure.most;
  }
  json["pass"] = measure.passes();
  return json;
}

} // namespace

bool AcxMeasure::passes() const noexcept {
  return !std::isnan(value) && (!least || value >= *least) && (!most || value <= *most);
}

bool AcxFile::passes() const noexcept {
  return std::ranges::all_of(measures, [](const AcxMeasure& measure) { return measure.passes(); });
}

bool AcxReport::has_one_format() const {
  return std::ranges::all_of(files, [&](const AcxFile& file) {
    return std::ranges::all_of(format_measures, [&](std::string_view name) {
      const AcxMeasure* here = find(file, name);
      const AcxMeasure* first = find(files.front(), name);
      return here != nullptr && first != nullptr && here->value == first->value;
    });
  });
}

bool AcxReport::passes() const noexcept {
  return !files.empty() && has_one_format() &&
         std::ranges::all_of(files, [](const AcxFile& file) { return file.passes(); });
}

std::vector<std::string> AcxReport::failures() const {
  std::vector<std::string> failures;
  for (const AcxFile& file : files) {
    for (const AcxMeasure& measure : file.measures) {
      if (!measure.passes()) {
        failures.push_back(file.name + ": " + describe(measure));
      }
    }
  }
  if (!has_one_format()) {
    failures.emplace_back("the files are not all of one format");
  }
  return failures;
}

std::vector<AcxMeasure> measure_acx(const AcxHearing& hearing) {
  const storage::DecodedAudio& decoded = hearing.decoded;
  const auto& powers = decoded.powers;
  constexpr double per_second = storage::DecodedAudio::powers_per_second;
  const auto head = std::ranges::find_if(powers, is_heard) - powers.begin();
  const auto tail = std::find_if(powers.rbegin(), powers.rend(), is_heard) - powers.rbegin();
  const auto exactly = [](std::string name, double value, double wanted) {
    return AcxMeasure{std::move(name), value, wanted, wanted};
  };
  const auto at_most = [](std::string name, double value, double most) {
    return AcxMeasure{std::move(name), value, std::nullopt, most};
  };
  std::vector<AcxMeasure> measures = {
      exactly("sample_rate_hz", decoded.sample_rate, AcxLimits::sample_rate_hz),
      exactly("channels", decoded.channels, 1),
      {"bitrate_kbps", static_cast<double>(decoded.lowest_kbps), AcxLimits::least_kbps, std::nullopt},
      at_most("bitrate_spread_kbps", decoded.highest_kbps - decoded.lowest_kbps, 0),
      at_most("seconds", decoded.seconds, AcxLimits::most_seconds),
      {"rms_dbfs", decoded.levels.rms_dbfs(), AcxLimits::least_rms_dbfs, AcxLimits::most_rms_dbfs},
      at_most("peak_dbfs", 20 * std::log10(decoded.levels.peak()), AcxLimits::most_peak_dbfs),
      at_most("true_peak_dbtp", decoded.levels.true_peak_dbtp(), AcxLimits::most_peak_dbfs),
      at_most("noise_floor_dbfs", decoded.levels.noise_floor_dbfs(), AcxLimits::most_noise_dbfs)};
  if (const auto noise = voice_noise_dbfs(hearing)) {
    measures.push_back(at_most("voice_noise_dbfs", *noise, AcxLimits::most_noise_dbfs));
  }
  measures.push_back(at_most("clipped_share", hearing.clipped_share, most_clipped_share));
  measures.push_back(
      {"head_seconds", static_cast<double>(head) / per_second, AcxLimits::least_head_s, AcxLimits::most_head_s});
  measures.push_back(
      {"tail_seconds", static_cast<double>(tail) / per_second, AcxLimits::least_tail_s, AcxLimits::most_tail_s});
  return measures;
}

std::string to_text(const AcxReport& report, const std::string& title) {
  std::string text =
      fmt::format("ACX report of \"{}\": {}\n\n{}\n{}\n", title, report.passes() ? "PASS" : "FAIL", method, notice);
  const std::vector<std::string> failures = report.failures();
  for (const std::string& failure : failures) {
    text += (&failure == &failures.front() ? "\nFAIL " : "FAIL ") + failure + "\n";
  }
  for (const AcxFile& file : report.files) {
    text += fmt::format("\n{}: {} (gain {:+.1f} dB{})\n", file.name, file.passes() ? "pass" : "FAIL", file.gain_db,
                        file.encodings > 1 ? fmt::format(", encoded {} times", file.encodings) : "");
    for (const AcxMeasure& measure : file.measures) {
      text += line_of(measure);
    }
  }
  return text;
}

std::string to_json_file(const AcxReport& report, const std::string& title) {
  Json files = Json::array();
  for (const AcxFile& file : report.files) {
    Json measures = Json::array();
    for (const AcxMeasure& measure : file.measures) {
      measures.push_back(to_json(measure));
    }
    files.push_back({{"file", file.name},
                     {"pass", file.passes()},
                     {"gain_db", number_or_null(file.gain_db)},
                     {"encodings", file.encodings},
                     {"measures", measures}});
  }
  const Json json = {
      {"preset", "acx"},  {"title", title},   {"pass", report.passes()}, {"one_format", report.has_one_format()},
      {"method", method}, {"notice", notice}, {"files", files}};
  return json.dump(2, ' ', false, Json::error_handler_t::replace) + "\n";
}

Json to_json(const AcxReport& report) {
  Json failed = Json::array();
  for (const AcxFile& file : report.files) {
    for (const AcxMeasure& measure : file.measures) {
      if (!measure.passes() && failed.size() < most_failures) {
        Json& entry = failed.emplace_back(Json{{"file", file.name}});
        entry.update(to_json(measure));
        entry.erase("pass");
      }
    }
  }
  return {{"pass", report.passes()}, {"files", report.files.size()}, {"failed", failed}};
}

} // namespace audiobookd::daemon
