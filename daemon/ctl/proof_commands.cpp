// The commands of queue_commands.h for those who listen to a book critically.
#include "daemon/ctl/enqueue.h"
#include "daemon/ctl/listed_book.h"
#include "daemon/ctl/queue_commands.h"
#include "daemon/ctl/queue_json.h"
#include "daemon/ctl/utterance_table.h"
#include "daemon/environment.h"
#include "daemon/job_storage.h"
#include "jobs/job.h"

#include <filesystem>
#include <stdexcept>
#include <unistd.h>
#include <utility>

namespace audiobookd::daemon {
namespace {

constexpr const char* place_help =
    "Where the books are, the first that is given: --output-root; [paths] output_root and [s3] of --config; those of\n"
    "/etc/audiobookd/audiobookd.toml, if it can be read.";

OutputRoot find_outputs(const std::string& root, const QueueAddress& address) {
  OutputRoot output;
  if (!address.config.empty()) {
    output = load_output_root(address.config);
  } else if (root.empty() && ::access(service_config, R_OK) == 0) {
    output = load_output_root(service_config);
  }
  output.root = root.empty() ? output.root : root;
  if (output.root.empty()) {
    throw std::invalid_argument("it is not known where the books are: --output-root DIR (or s3://BUCKET/PREFIX), or "
                                "--config FILE of the daemon; or name the book's file or folder instead of the job");
  }
  return output;
}

/// A job may have the name of a file that lies about here: only what looks like a book is taken for one.
bool is_path(const std::string& subject) {
  const std::filesystem::path path(subject);
  return subject.find('/') != std::string::npos || (path.has_extension() && std::filesystem::is_regular_file(path));
}

} // namespace

void QueueCommands::describe_proof(CLI::App& app) {
  CLI::App* list = add(app, "utterances", "List the utterances of a book: when each is heard, what the gates found",
                       &QueueCommands::list_utterances);
  take_book(*list);
  list->add_flag("--suspicious", filter_.suspicious_first,
                 "Those first that gates found fault with, the worst before, then those of several takes");
  list->add_option("--chapter", filter_.chapter, "Only of this chapter")->type_name("N");
  list->add_option("--around", around_, "Only what is heard about this time of the file")->type_name("HH:MM:SS");
  list->add_option("-n,--limit", filter_.limit, "At most so many (0: all)");
  CLI::App* redo = add(app, "redo", "Render single utterances of a book again, and publish it anew; prints the new id",
                       &QueueCommands::redo);
  take_book(*redo);
  redo->add_option("numbers", wish_.numbers, "Utterances, as `utterances` counts them")
      ->type_name("N")
      ->expected(1, -1)
      ->required();
  redo->add_option("--seed", wish_.seed, "Render with this seed, and have the gates choose among its takes");
  redo->add_option("--text", wish_.text, "Say and show this instead; of one utterance");
  redo->add_option("--take", wish_.take, "Have this take heard, as `utterances` counts them, from 0")
      ->check(CLI::Range(0, jobs::most_takes - 1));
  redo->add_flag("--original", wish_.original, "Take back what was redone");
  redo->add_option("--job", job_file_, "The book's job as JSON, where its listing does not have it; -: standard input")
      ->type_name("FILE");
  redo->add_option("--queue", one_queue_, "high, normal or low (default: that of the book's job)")
      ->check(CLI::IsMember({"high", "normal", "low"}));
  redo->add_flag("--follow", follows_, "Show how it goes on until it has ended");
  redo->add_option("--timeout", follow_timeout_s_, "Seconds after which --follow gives up (0: never)")
      ->check(CLI::NonNegativeNumber);
  redo->footer(std::string("Without --seed, --text, --take and --original: the next take, which nobody has heard. "
                           "What was redone before stays.\n\n"
                           "  audiobookctl utterances tale --suspicious\n"
                           "  audiobookctl redo tale 12 40 --follow\n"
                           "  audiobookctl redo tale 12 --take 0\n"
                           "  audiobookctl redo tale 12 --text 'He said nothing.'\n\n") +
               place_help + "\n\n" + queue_address_help + "\n\n" + exit_status_help);
}

void QueueCommands::take_book(CLI::App& command) {
  command
      .add_option("book", book_,
                  "A job that is done; or a file: a listing, a book, or a book's folder with a / at its end")
      ->type_name("ID")
      ->required();
  command.add_option("--output-root", output_root_, "Where the books are: a folder or s3://BUCKET/PREFIX")
      ->group("The queue");
  command.footer(std::string(place_help) + "\n\n" + queue_address_help + "\n\n" + exit_status_help);
}

BookListing QueueCommands::find_listing() {
  if (is_path(book_)) {
    return read_listing(book_);
  }
  if (!jobs::is_valid_job_id(book_)) {
    throw std::invalid_argument("\"" + book_ + "\" is neither a job id nor a file");
  }
  const OutputRoot outputs = find_outputs(output_root_, address_);
  client_->connect();
  const auto record = client_->find(book_);
  if (!record) {
    throw NoSuchJob("no such job: " + book_ +
                    "; records of jobs that have ended expire, name the book's file or folder instead");
  }
  const auto storage = open_outputs(outputs, aws_environment(), credentials_folder());
  BookListing listing = read_listing(*storage, *record);
  if (one_queue_.empty()) {
    one_queue_ = record->text("queue");
  }
  if (listing.job != book_) {
    console_.err << "the book is as job " << listing.job << " has made it\n";
  }
  return listing;
}

ExitStatus QueueCommands::list_utterances() {
  if (!around_.empty()) {
    filter_.around_s = parse_time(around_);
  }
  const BookListing listing = find_listing();
  const auto selected = select_utterances(listing, filter_);
  if (as_json_) {
    print(console_.out, to_json(listing, selected));
  } else {
    print_utterances(console_.out, console_.columns, listing, selected);
  }
  return ExitStatus::done;
}

/// The first name in the row tale.redo-1, tale.redo-2, … that is free. @throws std::runtime_error while another redo of
/// the book is on its way: its changes would be lost.
std::string QueueCommands::new_redo_id(const std::string& job) {
  for (int number = redo_number(job) + 1;; ++number) {
    std::string id = first_job(job) + ".redo-" + std::to_string(number);
    if (!jobs::is_valid_job_id(id)) {
      throw std::invalid_argument("\"" + id +
                                  "\" is too long for the id of a job; --job FILE gives the book a "
                                  "shorter one");
    }
    const auto record = client_->find(id);
    if (!record) {
      return id;
    }
    if (!record->has_ended()) {
      throw std::runtime_error("the book is being redone already: " + id + " is " + std::string(record->state()) +
                               "; wait until it is done (audiobookctl follow " + id + "), or cancel it");
    }
  }
}

ExitStatus QueueCommands::redo() {
  const BookListing listing = find_listing();
  std::string payload = listing.payload;
  if (!job_file_.empty()) {
    const std::vector<std::string> jobs = split_jobs(read_source(job_file_, console_.in));
    if (jobs.size() != 1) {
      throw std::invalid_argument("--job: one job is expected, not " + std::to_string(jobs.size()));
    }
    payload = jobs.front();
  }
  std::string book_job = listing.job;
  if (book_job.empty() && !payload.empty()) {
    book_job = jobs::parse_job(payload, "").id;
  }
  if (book_job.empty()) {
    throw std::invalid_argument("the book was not made by a job of a queue: --job FILE, with an `id`, says which makes "
                                "it again");
  }
  client_->connect();
  const std::string id = new_redo_id(book_job);
  const std::string job = redo_job(listing, payload, wish_, id);
  if (const std::size_t count = client_->count_untaken(); count > 0) {
    console_.err << count
                 << " jobs were not taken in by a worker yet; if a redo of this book is among them, this one "
                    "will be dropped as its duplicate\n";
  }
  const std::string queue = one_queue_.empty() ? "normal" : one_queue_;
  const std::string entry = client_->add(queue, job);
  if (as_json_) {
    print_line(console_.out, {{"id", id}, {"queue", queue}, {"entry", entry}});
  } else {
    console_.out << id << std::endl;
  }
  return follows_ ? follow_to_the_end({{.id = id, .queue = queue, .entry = entry}}) : ExitStatus::done;
}

} // namespace audiobookd::daemon
