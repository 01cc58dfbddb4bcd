// A median over steps removes glances and keeps every step of steady reading where it is; what is left falls into
// stretches of steady reading, which cover the text.
#include "daemon/alignment_summary.h"

#include <algorithm>
#include <cstddef>
#include <span>
#include <vector>

namespace audiobookd::daemon {
namespace {

constexpr std::size_t half_window = 2;
constexpr int near_end = 2;                 // the last punctuation and the stop token are not always attended to
constexpr int longest_step = 6;             // of steady reading, in positions
constexpr int back_step = 2;                // that steady reading takes now and then
constexpr std::size_t shortest_reading = 4; // steps
constexpr int usual_overlap = 1;
constexpr int usual_gap = 4;

std::int32_t median(std::vector<std::int32_t> values) {
  const auto middle = values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2);
  std::nth_element(values.begin(), middle, values.end());
  return *middle;
}

/// A position a step; those of the prompt (-1) left out.
std::vector<std::int32_t> path_of(const engine::Alignment& alignment) {
  std::vector<std::int32_t> path;
  const std::span<const std::int32_t> all(alignment.positions);
  for (std::size_t begin = 0; begin + alignment.num_heads <= all.size(); begin += alignment.num_heads) {
    const auto heads = all.subspan(begin, alignment.num_heads);
    if (std::ranges::all_of(heads, [](std::int32_t position) { return position >= 0; })) {
      path.push_back(median({heads.begin(), heads.end()}));
    }
  }
  return path;
}

std::vector<std::int32_t> smooth(const std::vector<std::int32_t>& path) {
  std::vector<std::int32_t> result;
  for (std::size_t i = 0; i < path.size(); ++i) {
    const std::size_t reach = std::min({half_window, i, path.size() - 1 - i}); // shrinks towards both ends
    const auto from = path.begin() + static_cast<std::ptrdiff_t>(i - reach);
    result.push_back(median({from, from + static_cast<std::ptrdiff_t>(2 * reach + 1)}));
  }
  return result;
}

} // namespace

namespace {

using Path = std::span<const std::int32_t>;

/// The path in stretches of steady reading.
std::vector<Path> stretches_of(const std::vector<std::int32_t>& path) {
  std::vector<Path> stretches;
  std::size_t begin = 0;
  for (std::size_t i = 1; i <= path.size(); ++i) {
    const bool goes_on = i < path.size() && path[i] <= path[i - 1] + longest_step && path[i] >= path[i - 1] - back_step;
    if (!goes_on) {
      stretches.push_back(Path(path).subspan(begin, i - begin));
      begin = i;
    }
  }
  return stretches;
}

/// How often each position of the text was read, and what was read twice.
struct Coverage {
  std::vector<bool> is_read; ///< by position
  int longest_twice = 0;
  int all_twice = 0;
};

Coverage cover(const std::vector<Path>& stretches, int text_length) {
  Coverage coverage{std::vector<bool>(static_cast<std::size_t>(text_length) + 1)};
  const auto read = [&coverage](Path stretch) {
    const auto [least, greatest] = std::ranges::minmax(stretch);
    int twice = 0;
    for (std::int32_t position = least; position <= greatest; ++position) {
      const auto at = std::min(static_cast<std::size_t>(position), coverage.is_read.size() - 1);
      twice += coverage.is_read[at] ? 1 : 0;
      coverage.is_read[at] = true;
    }
    return std::max(0, twice - usual_overlap);
  };
  for (const Path stretch : stretches) {
    if (stretch.size() >= shortest_reading) {
      const int twice = read(stretch);
      coverage.longest_twice = std::max(coverage.longest_twice, twice);
      coverage.all_twice += twice;
    }
  }
  for (const Path stretch : stretches) { // too short to be read twice, but not left out either
    if (stretch.size() < shortest_reading) {
      (void)read(stretch);
    }
  }
  return coverage;
}

} // namespace

AlignmentSummary summarise(const engine::Alignment& alignment) {
  AlignmentSummary summary;
  summary.text_length = alignment.text_length;
  const std::vector<std::int32_t> path =
      alignment.num_heads == 0 ? std::vector<std::int32_t>{} : smooth(path_of(alignment));
  if (path.empty()) {
    return summary;
  }
  const Coverage coverage = cover(stretches_of(path), alignment.text_length);
  int longest_gap = 0;
  int all_gaps = 0;
  int last_read = 0; // the start token
  for (int position = 1; position < static_cast<int>(coverage.is_read.size()); ++position) {
    if (coverage.is_read[static_cast<std::size_t>(position)]) {
      const int gap = position - last_read - 1;
      longest_gap = std::max(longest_gap, gap);
      all_gaps += gap > usual_gap ? gap : 0;
      last_read = position;
    }
  }
  const int end = alignment.text_length - 1 - near_end;
  summary.skipped = std::max(0, longest_gap - coverage.all_twice);
  summary.reread = std::max(0, coverage.longest_twice - all_gaps);
  summary.unread = std::max(0, end - last_read);
  const auto before_end = std::find_if(path.rbegin(), path.rend(), [end](std::int32_t p) { return p < end; });
  summary.tail = static_cast<int>(before_end - path.rbegin());
  return summary;
}

} // namespace audiobookd::daemon
