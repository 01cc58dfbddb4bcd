// See follow_views.h.
#include "daemon/ctl/follow_views.h"

#include "daemon/ctl/printable.h"
#include "daemon/ctl/queue_json.h"
#include "daemon/ctl/queue_tables.h"

#include <algorithm>
#include <cmath>
#include <fmt/format.h>
#include <ostream>

namespace audiobookd::daemon {
namespace {

constexpr std::size_t bar_width = 30;

std::string describe(const FollowedJob& job) {
  if (job.end == "duplicate") {
    return "dropped: a duplicate of job " + printable(job.of);
  }
  if (job.end == "purged") {
    return "purged";
  }
  return job.record ? describe_state(*job.record) : "waiting to be taken in";
}

double progress_of(const FollowedJob& job) { return job.record ? job.record->number("progress") : 0; }

/// A line that does not change with every percent.
std::string describe_coarsely(const FollowedJob& job) {
  const bool is_running = job.record && job.record->state() == "running" && job.end.empty();
  if (!is_running) {
    return describe(job);
  }
  const double tenths = std::floor(10 * std::clamp(progress_of(job), 0.0, 1.0));
  return fmt::format("{:.0f} %, running on {}", 10 * tenths, printable(job.record->text("owner")));
}

nlohmann::ordered_json line_of(const FollowedJob& job) {
  nlohmann::ordered_json json{{"id", job.id}, {"state", job.record ? std::string(job.record->state()) : "waiting"}};
  if (job.record) {
    const auto record = to_json(*job.record);
    for (const auto& [name, field] : {std::pair("progress", "progress"), std::pair("eta", "eta"),
                                      std::pair("attempts", "attempts"), std::pair("worker", "owner")}) {
      json[name] = record.contains(field) ? record[field] : nlohmann::ordered_json();
    }
  }
  if (!job.end.empty()) {
    json["end"] = job.end;
    json["record"] = job.record ? to_json(*job.record) : nlohmann::ordered_json();
  }
  if (!job.of.empty()) {
    json["duplicate_of"] = job.of;
  }
  return json;
}

} // namespace

void BoardView::show(const std::vector<FollowedJob>& jobs) {
  std::size_t widest = 0;
  for (const FollowedJob& job : jobs) {
    widest = std::max(widest, job.id.size());
  }
  std::string text = lines_ == 0 ? "" : fmt::format("\x1b[{}A", lines_);
  for (const FollowedJob& job : jobs) {
    const std::string line =
        padded(printable(job.id), widest) + "  " + bar(progress_of(job), bar_width) + "  " + describe(job);
    text += "\r" + shortened(line, columns_) + "\x1b[K\n";
  }
  out_ << text << std::flush;
  lines_ = jobs.size();
}

void BoardView::say(const std::string& text) {
  out_ << shortened(printable(text), columns_) << '\n' << std::flush;
  lines_ = 0; // what was drawn stays above
}

void LineView::show(const std::vector<FollowedJob>& jobs) {
  for (const FollowedJob& job : jobs) {
    const std::string text = describe_coarsely(job);
    if (std::string& shown = shown_[job.id]; shown != text) {
      shown = text;
      out_ << printable(job.id) << ": " << text << std::endl;
    }
  }
}

void LineView::say(const std::string& text) { notes_ << printable(text) << std::endl; }

void JsonView::show(const std::vector<FollowedJob>& jobs) {
  for (const FollowedJob& job : jobs) {
    const std::string text = to_line(line_of(job));
    if (std::string& shown = shown_[job.id]; shown != text) {
      shown = text;
      out_ << text << std::endl;
    }
  }
}

void JsonView::say(const std::string& text) { notes_ << printable(text) << std::endl; }

} // namespace audiobookd::daemon
