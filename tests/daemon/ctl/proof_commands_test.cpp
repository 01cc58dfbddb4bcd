// `audiobookctl utterances` and `redo` with a real redis-server, and jobs that are rendered in this process.
#include "daemon/ctl/completion.h"
#include "daemon/ctl/listed_book.h"
#include "daemon/ctl/queue_commands.h"
#include "daemon/engine_thread.h"
#include "daemon/render_job.h"
#include "tests/daemon/ctl/ctl_fixture.h"
#include "tests/storage/ffmpeg.h"

#include <algorithm>
#include <gtest/gtest.h>

namespace audiobookd::daemon {
namespace {
namespace fs = std::filesystem;

using nlohmann::json;
using testing::Ran;

bool contains(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

class RedisProof : public testing::CtlFixture {
protected:
  RedisProof() {
    folder_.write("files/tale.txt", testing::sample_text(12));
    defaults_.shape.listing = true;
  }

  /// A command that knows where the books are.
  Ran proof(std::vector<std::string> words, const std::string& in = "", std::size_t columns = 0) {
    words.insert(words.end(), {"--output-root", files_.string()});
    return ctl(std::move(words), in, columns);
  }
  /// Renders the next job of the queue. @return its id; empty if there was none
  std::string render_next() {
    worker_->intake();
    auto claimed = worker_->claim();
    if (!claimed) {
      return "";
    }
    std::string id = claimed->lease.id;
    const JobSurroundings surroundings{.queue = *worker_,
                                       .studio = {renderer_, pool_, store_, encoders_},
                                       .storage = storage_,
                                       .clips = clips_,
                                       .defaults = defaults_,
                                       .on_end = [] {}};
    const RenderJob running(std::move(*claimed), surroundings); // its destructor waits for the end
    return id;
  }
  void render_book(const std::string& id = "tale", const std::string& more = "") {
    add("normal", R"({"id":")" + id + R"(","input":"tale.txt","output":")" + id + R"(.flac")" + more + "}");
    ASSERT_EQ(render_next(), id);
    ASSERT_EQ(state(id), "done") << field(id, "error");
  }
  [[nodiscard]] std::string book(const std::string& id = "tale") const {
    return tests::read_file(files_ / (id + ".flac"));
  }

  testing::TemporaryFolder folder_;
  const fs::path files_ = folder_.path() / "files";
  JobDefaults defaults_;
  testing::FakeRenderer renderer_;
  storage::LocalStorage storage_{{.input = (fs::create_directories(files_), files_), .output = files_}};
  ClipVoices clips_{folder_.path() / "clips",
                    {.clip_decoder = AUDIOBOOKD_CLIP_DECODER, .checkpoint = folder_.path() / "none", .cpu_threads = 1}};
  storage::ChunkStore store_{{.folder = folder_.path() / "chunks", .max_bytes = 1u << 30}};
  UtterancePool pool_{renderer_, store_, {}};
  storage::WorkerPool encoders_{2};
  EngineThread engine_{renderer_, pool_, [] {}};
  std::unique_ptr<jobs::RedisQueue> worker_ = make_worker("w-1");
};

TEST_F(RedisProof, ABookIsListenedToAndOneSentenceRedone) {
  render_book();
  const std::string first = book();
  const Ran listed = proof({"utterances", "tale", "--json"});
  ASSERT_EQ(listed.status, 0) << listed.err;
  const json before = listed.json().at("utterances");
  EXPECT_EQ(before[4].at("take"), 0);
  const Ran table = proof({"utterances", "tale", "--chapter", "1", "-n", "3"});
  EXPECT_TRUE(contains(table.out, "    1   0:00:00.0    1  [0]")) << table.out;
  EXPECT_TRUE(contains(table.out, before[2].at("written").get<std::string>())) << table.out;

  const Ran added = proof({"redo", "tale", "5", "7"});
  EXPECT_EQ(added.status, 0) << added.err;
  EXPECT_EQ(added.out, "tale.redo-1\n");
  ASSERT_EQ(render_next(), "tale.redo-1");
  ASSERT_EQ(state("tale.redo-1"), "done") << field("tale.redo-1", "error");
  EXPECT_NE(book(), first);
  const Ran again = proof({"utterances", "tale", "--json"});
  const json after = again.json().at("utterances");
  for (std::size_t i = 0; i < after.size(); ++i) {
    EXPECT_EQ(after[i].at("take"), i == 4 || i == 6 ? 1 : 0) << i;
    EXPECT_EQ(after[i].at("key"), before[i].at("key"));
  }
  EXPECT_TRUE(contains(again.err, "the book is as job tale.redo-1 has made it")) << again.err;

  EXPECT_EQ(proof({"redo", "tale", "5", "7", "--take", "0"}).out, "tale.redo-2\n") << "by the name of its first job";
  render_next();
  EXPECT_EQ(book(), first);
  EXPECT_EQ(proof({"redo", "tale.redo-1", "5", "--text", "Quite another thing."}).out, "tale.redo-3\n");
  render_next();
  EXPECT_EQ(proof({"utterances", "tale.redo-1", "--json"}).json().at("utterances")[4].at("written"),
            "Quite another thing.");
}

TEST_F(RedisProof, TheQueueIsThatOfTheBookAndJsonSaysWhatWasAdded) {
  add("low", R"({"id":"tale","input":"tale.txt","output":"tale.flac"})");
  render_next();
  const Ran added = proof({"redo", "tale", "1", "--seed", "5", "--json"});
  EXPECT_EQ(added.json().at("id"), "tale.redo-1");
  EXPECT_EQ(added.json().at("queue"), "low");
  const auto entries = admin.command({"XRANGE", "tts:q:low", "-", "+"});
  ASSERT_EQ(entries.list.size(), 1U);
  EXPECT_EQ(json::parse(entries.at(0).at(1).at(1).text).at("redo").at("utterances")[0].at("seed"), 5);
}

TEST_F(RedisProof, TwoRedosAtOnceWouldLoseOneAndAreRefused) {
  render_book();
  EXPECT_EQ(proof({"redo", "tale", "5"}).status, 0);
  worker_->intake();
  const Ran second = proof({"redo", "tale", "6"});
  EXPECT_EQ(second.status, 1);
  EXPECT_TRUE(contains(second.err, "tale.redo-1 is queued; wait until it is done (audiobookctl follow tale.redo-1)"))
      << second.err;
  ASSERT_EQ(render_next(), "tale.redo-1");
  EXPECT_EQ(proof({"redo", "tale", "6"}).out, "tale.redo-2\n");
  EXPECT_TRUE(contains(proof({"redo", "tale", "7"}).err, "not taken in by a worker yet"));
}

TEST_F(RedisProof, WhatCannotBeShownIsExplained) {
  const auto refuses = [&](const std::vector<std::string>& words, int status, const std::string& part) {
    const Ran ran = proof(words);
    EXPECT_EQ(ran.status, status) << ran.out;
    EXPECT_TRUE(contains(ran.err, part)) << ran.err;
    EXPECT_EQ(ran.out, "");
  };
  refuses({"utterances", "nobody"}, 3, "no such job: nobody");
  refuses({"utterances", "a b"}, 2, "neither a job id nor a file");
  refuses({"utterances", "./nothing"}, 1, "'./nothing' does not exist");
  add("normal", R"({"id":"tale","input":"tale.txt","output":"tale.flac"})");
  worker_->intake();
  refuses({"utterances", "tale"}, 1, "job tale is queued; its utterances are listed when it is done");
  render_next();
  refuses({"redo", "tale", "1000"}, 2, "utterance 1000 does not exist, the book has ");
  refuses({"redo", "tale", "1", "2", "--text", "x"}, 2, "--text: is of one utterance");
  refuses({"redo", "tale"}, 2, "");
  refuses({"utterances", "tale", "--around", "noon"}, 2, "\"noon\" is no time");
  refuses({"utterances", "tale", "--chapter", "9"}, 2, "--chapter: 9 does not exist, the book has 2 chapters");

  render_book("silent", R"(,"listing":false)");
  refuses({"utterances", "silent"}, 1, "job silent has made no listing of its utterances; render the book anew");
  add("normal", R"({"id":"lost","input":"nothing.txt","output":"lost.flac"})");
  render_next();
  refuses({"utterances", "lost"}, 1, "job lost is dead and has made no book: ");
  add("normal", R"({"id":"second","input":"tale.txt","output":"tale.flac","if_exists":"skip"})");
  render_next();
  refuses({"utterances", "second"}, 1, "job second was skipped, because its output existed");
  add("normal", R"({"id":"third","input":"tale.txt","output":"tale.flac","if_exists":"replace"})");
  render_next();
  refuses({"utterances", "tale"}, 1, "the book of job tale, 'tale.flac', was replaced by job third");
  tests::write_file(files_ / "tale.flac", "tagged by somebody");
  refuses({"redo", "third", "1"}, 1, "'tale.flac' is not the file that '.tale.flac.utterances.json' describes");
  fs::remove(files_ / "tale.flac");
  refuses({"utterances", "third"}, 1, "the book 'tale.flac' is not there");

  const Ran nowhere = ctl({"utterances", "third"});
  EXPECT_EQ(nowhere.status, 2);
  EXPECT_TRUE(contains(nowhere.err, "--output-root DIR")) << nowhere.err;
}

TEST_F(RedisProof, AFileOfThisMachineMayStandForTheJob) {
  render_book();
  const std::string by_job = proof({"utterances", "tale"}).out;
  for (const fs::path& file : {files_ / "tale.flac", files_ / ".tale.flac.utterances.json"}) {
    const Ran ran = ctl({"utterances", file.string()});
    EXPECT_EQ(ran.status, 0) << ran.err;
    EXPECT_EQ(ran.out, by_job);
  }
  EXPECT_EQ(ctl({"redo", (files_ / "tale.flac").string(), "3"}).out, "tale.redo-1\n");
  tests::write_file(files_ / "tale.flac", "another");
  EXPECT_EQ(ctl({"utterances", (files_ / ".tale.flac.utterances.json").string()}).status, 1);
  fs::remove(files_ / "tale.flac");
  EXPECT_EQ(ctl({"utterances", (files_ / ".tale.flac.utterances.json").string()}).out, by_job) << "a copy";
  tests::write_file(folder_.path() / "broken.json", "{\"v\":1}");
  const Ran broken = ctl({"utterances", (folder_.path() / "broken.json").string()});
  EXPECT_EQ(broken.status, 1);
  EXPECT_TRUE(contains(broken.err, "broken.json' is no listing of utterances that can be read: ")) << broken.err;
}

TEST_F(RedisProof, AFolderHasItsListingInside) {
  add("normal", R"({"id":"tale","input":"tale.txt","output":"tale","split":"chapters","format":{"codec":"flac"}})");
  render_next();
  ASSERT_EQ(state("tale"), "done") << field("tale", "error");
  const Ran by_job = proof({"utterances", "tale", "--json"});
  ASSERT_EQ(by_job.status, 0) << by_job.err;
  EXPECT_NE(by_job.json().at("utterances").front().at("file"), by_job.json().at("utterances").back().at("file"));
  EXPECT_EQ(ctl({"utterances", (files_ / "tale/").string(), "--json"}).out, by_job.out);
  EXPECT_EQ(proof({"utterances", "tale", "--around", "0"}).status, 2) << "in which file?";
  EXPECT_EQ(proof({"utterances", "tale", "--around", "0", "--chapter", "2"}).status, 0);
  EXPECT_EQ(proof({"redo", "tale", "2"}).out, "tale.redo-1\n");
  render_next();
  EXPECT_EQ(proof({"utterances", "tale", "--json"}).json().at("utterances")[1].at("take"), 1);
}

TEST_F(RedisProof, TheConfigurationOfTheDaemonSaysWhereTheBooksAre) {
  render_book();
  const auto config = folder_.write("audiobookd.toml", "[redis]\nurl = '" + server.url() +
                                                           "'\n[paths]\ninput_root = 'files'\noutput_root = "
                                                           "'files'\nchunk_store = 'chunks'\n");
  const Ran ran = testing::run_ctl({"utterances", "tale", "--config", config.string()});
  EXPECT_EQ(ran.status, 0) << ran.err;
  EXPECT_EQ(ran.out, proof({"utterances", "tale"}).out);
}

TEST_F(RedisProof, AJobThatTheListingDoesNotKnowComesFromAFile) {
  render_book();
  const auto file = files_ / ".tale.flac.utterances.json";
  BookListing listing = parse_listing(tests::read_file(file), "listing");
  listing.job.clear(); // as the command `render` makes it
  listing.payload.clear();
  tests::write_file(file, to_json(listing));
  const Ran without = ctl({"redo", (files_ / "tale.flac").string(), "3"});
  EXPECT_EQ(without.status, 2);
  EXPECT_TRUE(contains(without.err, "--job FILE")) << without.err;
  const auto job = folder_.write("job.json", R"({"id":"mine","input":"tale.txt","output":"tale.flac"})");
  EXPECT_EQ(ctl({"redo", (files_ / "tale.flac").string(), "3", "--job", job.string()}).out, "mine.redo-1\n");
  ASSERT_EQ(render_next(), "mine.redo-1");
  EXPECT_EQ(state("mine.redo-1"), "done") << field("mine.redo-1", "error");
}

TEST_F(RedisProof, TheProgramFollowsARedoToItsEnd) {
  render_book();
  const auto running = start({"redo", "tale", "5", "--follow", "--output-root", files_.string()});
  EXPECT_TRUE(running->prints("tale.redo-1"));
  jobs::eventually([&] { return render_next() == "tale.redo-1"; });
  const Ran ran = running->wait();
  EXPECT_EQ(ran.status, 0) << ran.err;
  EXPECT_TRUE(contains(ran.out, "tale.redo-1: done")) << ran.out;
}

TEST(CtlCompletionOfBooks, OffersBooksThatAreDoneToThoseWhoListen) {
  std::istringstream in;
  std::ostringstream out;
  CLI::App app("", "audiobookctl");
  QueueCommands commands({in, out, out, 0});
  commands.describe(app);
  const std::string script = completion_script(app, "bash");
  for (const char* command : {"utterances", "redo"}) {
    const std::size_t place = script.find(std::string("\"/") + command + ":\"");
    ASSERT_NE(place, std::string::npos) << command;
    EXPECT_LT(script.find("audiobookctl ls --ids --state done", place), script.find(";;\n    \"", place)) << command;
  }
  EXPECT_TRUE(contains(script, "--suspicious")) << script;
}

} // namespace
} // namespace audiobookd::daemon
