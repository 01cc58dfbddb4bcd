// The commands of audiobookctl about the queue: their options, and what they do.
//
// One thread.
#pragma once

#include "daemon/ctl/exit_status.h"
#include "daemon/ctl/follow.h"
#include "daemon/ctl/job_flags.h"
#include "daemon/ctl/queue_address.h"
#include "daemon/ctl/queue_tables.h"
#include "daemon/ctl/redo_job.h"
#include "daemon/ctl/utterance_table.h"

#include <CLI/CLI.hpp>
#include <functional>
#include <iosfwd>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace audiobookd::daemon {

/// Who typed the command.
struct Console {
  std::istream& in;
  std::ostream& out;
  std::ostream& err;
  std::size_t columns = 0; ///< of the terminal that `out` is; 0: it is none
};

class QueueCommands {
public:
  explicit QueueCommands(const Console& console) : console_(console) {}
  QueueCommands(const QueueCommands&) = delete;
  QueueCommands& operator=(const QueueCommands&) = delete;

  /// Adds the commands to @p app; this must outlive its parsing.
  void describe(CLI::App& app);

  /// Runs the command that was parsed; nothing if it is none of these.
  /// @throws std::invalid_argument: wrong usage; NoSuchJob; jobs::QueueUnavailable, jobs::QueueError: Redis does not
  /// answer or refuses; std::runtime_error: it failed.
  std::optional<ExitStatus> run();

private:
  using Action = ExitStatus (QueueCommands::*)();
  struct Command {
    CLI::App* app;
    Action action;
  };

  CLI::App* add(CLI::App& parent, const char* name, const char* help, Action action);
  void describe_enqueue(CLI::App& app);
  void describe_looking(CLI::App& app);
  void describe_jobs(CLI::App& app);
  void describe_dead(CLI::App& app);
  void describe_proof(CLI::App& app);
  void describe_fleet(CLI::App& app);
  void take_ids(CLI::App& command, bool is_required);
  void take_timeout(CLI::App& command);
  void take_book(CLI::App& command);

  ExitStatus enqueue();
  ExitStatus list();
  ExitStatus show();
  ExitStatus follow_jobs();
  ExitStatus cancel() { return command_jobs("cancel"); }
  ExitStatus retry() { return command_jobs("retry"); }
  ExitStatus purge() { return command_jobs("purge"); }
  ExitStatus list_dead();
  ExitStatus requeue_dead() { return command_dead("retry"); }
  ExitStatus purge_dead() { return command_dead("purge"); }
  ExitStatus pause() { return command_queue("pause"); }
  ExitStatus resume() { return command_queue("resume"); }
  ExitStatus list_workers();
  ExitStatus show_stats();
  ExitStatus drain();
  ExitStatus list_utterances();
  ExitStatus redo();

  ExitStatus command_jobs(const std::string& name);
  ExitStatus command_dead(const std::string& name);
  ExitStatus command_queue(const std::string& name);
  ExitStatus carry_out(const std::vector<jobs::ControlCommand>& commands);
  ExitStatus follow_to_the_end(std::vector<FollowedJob> jobs);
  [[nodiscard]] std::vector<std::string> read_jobs();
  [[nodiscard]] BookListing find_listing();
  [[nodiscard]] std::string new_redo_id(const std::string& job);
  void note_untaken();
  [[nodiscard]] Page page();

  const Console console_;
  std::vector<Command> commands_;
  std::unique_ptr<jobs::QueueClient> client_; ///< of the command that runs

  QueueAddress address_;
  JobFlags job_flags_;
  bool as_json_ = false;
  double timeout_s_ = 10;
  double follow_timeout_s_ = 0;
  std::vector<std::string> ids_;
  bool all_ = false;
  bool only_ids_ = false;
  bool follows_ = false;
  std::string job_file_;
  std::string queue_ = "normal"; ///< that a job is added to
  std::string one_queue_;        ///< empty: all
  std::vector<std::string> states_;
  std::size_t limit_ = 50;
  std::string worker_;
  std::string book_;        ///< a job, or a file of this machine
  std::string output_root_; ///< empty: the configuration's
  UtteranceFilter filter_;
  std::string around_;
  RedoWish wish_;
};

/// The content of a file, or of standard input for "-". @throws std::invalid_argument if it cannot be read.
[[nodiscard]] std::string read_source(const std::string& name, std::istream& standard_input);

} // namespace audiobookd::daemon
