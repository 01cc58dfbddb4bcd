// Tries everything that audiobookd asks of S3 on a real server:
//
//   AWS_ACCESS_KEY_ID=… AWS_SECRET_ACCESS_KEY=… audiobook-s3-check --endpoint URL --region R --root s3://BUCKET/PREFIX
//
// Writes and removes objects below the root. Prints a line for each promise and how fast it was; exits with the number
// of promises that were not kept.
#include "storage/s3/probe.h"
#include "storage/s3_storage.h"

#include <CLI/CLI.hpp>
#include <atomic>
#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <iostream>
#include <thread>

namespace {

using namespace audiobookd::storage;

struct Options {
  std::string endpoint;
  std::string region = "us-east-1";
  std::string root;
  std::string addressing = "auto";
  std::string ca_file;
  int large_mib = 40;
  unsigned large_publishers = 4;
};

s3::Credentials credentials() {
  const auto variable = [](const char* name) {
    const char* value = std::getenv(name); // NOLINT(concurrency-mt-unsafe): before any thread
    return std::string(value == nullptr ? "" : value);
  };
  return {variable("AWS_ACCESS_KEY_ID"), variable("AWS_SECRET_ACCESS_KEY"), variable("AWS_SESSION_TOKEN")};
}

std::shared_ptr<s3::Wallet> wallet(const s3::Credentials& credentials) {
  std::vector<std::unique_ptr<s3::CredentialSource>> sources;
  sources.push_back(std::make_unique<s3::GivenCredentials>(credentials, "the environment"));
  return std::make_shared<s3::Wallet>(std::move(sources));
}

/// Bytes of which none repeats the ones before, different for every @p seed.
std::string content(std::size_t bytes, unsigned seed) {
  std::string text(bytes, '\0');
  for (std::size_t i = 0; i < bytes; ++i) {
    text[i] = static_cast<char>(((i + seed) * 2654435761U) >> 13);
  }
  return text;
}

class Check {
public:
  explicit Check(const Options& options) : options_(options), root_(s3::parse_root(options.root)) {
    settings_.client.endpoint = options.endpoint;
    settings_.client.region = options.region;
    settings_.client.http.ca_file = options.ca_file;
    settings_.client.addressing = options.addressing == "path"   ? s3::Addressing::by_path
                                  : options.addressing == "host" ? s3::Addressing::by_host
                                                                 : s3::Addressing::automatic;
    settings_.staging = std::filesystem::temp_directory_path() / "audiobook-s3-check";
    open();
  }

  int run() {
    probe();
    promise("keys of any kind", [&] { return keys(); });
    for (const std::size_t bytes : {std::size_t{1000}, static_cast<std::size_t>(options_.large_mib) << 20}) {
      const std::string size = bytes < 1'000'000 ? "a small output: " : "a large output: ";
      promise(size + "published, identical, exists, skipped, replaced", [&] { return if_exists(bytes); });
      promise(size + "nothing is published that is not ours any more", [&] { return lost(bytes); });
      promise(size + "of several publishers exactly one wins", [&] { return race(bytes); });
    }
    promise("a folder: published, identical, exists, replaced, and nothing is left of the old one",
            [&] { return folder(); });
    promise("no upload is left open", [&] { return client_->open_uploads(object("book.mp3"), {}).empty(); });
    promise("a missing object is a permanent error",
            [&] { return throws<PermanentError>([&] { (void)storage_->read_input("missing.txt", 10); }, "404"); });
    promise("an object above the limit is refused", [&] {
      (void)publish("limit.txt", "12345", IfExists::replace);
      return throws<PermanentError>([&] { (void)storage_->read_input("limit.txt", 4); }, "5 bytes, at most 4");
    });
    promise("a wrong secret is a permanent error", [&] {
      s3::Credentials wrong = credentials();
      wrong.secret_access_key += "x";
      const S3Storage stranger(settings_, {{root_}, {}}, wallet(wrong));
      return throws<PermanentError>([&] { (void)stranger.read_input("limit.txt", 10); }, "HTTP 403");
    });
    clean_up();
    return failures_;
  }

private:
  void open() {
    storage_ = std::make_unique<S3Storage>(settings_, S3Roots{{root_}, {root_}}, wallet(credentials()));
    client_ = std::make_unique<s3::Client>(settings_.client, wallet(credentials()));
  }

  void probe() {
    const s3::Conditions found = s3::probe_conditions(*client_, root_, {});
    std::cout << "       If-None-Match is heeded by PUT: " << (found.put ? "yes" : "no")
              << ", by CompleteMultipartUpload: " << (found.complete ? "yes" : "no") << '\n';
    if (!found.put) {
      settings_.fencing = Fencing::none;
      open();
    }
  }

  void promise(const std::string& text, const std::function<bool()>& is_kept) {
    const auto begin = std::chrono::steady_clock::now();
    bool kept = false;
    std::string error;
    try {
      kept = is_kept();
    } catch (const std::exception& thrown) {
      error = std::string(": ") + thrown.what();
    }
    const std::chrono::duration<double> time = std::chrono::steady_clock::now() - begin;
    std::cout << (kept ? "ok     " : "BROKEN ") << text << " (" << time.count() << " s)" << error << std::endl;
    failures_ += kept ? 0 : 1;
  }

  template <typename Error>
  static bool throws(const std::function<void()>& body, const std::string& part) {
    try {
      body();
      return false;
    } catch (const Error& error) {
      return std::string(error.what()).find(part) != std::string::npos;
    }
  }

  s3::Location object(const std::string& name) { return {root_.bucket, root_.key + name}; }

  PublishResult publish(const std::string& name, const std::string& text, IfExists if_exists,
                        const std::function<bool()>& still_mine = {}) {
    const auto publication = storage_->open_output(name, "");
    publication->append(std::as_bytes(std::span(text)));
    return publication->commit(if_exists, still_mine);
  }

  bool keys() {
    for (const std::string name : {"plain.txt", "with space.txt", "a+b.txt", "100%.txt", "%41.txt", "Zürich/本.epub",
                                   "~tilde.txt", "q?m=1&n#x.txt", "quote'(star)*!.txt", "a//b.txt"}) {
      (void)publish(name, "content of " + name, IfExists::replace);
      const bool is_right = storage_->read_input(name, 1000) == "content of " + name;
      client_->remove(object(name), {});
      if (!is_right || storage_->output_exists(name)) {
        std::cout << "       not so with " << name << '\n';
        return false;
      }
    }
    return true;
  }

  bool if_exists(std::size_t bytes) {
    const std::string book = content(bytes, 1);
    const std::string other = content(bytes, 2);
    client_->remove(object("book.mp3"), {});
    return publish("book.mp3", book, IfExists::fail) == PublishResult::published &&
           publish("book.mp3", book, IfExists::fail) == PublishResult::identical &&
           publish("book.mp3", other, IfExists::fail) == PublishResult::exists &&
           publish("book.mp3", other, IfExists::skip) == PublishResult::skipped &&
           storage_->read_input("book.mp3", bytes) == book &&
           publish("book.mp3", other, IfExists::replace) == PublishResult::published &&
           storage_->read_input("book.mp3", bytes) == other;
  }

  PublishResult publish_folder(const std::string& second, IfExists if_exists) {
    const auto publication = storage_->open_folder("Büch + 1", "");
    publication->add("01 - One.mp3").append(std::as_bytes(std::span(std::string_view("one"))));
    publication->add("02 - Two & more.mp3").append(std::as_bytes(std::span(second)));
    std::string description = R"({"files":[)";
    for (const std::string& name : publication->settle(second)) {
      description += (description.back() == '[' ? "" : ",") + (R"({"name":")" + name + R"("})");
    }
    publication->note_fingerprint("of " + second.substr(0, 5));
    return publication->commit(description + "]}", if_exists, {});
  }

  bool folder() {
    const std::string text = "second content";
    const auto objects = [&] { return client_->list(object("Büch + 1/"), {}); };
    const bool is_published = publish_folder("first content", IfExists::fail) == PublishResult::published &&
                              publish_folder("first content", IfExists::fail) == PublishResult::identical &&
                              publish_folder(text, IfExists::fail) == PublishResult::exists &&
                              publish_folder(text, IfExists::replace) == PublishResult::published;
    const auto left = objects();
    for (const s3::ListedObject& one : left) {
      client_->remove({root_.bucket, one.key}, {});
    }
    return is_published && left.size() == 3 && objects().empty();
  }

  bool lost(std::size_t bytes) {
    client_->remove(object("book.mp3"), {});
    return publish("book.mp3", content(bytes, 1), IfExists::replace, [] { return false; }) == PublishResult::lost &&
           !storage_->output_exists("book.mp3");
  }

  bool race(std::size_t bytes) {
    const unsigned number = bytes < 1'000'000 ? 4 : options_.large_publishers;
    client_->remove(object("book.mp3"), {});
    std::atomic<int> winners = 0;
    std::atomic<int> losers = 0;
    {
      std::vector<std::jthread> publishers;
      for (unsigned i = 0; i < number; ++i) {
        publishers.emplace_back([&, i] {
          try {
            const PublishResult result = publish("book.mp3", content(bytes, i), IfExists::fail);
            winners += result == PublishResult::published ? 1 : 0;
            losers += result == PublishResult::exists ? 1 : 0;
          } catch (const std::exception& error) {
            std::cout << "       " << error.what() << std::endl;
          }
        });
      }
    }
    const bool fenced = settings_.fencing != Fencing::none;
    return fenced ? winners == 1 && losers + 1U == number : winners >= 1;
  }

  void clean_up() {
    for (const char* name : {"book.mp3", "limit.txt"}) {
      client_->remove(object(name), {});
    }
  }

  const Options options_;
  const s3::Location root_;
  S3Settings settings_;
  std::unique_ptr<S3Storage> storage_;
  std::unique_ptr<s3::Client> client_;
  int failures_ = 0;
};

} // namespace

int main(int argc, char** argv) {
  CLI::App app{"Tries everything that audiobookd asks of S3 on a server.", "audiobook-s3-check"};
  Options options;
  app.add_option("--endpoint", options.endpoint, "http://HOST[:PORT] or https://… (default: Amazon's of the region)");
  app.add_option("--region", options.region)->capture_default_str();
  app.add_option("--root", options.root, "s3://BUCKET/PREFIX: what lies there may be overwritten")->required();
  app.add_option("--addressing", options.addressing, "auto, path or host")->capture_default_str();
  app.add_option("--ca-file", options.ca_file);
  app.add_option("--large-mib", options.large_mib, "Size of a large output")->capture_default_str();
  app.add_option("--large-publishers", options.large_publishers, "Of a large output at the same time")
      ->capture_default_str();
  CLI11_PARSE(app, argc, argv);
  try {
    return Check(options).run();
  } catch (const std::exception& error) {
    std::cerr << "audiobook-s3-check: " << error.what() << '\n';
    return 100;
  }
}
