// See queue_tables.h.
#include "daemon/ctl/queue_tables.h"

#include "daemon/ctl/printable.h"
#include "daemon/progress_bar.h"
#include "jobs/utf8.h"

#include <algorithm>
#include <cmath>
#include <ctime>
#include <fmt/format.h>
#include <nlohmann/json.hpp>
#include <ostream>

namespace audiobookd::daemon {
namespace {

using Row = std::vector<std::string>;

constexpr std::size_t list_bar_width = 10;

/// Lines up the columns under their headings; the last is as long as there is room.
void print_table(const Page& page, const std::vector<Row>& rows) {
  std::vector<std::size_t> widths(rows.front().size());
  for (const Row& row : rows) {
    for (std::size_t i = 0; i < row.size(); ++i) {
      widths[i] = std::max(widths[i], jobs::count_characters(row[i]));
    }
  }
  for (const Row& row : rows) {
    std::string line;
    for (std::size_t i = 0; i < row.size(); ++i) {
      line += i + 1 < row.size() ? padded(row[i], widths[i]) + "  " : row[i];
    }
    line.erase(line.find_last_not_of(' ') + 1);
    page.out << (page.columns == 0 ? line : shortened(line, page.columns)) << '\n';
  }
}

/// "2026-11-21 21:40:55" in UTC.
std::string format_time(std::int64_t milliseconds) {
  const std::time_t seconds = milliseconds / 1000;
  std::tm utc{};
  ::gmtime_r(&seconds, &utc);
  char text[32];
  return {text, std::strftime(text, sizeof text, "%Y-%m-%d %H:%M:%S", &utc)};
}

std::int64_t time_of(const jobs::JobRecord& record, std::string_view field) {
  return static_cast<std::int64_t>(record.number(field));
}

/// A number of a JSON object; 0 if it has none.
double number_of(const nlohmann::json& object, const char* name) {
  const auto found = object.is_object() ? object.find(name) : object.end();
  return object.is_object() && found != object.end() && found->is_number() ? found->get<double>() : 0;
}

/// Something of a JSON object as text; "-" if it has none.
std::string text_of(const nlohmann::json& object, const char* name) {
  const auto found = object.is_object() ? object.find(name) : object.end();
  if (!object.is_object() || found == object.end()) {
    return "-";
  }
  return printable(found->is_string() ? found->get<std::string>()
                                      : found->dump(-1, ' ', false, nlohmann::json::error_handler_t::replace));
}

std::string describe_result(const jobs::JobRecord& record) {
  const auto result = nlohmann::json::parse(record.text("result"), nullptr, false);
  const double audio = number_of(result, "audio_seconds");
  const double wall = number_of(result, "wall_seconds");
  if (audio <= 0) {
    return "done";
  }
  return "done: " + format_duration(audio) + " of audio" + (wall > 0 ? " in " + format_duration(wall) : "");
}

/// What a job is, in a list: its title, else its output, and what is wrong with it.
std::string describe_content(const jobs::JobRecord& record) {
  std::string text(record.text("title").empty() ? record.text("output") : record.text("title"));
  if (!record.text("error").empty()) {
    text += (text.empty() ? "" : ": ") + std::string(record.text("error"));
  }
  return printable(text);
}

std::string format_left(const jobs::JobRecord& record) {
  const bool is_known = record.state() == "running" && !record.text("eta").empty();
  return is_known ? format_duration(record.number("eta")) : "";
}

/// A field of a record as people read it.
std::string describe_field(const std::string& name, const std::string& text, std::int64_t now) {
  const bool is_time = name.ends_with("_at") || name == "suspect_since";
  if (!is_time || text.empty()) {
    return printable(text);
  }
  const auto time = static_cast<std::int64_t>(std::strtod(text.c_str(), nullptr));
  return format_time(time) + " UTC" + (time <= now ? " (" + format_age(now - time) + " ago)" : "");
}

/// What a done job has written, if its result says so.
void print_files(const Page& page, const jobs::JobRecord& record) {
  const auto result = nlohmann::json::parse(record.text("result"), nullptr, false);
  const auto files = result.is_object() ? result.find("files") : result.end();
  if (!result.is_object() || files == result.end() || !files->is_array() || files->empty()) {
    return;
  }
  page.out << "files in " << text_of(result, "output") << '\n';
  std::vector<Row> rows;
  for (const auto& file : *files) {
    const double seconds = number_of(file, "seconds");
    rows.push_back({"  " + text_of(file, "name"), seconds > 0 ? format_duration(seconds) : "",
                    fmt::format("{:.0f} kB", std::ceil(number_of(file, "bytes") / 1000))});
  }
  print_table(page, rows);
}

} // namespace

std::string format_age(std::int64_t milliseconds) {
  const std::int64_t seconds = std::max<std::int64_t>(milliseconds, 0) / 1000;
  if (seconds < 120) {
    return fmt::format("{} s", seconds);
  }
  if (seconds < 2 * 3600) {
    return fmt::format("{} min", seconds / 60);
  }
  return seconds < 2 * 86400 ? fmt::format("{} h", seconds / 3600) : fmt::format("{} d", seconds / 86400);
}

std::string bar(double fraction, std::size_t width) {
  const double inside = std::isfinite(fraction) ? std::clamp(fraction, 0.0, 1.0) : 0.0;
  return draw_bar(inside, width) + fmt::format(" {:3.0f} %", std::floor(100 * inside));
}

std::string describe_state(const jobs::JobRecord& record) {
  const std::string state(record.state());
  if (state == "done") {
    return describe_result(record);
  }
  if (state == "dead") {
    return "dead: " + printable(record.text("error"));
  }
  if (state == "retry_wait") {
    return fmt::format("waits for attempt {:.0f} of {:.0f}: {}", record.number("attempts") + 1,
                       record.number("max_attempts"), printable(record.text("error")));
  }
  if (state != "running") {
    return printable(state);
  }
  const std::string left = format_left(record);
  return "running on " + printable(record.text("owner")) + (left.empty() ? "" : ", " + left + " left") +
         (record.text("cancel") == "1" ? ", to be cancelled" : "");
}

void print_jobs(const Page& page, const std::vector<jobs::JobRecord>& records) {
  std::vector<Row> rows = {{"ID", "STATE", "QUEUE", "PROGRESS", "LEFT", "AGE", "WHAT"}};
  for (const jobs::JobRecord& record : records) {
    rows.push_back({printable(record.id), printable(record.state()), printable(record.text("queue")),
                    bar(record.number("progress"), list_bar_width), format_left(record),
                    format_age(page.now - time_of(record, "created_at")), describe_content(record)});
  }
  print_table(page, rows);
}

void print_job(const Page& page, const jobs::JobRecord& record, const std::vector<jobs::JobEvent>& events) {
  const Page whole{page.out, 0, page.now}; // nothing of a record is cut
  std::vector<Row> rows = {{"id", printable(record.id)}, {"state", printable(record.state())}};
  for (const auto& [name, text] : record.fields) {
    if (name != "state" && !text.empty()) {
      rows.push_back({printable(name), describe_field(name, text, page.now)});
    }
  }
  print_table(whole, rows);
  print_files(whole, record);
  if (events.empty()) {
    return;
  }
  page.out << "events\n";
  rows.clear();
  for (const jobs::JobEvent& event : events) {
    rows.push_back({"  " + format_time(event.at), printable(event.event), printable(event.detail)});
  }
  print_table(whole, rows);
}

void print_dead(const Page& page, const std::vector<jobs::DeadJob>& jobs) {
  std::vector<Row> rows = {{"ID", "QUEUE", "ATTEMPTS", "DIED", "ERROR"}};
  for (const jobs::DeadJob& job : jobs) {
    rows.push_back({printable(job.id), printable(job.queue), printable(job.attempts),
                    format_age(page.now - job.at) + " ago", printable(job.error)});
  }
  print_table(page, rows);
}

void print_workers(const Page& page, const std::vector<jobs::WorkerRecord>& workers) {
  std::vector<Row> rows = {{"NAME", "STATE", "SEEN", "JOBS", "HOST", "DEVICE", "MODEL"}};
  for (const jobs::WorkerRecord& worker : workers) {
    const auto info = nlohmann::json::parse(worker.info, nullptr, false);
    const char* state = worker.draining ? "draining" : "alive";
    rows.push_back({printable(worker.name), worker.is_alive() ? state : "silent",
                    format_age(page.now - worker.seen) + " ago",
                    text_of(info, "jobs") + "/" + text_of(info, "max_jobs"), text_of(info, "host"),
                    text_of(info, "device"), text_of(info, "model")});
  }
  print_table(page, rows);
}

void print_stats(const Page& page, const jobs::QueueStats& stats) {
  std::vector<Row> rows = {{"QUEUE", "WAITING", "RUNNING", "DELAYED", "OLDEST", ""}};
  for (const jobs::QueueStats::One& queue : stats.queues) {
    rows.push_back({queue.name, std::to_string(queue.waiting), std::to_string(queue.running),
                    std::to_string(queue.delayed), queue.oldest_ms > 0 ? format_age(queue.oldest_ms) : "-",
                    queue.paused || stats.paused ? "paused" : ""});
  }
  print_table(page, rows);
  page.out << fmt::format("workers alive: {}; dead jobs: {}; not taken in yet: {}\n", stats.workers, stats.dead,
                          stats.untaken)
           << fmt::format("in the last {}: {} jobs done, {} of audio\n", format_age(stats.window_ms), stats.done,
                          format_duration(stats.audio_seconds));
}

} // namespace audiobookd::daemon
