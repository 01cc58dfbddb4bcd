// The table of what the gates let through.
#include "bench/gate_check/check.h"

#include "bench/gate_check/faults.h"
#include "daemon/sound_measures.h"

#include <algorithm>
#include <cstdio>
#include <map>
#include <nlohmann/json.hpp>
#include <random>
#include <set>
#include <stdexcept>

namespace audiobookd::bench {
namespace {

constexpr int tokens_per_second = 25;

engine::Alignment only(const engine::Alignment& all, const std::vector<std::size_t>& heads) {
  engine::Alignment chosen;
  chosen.num_heads = heads.size();
  chosen.text_length = all.text_length;
  for (std::size_t row = 0; row + all.num_heads <= all.positions.size(); row += all.num_heads) {
    for (const std::size_t head : heads) {
      chosen.positions.push_back(all.positions.at(row + head));
    }
  }
  return chosen;
}

std::vector<daemon::Finding> judge(const Sample& sample, const CheckOptions& options, bool with_alignment) {
  engine::Waveform waveform;
  waveform.samples = sample.samples;
  waveform.sample_rate = sample.sample_rate;
  waveform.hit_token_limit = sample.hit_token_limit;
  daemon::Reading reading;
  reading.predicted_tokens = sample.predicted_tokens;
  reading.tokens_per_second = tokens_per_second;
  reading.speech_tokens = sample.tokens;
  if (with_alignment) {
    reading.alignment = daemon::summarise(only(alignment_with_text(sample), options.heads));
  }
  return daemon::judge(waveform, reading, options.gates);
}

/// How many of one kind were found, and by which gates.
struct Tally {
  int samples = 0;
  int found = 0;
  int found_without_alignment = 0;
  std::map<std::string, int> by_gate;

  void add(const Sample& sample, const CheckOptions& options) {
    ++samples;
    found_without_alignment += judge(sample, options, false).empty() ? 0 : 1;
    const auto findings = judge(sample, options, true);
    found += findings.empty() ? 0 : 1;
    std::set<std::string> gates;
    for (const daemon::Finding& finding : findings) {
      gates.insert(finding.gate);
    }
    for (const std::string& gate : gates) {
      ++by_gate[gate];
    }
  }
  [[nodiscard]] double share(int part) const { return samples == 0 ? 0 : static_cast<double>(part) / samples; }
};

std::string kind_of(const Sample& sample) {
  const char* const words = sample.words == 1 ? " word" : " words";
  return (sample.planted == Planted::skipped_words ? "skipped " : "doubled ") + std::to_string(sample.words) + words;
}

void print(const std::vector<std::pair<std::string, Tally>>& rows) {
  std::printf("%-22s %8s %8s %8s  %s\n", "", "samples", "sound", "+ text", "gates");
  nlohmann::ordered_json json;
  for (const auto& [name, tally] : rows) {
    std::string gates;
    for (const auto& [gate, count] : tally.by_gate) {
      gates += (gates.empty() ? "" : ", ") + gate + " " + std::to_string(count);
    }
    std::printf("%-22s %8d %7.1f%% %7.1f%%  %s\n", name.c_str(), tally.samples,
                100 * tally.share(tally.found_without_alignment), 100 * tally.share(tally.found), gates.c_str());
    json[name] = {{"samples", tally.samples},
                  {"found_without_alignment", tally.found_without_alignment},
                  {"found", tally.found},
                  {"gates", tally.by_gate}};
  }
  std::printf("%s\n", json.dump().c_str());
}

void print_values(const Sample& sample, const CheckOptions& options) {
  const auto sound = daemon::measure_sound(sample.samples, sample.sample_rate);
  const auto alignment = daemon::summarise(only(alignment_with_text(sample), options.heads));
  const double expected = static_cast<double>(sample.predicted_tokens) / tokens_per_second;
  const double per_position = expected / std::max(1, alignment.text_length);
  const nlohmann::ordered_json json = {{"name", sample.name},
                                       {"expected_s", expected},
                                       {"duration", sound.seconds / expected},
                                       {"speech_dbfs", sound.speech_dbfs},
                                       {"end_db", sound.end_db},
                                       {"silence_s", sound.silence_s},
                                       {"clipped", sound.clipped_share},
                                       {"voiceless_s", sound.voiceless_s},
                                       {"voiced", sound.voiced_share},
                                       {"skipped_s", alignment.skipped * per_position},
                                       {"reread_s", alignment.reread / static_cast<double>(tokens_per_second)},
                                       {"unread_s", alignment.unread * per_position},
                                       {"tail_s", alignment.tail / static_cast<double>(tokens_per_second)},
                                       {"findings", daemon::describe(judge(sample, options, true))},
                                       {"text", sample.rendered}};
  std::printf("%s\n", json.dump().c_str());
}

} // namespace

void check(const CheckOptions& options) {
  Tally sound;
  std::map<std::string, Tally> rendered;
  std::map<std::string, Tally> planted;
  std::mt19937_64 random(3);
  for (const std::string& name : sample_names(options.folder)) {
    const Sample sample = read_sample(options.folder, name);
    if (options.shows_values) {
      print_values(sample, options);
    } else if (sample.planted != Planted::nothing) {
      rendered[kind_of(sample)].add(sample, options);
    } else {
      sound.add(sample, options);
      for (const Fault& fault : faults()) {
        Sample faulty = sample;
        fault.plant(faulty, random);
        planted[fault.name].add(faulty, options);
      }
    }
  }
  if (!options.shows_values) {
    std::vector<std::pair<std::string, Tally>> rows = {{"nothing wrong", sound}};
    rows.insert(rows.end(), planted.begin(), planted.end());
    rows.insert(rows.end(), rendered.begin(), rendered.end());
    print(rows);
  }
}

void list_heads(const std::filesystem::path& folder, int heads_per_layer) {
  struct Steadiness {
    double steady = 0, steps = 0;
  };
  constexpr int longest_step = 6; // positions
  std::vector<Steadiness> heads;
  for (const std::string& name : sample_names(folder)) {
    const Sample sample = read_sample(folder, name);
    if (sample.planted != Planted::nothing) {
      continue;
    }
    const std::size_t count = sample.alignment.num_heads;
    heads.resize(count);
    for (std::size_t i = 2 * count; i < sample.alignment.positions.size(); ++i) { // the prompt draws the first
      const int step = sample.alignment.positions[i] - sample.alignment.positions[i - count];
      heads[i % count].steady += step >= 0 && step <= longest_step ? 1 : 0;
      heads[i % count].steps += 1;
    }
  }
  std::multimap<double, std::size_t, std::greater<>> order;
  for (std::size_t head = 0; head < heads.size(); ++head) {
    order.emplace(heads[head].steady / std::max(1.0, heads[head].steps), head);
  }
  std::printf("layer, head: share of steps that stay or go on by up to %d positions\n", longest_step);
  for (const auto& [share, head] : order) {
    std::printf("[%d, %d]  %.3f\n", static_cast<int>(head) / heads_per_layer, static_cast<int>(head) % heads_per_layer,
                share);
  }
}

} // namespace audiobookd::bench
