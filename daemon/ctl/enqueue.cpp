// See enqueue.h.
#include "daemon/ctl/enqueue.h"

#include "jobs/job.h"

#include <algorithm>
#include <iterator>
#include <nlohmann/json.hpp>
#include <set>
#include <sstream>
#include <stdexcept>

namespace audiobookd::daemon {
namespace {

/// The job's own id; empty if it has none.
std::string id_of(const std::string& payload) { return jobs::parse_job(payload, "").id; }

bool is_blank(const std::string& line) { return line.find_first_not_of(" \t\r") == std::string::npos; }

/// Whether the text is several JSON documents, the first of which is alone on its line.
bool is_json_lines(const std::string& text) {
  std::istringstream lines(text);
  std::string first;
  while (std::getline(lines, first) && is_blank(first)) {
  }
  std::string rest;
  while (std::getline(lines, rest)) {
    if (!is_blank(rest)) {
      return nlohmann::json::accept(first);
    }
  }
  return false;
}

/// Workers drop a job whose id is taken; better to say so before. @throws std::runtime_error naming the job.
void require_new(jobs::QueueClient& client, const std::vector<std::string>& ids) {
  std::vector<std::string> named;
  std::set<std::string> seen;
  for (const std::string& id : ids) {
    if (!id.empty() && !seen.insert(id).second) {
      throw std::runtime_error("two jobs have the id " + id);
    }
  }
  std::ranges::copy_if(ids, std::back_inserter(named), [](const std::string& id) { return !id.empty(); });
  for (const auto& record : client.find(named)) {
    if (record) {
      throw std::runtime_error("there is a job " + record->id + " already, it is " + std::string(record->state()));
    }
  }
}

} // namespace

void check_job(const std::string& json) {
  try {
    (void)jobs::parse_job(json, "new");
  } catch (const jobs::JobError& error) {
    throw std::invalid_argument(error.what());
  } catch (const jobs::JobVersionError& error) {
    throw std::invalid_argument(error.what());
  }
}

std::vector<std::string> split_jobs(const std::string& text) {
  if (!is_json_lines(text)) {
    check_job(text);
    return {text};
  }
  std::vector<std::string> jobs;
  std::istringstream lines(text);
  std::string line;
  for (int number = 1; std::getline(lines, line); ++number) {
    if (is_blank(line)) {
      continue;
    }
    try {
      check_job(line);
    } catch (const std::invalid_argument& error) {
      throw std::invalid_argument("line " + std::to_string(number) + ": " + error.what());
    }
    jobs.push_back(line);
  }
  return jobs;
}

void add_jobs(jobs::QueueClient& client, const std::string& queue, const std::vector<std::string>& payloads,
              const std::function<void(const FollowedJob&)>& on_added) {
  std::vector<std::string> ids; // a job without one gets that of its entry
  std::ranges::transform(payloads, std::back_inserter(ids), id_of);
  require_new(client, ids);
  for (std::size_t i = 0; i < payloads.size(); ++i) {
    const std::string entry = client.add(queue, payloads[i]);
    on_added({.id = ids[i].empty() ? entry : ids[i], .queue = queue, .entry = entry});
  }
}

} // namespace audiobookd::daemon
