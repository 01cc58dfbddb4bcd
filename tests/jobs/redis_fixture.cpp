// See redis_fixture.h.
#include "tests/jobs/redis_fixture.h"

#include <algorithm>
#include <csignal>
#include <stdexcept>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <thread>
#include <unistd.h>

namespace audiobookd::jobs {

bool eventually(const std::function<bool()>& holds) {
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(20);
  while (!holds()) {
    if (std::chrono::steady_clock::now() > deadline)
      return false;
    std::this_thread::sleep_for(std::chrono::milliseconds(2)); // between two looks, not instead of one
  }
  return true;
}

RedisServer::RedisServer(std::vector<std::string> options, std::map<std::string, std::string> environment,
                         std::vector<std::string> wrapper)
    : options_(std::move(options)), environment_(std::move(environment)), wrapper_(std::move(wrapper)) {
  std::string name = std::filesystem::temp_directory_path() / "audiobookd-redis-XXXXXX";
  if (mkdtemp(name.data()) == nullptr)
    throw std::runtime_error("mkdtemp " + name + " failed");
  folder_ = name;
  start();
}

RedisServer::~RedisServer() {
  kill();
  std::error_code ignored;
  std::filesystem::remove_all(folder_, ignored);
}

void RedisServer::start() {
  std::vector<std::string> words = {"redis-server", "--port", "0", "--unixsocket", socket(),       "--dir",
                                    folder_,        "--save", "",  "--logfile",    folder_ / "log"};
  words.insert(words.end(), options_.begin(), options_.end());
  words.insert(words.begin(), wrapper_.begin(), wrapper_.end());
  std::vector<char*> arguments;
  for (std::string& word : words)
    arguments.push_back(word.data());
  arguments.push_back(nullptr);
  pid_ = fork();
  if (pid_ == 0) {
    prctl(PR_SET_PDEATHSIG, SIGKILL); // no server outlives its test
    for (const auto& [name, value] : environment_)
      setenv(name.c_str(), value.c_str(), 1);
    execvp(arguments[0], arguments.data());
    _exit(127);
  }
  RedisConnection probe(parse_redis_url(url()), {}, "probe");
  const bool answers = eventually([&] {
    try {
      probe.command({"PING"});
      return true;
    } catch (const QueueUnavailable&) {
      return false;
    } catch (const RedisCommandError&) {
      return true; // wants a password
    }
  });
  if (!answers)
    throw std::runtime_error("redis-server does not answer");
}

void RedisServer::kill() {
  if (pid_ <= 0)
    return;
  ::kill(pid_, SIGKILL);
  waitpid(pid_, nullptr, 0);
  pid_ = -1;
}

void RedisServer::send_signal(int number) const { ::kill(pid_, number); }

RedisQueueSettings RedisQueueFixture::settings(const std::string& worker) const {
  RedisQueueSettings settings;
  settings.url = server.url();
  settings.worker = worker;
  settings.heartbeat = short_lease / 3;
  settings.lease = short_lease;
  settings.retry_base = std::chrono::milliseconds(20);
  return settings;
}

std::unique_ptr<RedisQueue> RedisQueueFixture::make_worker(const std::string& name) {
  return std::make_unique<RedisQueue>(settings(name));
}

std::string RedisQueueFixture::add(const std::string& queue, const std::string& json) {
  return admin.command({"XADD", "tts:q:" + queue, "*", "job", json}).text;
}

std::string RedisQueueFixture::add_job(const std::string& queue, const std::string& id, const std::string& more) {
  return add(queue, R"({"id":")" + id + R"(","input":"a.txt","output":")" + id + R"(.mp3")" + more + "}");
}

void RedisQueueFixture::command(const std::string& cmd, const std::string& field, const std::string& value) {
  if (field.empty())
    admin.command({"XADD", "tts:control", "*", "cmd", cmd});
  else
    admin.command({"XADD", "tts:control", "*", "cmd", cmd, field, value});
}

std::string RedisQueueFixture::field(const std::string& id, const std::string& name) {
  return admin.command({"HGET", "tts:job:" + id, name}).text;
}

std::int64_t RedisQueueFixture::length(const std::string& stream) {
  return admin.command({"XLEN", "tts:" + stream}).integer;
}

bool RedisQueueFixture::has_event(const std::string& id, const std::string& event, const std::string& detail) {
  const RedisValue events = admin.command({"XRANGE", "tts:events", "-", "+"});
  return std::any_of(events.list.begin(), events.list.end(), [&](const RedisValue& entry) {
    const auto& fields = entry.at(1);
    return fields.at(1).text == id && fields.at(3).text == event && fields.at(5).text.find(detail) != std::string::npos;
  });
}

std::string RedisQueueFixture::holder(const std::string& queue) {
  const RedisValue pending = admin.command({"XPENDING", "tts:q:" + queue, "render", "-", "+", "10"});
  return pending.list.size() == 1 ? pending.at(0).at(1).text : "";
}

ReclaimReport RedisQueueFixture::reclaim_one(RedisQueue& rescuer) {
  std::vector<ReclaimReport> reports;
  EXPECT_TRUE(eventually([&] {
    reports = rescuer.reclaim();
    return !reports.empty();
  }));
  return reports.empty() ? ReclaimReport{} : reports.front();
}

} // namespace audiobookd::jobs
