// Two formatters for one sink.
#include "daemon/log.h"

#include <memory>
#include <spdlog/pattern_formatter.h>
#include <spdlog/sinks/stdout_sinks.h>
#include <spdlog/spdlog.h>
#include <sys/stat.h>
#include <unistd.h>

namespace audiobookd::daemon {
namespace {

/// sd-daemon(3): the level of a line as syslog numbers it.
class JournalPriority final : public spdlog::custom_flag_formatter {
public:
  void format(const spdlog::details::log_msg& message, const std::tm&, spdlog::memory_buf_t& out) override {
    out.push_back('<');
    out.push_back(digit(message.level));
    out.push_back('>');
  }
  [[nodiscard]] std::unique_ptr<custom_flag_formatter> clone() const override {
    return std::make_unique<JournalPriority>();
  }

private:
  static char digit(spdlog::level::level_enum level) {
    switch (level) {
    case spdlog::level::critical: return '2';
    case spdlog::level::err: return '3';
    case spdlog::level::warn: return '4';
    case spdlog::level::info: return '6';
    default: return '7';
    }
  }
};

} // namespace

void set_up_log(const std::string& level, bool to_journal) {
  auto formatter = std::make_unique<spdlog::pattern_formatter>();
  if (to_journal) {
    formatter->add_flag<JournalPriority>('J').set_pattern("%J%v");
  } else {
    formatter->set_pattern("%Y-%m-%d %H:%M:%S.%e %^%l%$ %v");
  }
  auto logger = std::make_shared<spdlog::logger>("audiobookd", std::make_shared<spdlog::sinks::stderr_sink_mt>());
  logger->set_formatter(std::move(formatter));
  spdlog::set_default_logger(std::move(logger));
  set_log_level(level);
}

void set_log_level(const std::string& level) { spdlog::set_level(spdlog::level::from_str(level)); }

bool is_journal(const char* journal_stream) {
  struct stat file {};
  if (journal_stream == nullptr || fstat(STDERR_FILENO, &file) != 0) {
    return false;
  }
  return std::to_string(file.st_dev) + ":" + std::to_string(file.st_ino) == journal_stream;
}

} // namespace audiobookd::daemon
