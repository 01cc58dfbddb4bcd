// The command line of queue_commands.h.
#include "daemon/ctl/queue_commands.h"

namespace audiobookd::daemon {
namespace {

const CLI::IsMember is_queue({"high", "normal", "low"});
const CLI::IsMember is_state({"queued", "running", "committing", "retry_wait", "done", "dead", "cancelled"});

} // namespace

CLI::App* QueueCommands::add(CLI::App& parent, const char* name, const char* help, Action action) {
  CLI::App* command = parent.add_subcommand(name, help);
  const char* group = "The queue";
  command->add_option("--redis", address_.redis, "redis://[[user]:password@]host[:port][/db] or unix:///path")
      ->group(group);
  command->add_option("--prefix", address_.prefix, "Of every key (default: tts:)")->group(group);
  command->add_option("--password-file", address_.password_file, "Its first line is Redis' password")
      ->type_name("FILE")
      ->group(group);
  command->add_option("--config", address_.config, "Configuration of audiobookd")->type_name("FILE")->group(group);
  command->add_flag("--json", as_json_, "Print JSON");
  command->footer(std::string(queue_address_help) + "\n\n" + exit_status_help);
  commands_.push_back({command, action});
  return command;
}

void QueueCommands::describe(CLI::App& app) {
  describe_enqueue(app);
  describe_looking(app);
  describe_jobs(app);
  describe_dead(app);
  describe_proof(app);
  describe_fleet(app);
}

void QueueCommands::take_ids(CLI::App& command, bool is_required) {
  command.add_option("ids", ids_, "Jobs")->type_name("ID")->expected(1, -1)->required(is_required);
}

void QueueCommands::take_timeout(CLI::App& command) {
  command.add_option("--timeout", timeout_s_, "Seconds to wait until a worker has carried it out")
      ->check(CLI::Range(0.0, 86400.0))
      ->capture_default_str();
}

void QueueCommands::describe_enqueue(CLI::App& app) {
  CLI::App* command = add(app, "enqueue", "Add a job, or many; prints the id of each", &QueueCommands::enqueue);
  command->add_option("--queue", queue_, "high before normal before low")->check(is_queue)->capture_default_str();
  command->add_option("--job", job_file_, "Read JSON: one job, or one a line; -: standard input")->type_name("FILE");
  command->add_flag("--follow", follows_, "Show how it goes on until it has ended");
  command->add_option("--timeout", follow_timeout_s_, "Seconds after which --follow gives up (0: never)")
      ->check(CLI::NonNegativeNumber);
  job_flags_.describe(*command);
  command->footer(std::string("A job is checked before it is added. Options of the job go before what --job reads.\n\n"
                              "  audiobookctl enqueue -i tale.txt -o tale.mp3 --title 'A tale' --follow\n"
                              "  audiobookctl enqueue --queue high --class interactive --text 'Hello.' -o hello.mp3\n"
                              "  audiobookctl enqueue --job books.jsonl --if-exists skip\n\n") +
                  queue_address_help + "\n\n" + exit_status_help);
}

void QueueCommands::describe_looking(CLI::App& app) {
  CLI::App* list = add(app, "ls", "List jobs, the newest first", &QueueCommands::list);
  list->add_option("--state", states_, "Only jobs in these states, with commas between")
      ->check(is_state)
      ->delimiter(',');
  list->add_option("--queue", one_queue_, "Only jobs of this queue")->check(is_queue);
  list->add_option("-n,--limit", limit_, "At most so many")->check(CLI::Range(1, 1'000'000))->capture_default_str();
  list->add_flag("--all", all_, "However many there are");
  list->add_flag("--ids", only_ids_, "Print ids only, one a line");
  CLI::App* show =
      add(app, "show", "Everything about a job: its record, its result, what happened to it", &QueueCommands::show);
  show->add_option("ids", ids_, "The job")->type_name("ID")->expected(1)->required();
  CLI::App* follow = add(app, "follow", "Show how jobs go on until they have ended; the exit status says how",
                         &QueueCommands::follow_jobs);
  take_ids(*follow, true);
  follow->add_option("--timeout", follow_timeout_s_, "Seconds after which to give up (0: never)")
      ->check(CLI::NonNegativeNumber);
}

void QueueCommands::describe_jobs(CLI::App& app) {
  for (CLI::App* command :
       {add(app, "cancel", "Cancel jobs that have not ended", &QueueCommands::cancel),
        add(app, "retry", "Run dead jobs anew, and jobs that wait for their next attempt now", &QueueCommands::retry),
        add(app, "purge", "Remove every trace of jobs that have ended, rendered audio included",
            &QueueCommands::purge)}) {
    take_ids(*command, true);
    take_timeout(*command);
  }
}

void QueueCommands::describe_dead(CLI::App& app) {
  CLI::App* dead = app.add_subcommand("dead", "Jobs that failed for good");
  dead->require_subcommand(1);
  CLI::App* list = add(*dead, "ls", "List them with their errors, the newest first", &QueueCommands::list_dead);
  list->add_option("-n,--limit", limit_, "At most so many")->check(CLI::Range(1, 1'000'000))->capture_default_str();
  list->add_flag("--all", all_, "However many there are");
  list->add_flag("--ids", only_ids_, "Print ids only, one a line");
  for (CLI::App* command : {add(*dead, "requeue", "Run them anew", &QueueCommands::requeue_dead),
                            add(*dead, "purge", "Remove every trace of them", &QueueCommands::purge_dead)}) {
    take_ids(*command, false);
    command->add_flag("--all", all_, "All dead jobs");
    take_timeout(*command);
  }
}

void QueueCommands::describe_fleet(CLI::App& app) {
  for (CLI::App* command : {add(app, "pause", "Begin no more jobs, of one queue or at all", &QueueCommands::pause),
                            add(app, "resume", "Begin jobs again: ends the pause of that queue, or that of everything",
                                &QueueCommands::resume)}) {
    command->add_option("queue", one_queue_, "high, normal or low (default: everything)")->check(is_queue);
    take_timeout(*command);
  }
  add(app, "workers", "List the workers and what they do", &QueueCommands::list_workers);
  add(app, "stats", "How much waits, runs and was done", &QueueCommands::show_stats);
  CLI::App* drain = add(app, "drain", "Let workers finish the jobs they have and end", &QueueCommands::drain);
  drain->add_option("worker", worker_, "A worker's name")->type_name("WORKER");
  drain->add_flag("--all", all_, "All workers that are alive now");
  take_timeout(*drain);
}

} // namespace audiobookd::daemon
