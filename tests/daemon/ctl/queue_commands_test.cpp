// The commands about the queue, each against a real redis-server with the queue's own scripts.
#include "jobs/job.h"
#include "tests/daemon/ctl/ctl_fixture.h"

#include <algorithm>
#include <gtest/gtest.h>

namespace audiobookd::daemon {
namespace {

using nlohmann::json;
using testing::Ran;
using testing::Upkeep;

bool contains(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

class RedisCtl : public testing::CtlFixture {
protected:
  std::unique_ptr<jobs::RedisQueue> worker = make_worker("w-1");
  /// The payload of the only entry of a queue.
  json payload(const std::string& queue) {
    const auto entries = admin.command({"XRANGE", "tts:q:" + queue, "-", "+"});
    EXPECT_EQ(entries.list.size(), 1U);
    return entries.list.size() == 1 ? json::parse(entries.at(0).at(1).at(1).text) : json();
  }
  /// A job that somebody renders.
  jobs::ClaimedJob claim(const std::string& id) {
    add_job("normal", id, R"(,"title":"The )" + id + "\"");
    worker->intake();
    return worker->claim().value();
  }
};

// --- enqueue ------------------------------------------------------------------------------------------------------

TEST_F(RedisCtl, EveryFieldOfAJobHasAnOption) {
  const testing::TemporaryFolder folder;
  const Ran ran = ctl({"enqueue",
                       "--queue",
                       "high",
                       "--id",
                       "tale",
                       "-i",
                       "a.txt",
                       "-o",
                       "a.mp3",
                       "--if-exists",
                       "skip",
                       "--title",
                       "A tale",
                       "--author",
                       "Anna",
                       "--language",
                       "en-GB",
                       "--voice",
                       "anna",
                       "--normalize",
                       "false",
                       "--dictionary",
                       (folder.write("words.toml", "[words]\ngif = 'jif'\n")).string(),
                       "--model",
                       "m",
                       "--exaggeration",
                       "0.7",
                       "--cfg-weight",
                       "0.5",
                       "--temperature",
                       "0.8",
                       "--repetition-penalty",
                       "1.2",
                       "--min-p",
                       "0.05",
                       "--top-k",
                       "50",
                       "--top-p",
                       "0.9",
                       "--cfm-steps",
                       "4",
                       "--seed",
                       "18446744073709551615",
                       "--codec",
                       "mp3",
                       "--bitrate-kbps",
                       "64",
                       "--split",
                       "single",
                       "--layout",
                       "file",
                       "--subtitles",
                       "none",
                       "--listing",
                       "false",
                       "--cover",
                       "c.png",
                       "--metadata",
                       "narrator=Anna",
                       "--metadata",
                       "description=a=b",
                       "--sentence-ms",
                       "1",
                       "--paragraph-ms",
                       "2",
                       "--scene-ms",
                       "3",
                       "--chapter-ms",
                       "4",
                       "--class",
                       "interactive",
                       "--max-attempts",
                       "5",
                       "--not-before",
                       "1700000000",
                       "--idempotency-key",
                       "k"});
  EXPECT_EQ(ran.status, 0) << ran.err;
  EXPECT_EQ(ran.out, "tale\n");
  const json expected = {{"id", "tale"},
                         {"input", "a.txt"},
                         {"output", "a.mp3"},
                         {"if_exists", "skip"},
                         {"title", "A tale"},
                         {"author", "Anna"},
                         {"language", "en-GB"},
                         {"voice", "anna"},
                         {"normalize", false},
                         {"dictionary", {{"gif", "jif"}}},
                         {"model", "m"},
                         {"params",
                          {{"exaggeration", 0.7},
                           {"cfg_weight", 0.5},
                           {"temperature", 0.8},
                           {"repetition_penalty", 1.2},
                           {"min_p", 0.05},
                           {"top_k", 50},
                           {"top_p", 0.9},
                           {"cfm_steps", 4},
                           {"seed", 18446744073709551615U}}},
                         {"format", {{"codec", "mp3"}, {"bitrate_kbps", 64}}},
                         {"split", "single"},
                         {"layout", "file"},
                         {"subtitles", "none"},
                         {"listing", false},
                         {"cover", "c.png"},
                         {"metadata", {{"narrator", "Anna"}, {"description", "a=b"}}},
                         {"pauses", {{"sentence_ms", 1}, {"paragraph_ms", 2}, {"scene_ms", 3}, {"chapter_ms", 4}}},
                         {"class", "interactive"},
                         {"max_attempts", 5},
                         {"not_before", 1700000000},
                         {"idempotency_key", "k"}};
  EXPECT_EQ(payload("high"), expected);
  worker->intake();
  EXPECT_EQ(state("tale"), "queued");
}

TEST_F(RedisCtl, EnqueueReadsTheTextAndTheClipsPathToo) {
  EXPECT_EQ(ctl({"enqueue", "--text", "-", "-o", "a.mp3", "--voice-clip", "anna.wav", "--vbr-quality", "4"}, "Hello.\n")
                .status,
            0);
  EXPECT_EQ(payload("normal"), (json{{"text", "Hello.\n"},
                                     {"output", "a.mp3"},
                                     {"voice", {{"clip", "anna.wav"}}},
                                     {"format", {{"vbr_quality", 4}}}}));
}

TEST_F(RedisCtl, EnqueueTakesAPresetAndItsCredits) {
  EXPECT_EQ(ctl({"enqueue", "-i", "a.epub", "-o", "a", "--preset", "acx", "--opening-credits", "{title}.",
                 "--closing-credits", "The end.", "--bitrate-kbps", "256"})
                .status,
            0);
  EXPECT_EQ(payload("normal"), (json{{"input", "a.epub"},
                                     {"output", "a"},
                                     {"format", {{"preset", "acx"}, {"bitrate_kbps", 256}}},
                                     {"credits", {{"opening", "{title}."}, {"closing", "The end."}}}}));
}

TEST_F(RedisCtl, AMistakeIsSaidBeforeAnythingIsAdded) {
  const auto refuses = [&](std::vector<std::string> words, const std::string& part, const std::string& in = "") {
    words.insert(words.begin(), "enqueue");
    const Ran ran = ctl(words, in);
    EXPECT_EQ(ran.status, 2) << ran.out;
    EXPECT_TRUE(contains(ran.err, part)) << ran.err;
    EXPECT_EQ(ran.out, "");
  };
  refuses({"-i", "../a.txt", "-o", "a.mp3"}, "input: \"../a.txt\"");
  refuses({"-i", "a.txt"}, "output: missing");
  refuses({"-i", "a.txt", "-o", "a.mp3", "--seed", "seven"}, "params.seed");
  refuses({"-i", "a.txt", "-o", "a.mp3", "--cfm-steps", "0"}, "params.cfm_steps");
  refuses({"-i", "a.txt", "-o", "a.mp3", "--not-before", "tomorrow"}, "--not-before: \"tomorrow\"");
  refuses({"-i", "a.txt", "-o", "a.mp3", "--title", "\xff"}, "--title: not UTF-8");
  refuses({"-i", "a.txt", "-o", "a.mp3", "--queue", "urgent"}, "urgent");
  refuses({"-i", "a.txt", "-o", "a.mp3", "--titel", "x"}, "--titel");
  refuses({"-i", "a.txt", "-o", "a.mp3", "--preset", "acx"}, "output: \"a.mp3\"");
  refuses({"-i", "a.txt", "-o", "a", "--preset", "acx", "--codec", "flac"}, "format.codec: \"flac\"");
  refuses({"-i", "a.txt", "-o", "a.mp3", "--normalize", "no"}, "normalize: expected true or false");
  refuses({"-i", "a.txt", "-o", "a.mp3", "--dictionary", "/nonexistent.toml"}, "--dictionary: /nonexistent.toml");
  refuses({"--job", "-"}, "ouput", R"({"input":"a.txt","ouput":"a.mp3"})");
  refuses({"--job", "-"}, "given twice", R"({"id":"a","id":"b","input":"a.txt","output":"a.mp3"})");
  refuses({"--job", "-"}, "JSON", "{");
  refuses({"--job", "-"}, "v: 2", R"({"v":2,"input":"a.txt","output":"a.mp3"})");
  refuses({"--job", "-"}, "line 3: input",
          "{\"text\":\"a\",\"output\":\"a.mp3\"}\n\n{\"input\":7,\"output\":\"b.mp3\"}\n");
  refuses({"--job", "/nonexistent"}, "'/nonexistent'");
  refuses({"--job", "-", "--seed", "1"}, "params", R"({"input":"a.txt","output":"a.mp3","params":7})");
  refuses({}, "--input");
  EXPECT_EQ(length("q:normal"), 0);
}

TEST_F(RedisCtl, ManyJobsComeAsLinesAndOptionsGoBeforeThem) {
  const Ran ran = ctl({"enqueue", "--job", "-", "--queue", "low", "--if-exists", "replace"},
                      "{\"id\":\"a\",\"input\":\"a.txt\",\"output\":\"a.mp3\"}\n\n"
                      "{\"id\":\"b\",\"input\":\"b.txt\",\"output\":\"b.mp3\",\"if_exists\":\"skip\"}\n");
  EXPECT_EQ(ran.status, 0) << ran.err;
  EXPECT_EQ(ran.out, "a\nb\n");
  const auto entries = admin.command({"XRANGE", "tts:q:low", "-", "+"});
  ASSERT_EQ(entries.list.size(), 2U);
  EXPECT_EQ(json::parse(entries.at(1).at(1).at(1).text).at("if_exists"), "replace");
}

TEST_F(RedisCtl, AJobOverSeveralLinesIsOneJob) {
  EXPECT_EQ(
      ctl({"enqueue", "--job", "-"}, "{\n  \"id\": \"a\",\n  \"text\": \"Hello.\",\n  \"output\": \"a.mp3\"\n}\n").out,
      "a\n");
}

TEST_F(RedisCtl, AJobWithoutAnIdIsNamedByItsEntry) {
  const Ran ran = ctl({"enqueue", "--text", "Hello.", "-o", "a.mp3", "--json"});
  const json added = ran.json();
  EXPECT_EQ(added.at("queue"), "normal");
  EXPECT_EQ(added.at("id"), added.at("entry"));
  worker->intake();
  EXPECT_EQ(state(added.at("id").get<std::string>()), "queued");
}

TEST_F(RedisCtl, AnIdThatIsTakenIsRefused) {
  claim("tale");
  const Ran ran = ctl(
      {"enqueue", "--job", "-"},
      "{\"id\":\"new\",\"text\":\"a\",\"output\":\"a.mp3\"}\n{\"id\":\"tale\",\"text\":\"a\",\"output\":\"b.mp3\"}");
  EXPECT_EQ(ran.status, 1);
  EXPECT_TRUE(contains(ran.err, "there is a job tale already, it is running")) << ran.err;
  EXPECT_EQ(length("q:normal"), 1) << "nothing was added";
  EXPECT_EQ(
      ctl({"enqueue", "--job", "-"},
          "{\"id\":\"x\",\"text\":\"a\",\"output\":\"a.mp3\"}\n{\"id\":\"x\",\"text\":\"a\",\"output\":\"b.mp3\"}")
          .status,
      1);
}

// --- ls, show -----------------------------------------------------------------------------------------------------

TEST_F(RedisCtl, LsListsTheNewestFirstAndFilters) {
  add_dead_job(*worker, "first", "the input is missing");
  const jobs::ClaimedJob second = claim("second");
  worker->heartbeat(second.lease, {.fraction = 0.42, .eta_s = 53});
  add_job("low", "third");
  worker->intake();
  add_job("low", "untaken");

  const Ran all = ctl({"ls"});
  EXPECT_EQ(all.status, 0) << all.err;
  const auto third = all.out.find("third"), middle = all.out.find("second"), first = all.out.find("first");
  EXPECT_TRUE(third < middle && middle < first && first != std::string::npos) << all.out;
  EXPECT_TRUE(contains(all.out, "second  running  normal  [####......]  42 %  0:53")) << all.out;
  EXPECT_TRUE(contains(all.out, "The second")) << all.out;
  EXPECT_TRUE(contains(all.out, "first.mp3: the input is missing")) << all.out;
  EXPECT_TRUE(contains(all.err, "1 more was not taken in")) << all.err;

  EXPECT_EQ(ctl({"ls", "--ids", "--state", "running,queued"}).out, "third\nsecond\n");
  EXPECT_EQ(ctl({"ls", "--ids", "--state", "dead"}).out, "first\n");
  EXPECT_EQ(ctl({"ls", "--ids", "--queue", "normal"}).out, "second\nfirst\n");
  EXPECT_EQ(ctl({"ls", "--ids", "-n", "1"}).out, "third\n");
  EXPECT_EQ(ctl({"ls", "--state", "lost"}).status, 2);
  EXPECT_EQ(ctl({"ls", "--queue", "urgent"}).status, 2);

  const json listed = ctl({"ls", "--json", "--state", "running"}).json();
  ASSERT_EQ(listed.size(), 1U);
  EXPECT_EQ(listed[0].at("id"), "second");
  EXPECT_EQ(listed[0].at("progress"), 0.42);
  EXPECT_EQ(listed[0].at("eta"), 53);
  EXPECT_TRUE(listed[0].at("created_at").is_number_integer());
  EXPECT_FALSE(listed[0].contains("token"));
}

TEST_F(RedisCtl, LsReachesBeyondOnePageOfRecords) {
  for (int i = 0; i < 1203; ++i) {
    const std::string id = "j" + std::to_string(i);
    admin.command({"HSET", "tts:job:" + id, "state", i == 3 ? "done" : "cancelled", "created_at", std::to_string(i)});
    admin.command({"ZADD", "tts:jobs", std::to_string(i), id});
  }
  EXPECT_EQ(ctl({"ls", "--ids", "--state", "done"}).out, "j3\n");
  EXPECT_EQ(ctl({"ls", "--json", "--all"}).json().size(), 1203U);
  EXPECT_EQ(ctl({"ls", "--json"}).json().size(), 50U);
}

TEST_F(RedisCtl, ShowTellsTheRecordItsResultAndItsEvents) {
  const jobs::ClaimedJob job = claim("tale");
  worker->begin_commit(job.lease, "print");
  worker->complete(job.lease, R"({"audio_seconds":61.5,"words":12})");
  const Ran text = ctl({"show", "tale"});
  EXPECT_EQ(text.status, 0) << text.err;
  for (const char* part : {"state", "done", "owner", "w-1", "UTC", "\"words\":12", "events\n", "committing"}) {
    EXPECT_TRUE(contains(text.out, part)) << part << " in " << text.out;
  }
  const json shown = ctl({"show", "tale", "--json"}).json();
  EXPECT_EQ(shown.at("id"), "tale");
  EXPECT_EQ(shown.at("record").at("state"), "done");
  EXPECT_EQ(shown.at("record").at("result").at("words"), 12);
  EXPECT_EQ(shown.at("record").at("attempts"), 0);
  std::vector<std::string> events;
  for (const json& event : shown.at("events")) {
    EXPECT_EQ(event.at("id"), "tale");
    EXPECT_GT(event.at("at").get<std::int64_t>(), 1'600'000'000'000);
    events.push_back(event.at("event"));
  }
  EXPECT_EQ(events, (std::vector<std::string>{"queued", "running", "committing", "done"}));
}

TEST_F(RedisCtl, AnUnknownJobHasAStatusOfItsOwn) {
  const Upkeep upkeep(*worker);
  EXPECT_EQ(ctl({"show", "nobody"}).status, 3);
  EXPECT_EQ(ctl({"follow", "nobody"}).status, 3);
  for (const char* command : {"cancel", "retry", "purge"}) {
    const Ran ran = ctl({command, "nobody"});
    EXPECT_EQ(ran.status, 3) << command;
    EXPECT_EQ(ran.err, "nobody: no such job\n");
    EXPECT_EQ(ctl({command, "no body"}).status, 2) << "not even an id";
  }
}

// --- Commands -----------------------------------------------------------------------------------------------------

TEST_F(RedisCtl, CancelSaysWhatBecameOfEachJob) {
  const jobs::ClaimedJob running = claim("running");
  add_job("normal", "waiting");
  const Upkeep upkeep(*worker);
  const Ran ran = ctl({"cancel", "running", "waiting"});
  EXPECT_EQ(ran.status, 0) << ran.err;
  EXPECT_EQ(ran.out, "running: cancelled with its worker's next heartbeat\nwaiting: cancelled\n");
  EXPECT_EQ(state("waiting"), "cancelled");
  EXPECT_EQ(worker->heartbeat(running.lease, {}), jobs::LeaseState::cancelled);

  const Ran again = ctl({"cancel", "waiting", "--json"});
  EXPECT_EQ(again.status, 1);
  EXPECT_EQ(again.json(),
            json::parse(R"([{"command":"cancel","id":"waiting","outcome":"already cancelled","ok":false}])"));
}

TEST_F(RedisCtl, RetryRunsADeadJobAnewAndAWaitingOneNow) {
  add_dead_job(*worker, "dead", "broken");
  const jobs::ClaimedJob waiting = claim("waiting");
  ASSERT_EQ(worker->fail(waiting.lease, "disk full", jobs::FailureKind::transient), jobs::FailureOutcome::retry);
  const Upkeep upkeep(*worker);
  const Ran ran = ctl({"retry", "dead", "waiting"});
  EXPECT_EQ(ran.status, 0) << ran.err;
  EXPECT_EQ(ran.out, "dead: requeued\nwaiting: requeued\n");
  EXPECT_EQ(state("dead"), "queued");
  EXPECT_EQ(field("dead", "attempts"), "0");
  EXPECT_EQ(field("waiting", "attempts"), "1");
  EXPECT_EQ(ctl({"retry", "dead"}).status, 1) << "it is queued already";
}

TEST_F(RedisCtl, DeadJobsAreListedRequeuedAndPurged) {
  for (const char* id : {"a", "b", "c"}) {
    add_dead_job(*worker, id, std::string("broken ") + id);
  }
  const Upkeep upkeep(*worker);
  EXPECT_EQ(ctl({"dead", "ls", "--ids"}).out, "c\nb\na\n");
  const Ran table = ctl({"dead", "ls"});
  EXPECT_TRUE(contains(table.out, "ID  QUEUE   ATTEMPTS  DIED")) << table.out;
  EXPECT_TRUE(contains(table.out, "broken b")) << table.out;
  const json listed = ctl({"dead", "ls", "--json", "-n", "1"}).json();
  ASSERT_EQ(listed.size(), 1U);
  EXPECT_EQ(listed[0].at("id"), "c");
  EXPECT_EQ(listed[0].at("attempts"), 1);
  EXPECT_EQ(listed[0].at("error"), "broken c");
  EXPECT_EQ(listed[0].at("job").at("output"), "c.mp3");

  EXPECT_EQ(ctl({"dead", "requeue"}).status, 2) << "ids or --all";
  EXPECT_EQ(ctl({"dead", "requeue", "a", "--all"}).status, 2);
  EXPECT_EQ(ctl({"dead", "requeue", "a"}).out, "a: requeued\n");
  EXPECT_EQ(state("a"), "queued");
  EXPECT_EQ(ctl({"dead", "purge", "--all"}).out, "b: purged\nc: purged\n");
  EXPECT_EQ(state("b"), "");
  EXPECT_EQ(length("dead"), 0);
  EXPECT_EQ(ctl({"dead", "purge", "--all"}).status, 0) << "nothing to do";
}

TEST_F(RedisCtl, PurgeRemovesAnEndedJobAndRefusesAnother) {
  const jobs::ClaimedJob done = claim("done");
  worker->begin_commit(done.lease, "");
  worker->complete(done.lease, "{}");
  claim("running");
  const Upkeep upkeep(*worker);
  EXPECT_EQ(ctl({"purge", "done"}).out, "done: purged\n");
  EXPECT_EQ(ctl({"show", "done"}).status, 3);
  const Ran refused = ctl({"purge", "running"});
  EXPECT_EQ(refused.status, 1);
  EXPECT_TRUE(contains(refused.err, "running")) << refused.err;
}

TEST_F(RedisCtl, PauseAndResumeOneQueueOrEverything) {
  const Upkeep upkeep(*worker);
  EXPECT_EQ(ctl({"pause", "low"}).out, "low: paused\n");
  EXPECT_EQ(ctl({"stats", "--json"}).json().at("queues")[2].at("paused"), true);
  EXPECT_EQ(ctl({"resume", "low"}).out, "low: resumed\n");
  EXPECT_EQ(ctl({"pause"}).out, "everything: paused\n");
  EXPECT_EQ(ctl({"stats", "--json"}).json().at("paused"), true);
  EXPECT_TRUE(contains(ctl({"stats"}).out, "paused"));
  const json resumed = ctl({"resume", "--json"}).json();
  EXPECT_EQ(resumed, json::parse(R"([{"command":"resume","outcome":"resumed","ok":true}])"));
  EXPECT_EQ(ctl({"stats", "--json"}).json().at("paused"), false);
  EXPECT_EQ(ctl({"pause", "urgent"}).status, 2);
}

TEST_F(RedisCtl, WithoutAWorkerACommandSaysSoAndStays) {
  add_job("normal", "tale");
  const Ran ran = ctl({"cancel", "tale", "--timeout", "1.5"});
  EXPECT_EQ(ran.status, 7);
  EXPECT_TRUE(contains(ran.err, "no worker is alive")) << ran.err;
  EXPECT_TRUE(contains(ran.err, "tale: no worker carried this out in time")) << ran.err;
  EXPECT_EQ(ctl({"cancel", "tale", "--timeout", "0.1", "--json"}).json()[0].at("outcome"), nullptr);
  worker->intake();
  worker->poll_control();
  EXPECT_EQ(state("tale"), "cancelled");
}

// --- workers, stats, drain ----------------------------------------------------------------------------------------

TEST_F(RedisCtl, WorkersAreListedAndDrained) {
  const auto second = make_worker("w-2");
  const Upkeep upkeep(*worker);
  second->announce(R"({"host":"\u001b[2Jthere","device":"cuda","model":"chatterbox","jobs":2,"max_jobs":8})");
  ASSERT_TRUE(jobs::eventually([&] { return ctl({"workers", "--json"}).json().size() == 2; }));
  EXPECT_EQ(ctl({"drain"}).status, 2);
  EXPECT_EQ(ctl({"drain", "w-2"}).out, "w-2: draining\n");
  const json listed = ctl({"workers", "--json"}).json();
  EXPECT_EQ(listed[0].at("name"), "w-1");
  EXPECT_EQ(listed[0].at("draining"), false);
  EXPECT_EQ(listed[1].at("draining"), true);
  EXPECT_EQ(listed[1].at("alive"), true);
  EXPECT_EQ(listed[1].at("info").at("device"), "cuda");
  const Ran text = ctl({"workers"});
  EXPECT_TRUE(contains(text.out, "w-2   draining")) << text.out;
  EXPECT_TRUE(contains(text.out, "2/8")) << text.out;
  EXPECT_TRUE(contains(text.out, "\\x1b[2Jthere")) << text.out;
  EXPECT_EQ(ctl({"drain", "w-3"}).status, 1);
  EXPECT_EQ(ctl({"drain", "--all"}).out, "everything: draining\n");
  EXPECT_EQ(ctl({"workers", "--json"}).json()[0].at("draining"), true);
  admin.command({"DEL", "tts:worker:w-2"}); // as when it expires
  EXPECT_TRUE(contains(ctl({"workers"}).out, "w-2   silent"));
}

TEST_F(RedisCtl, StatsCountWhatWaitsRunsAndWasDone) {
  add_dead_job(*worker, "dead", "broken");
  const jobs::ClaimedJob done = claim("done");
  worker->begin_commit(done.lease, "");
  worker->complete(done.lease, R"({"audio_seconds":3723})");
  claim("running");
  const jobs::ClaimedJob failed = claim("failed");
  worker->fail(failed.lease, "disk full", jobs::FailureKind::transient);
  add_job("low", "low-1");
  add_job("low", "low-2");
  worker->intake();
  add_job("low", "low-3");
  worker->announce("{}");

  const json stats = ctl({"stats", "--json"}).json();
  EXPECT_EQ(stats.at("dead"), 1);
  EXPECT_EQ(stats.at("untaken"), 1);
  EXPECT_EQ(stats.at("workers"), 1);
  EXPECT_EQ(stats.at("paused"), false);
  EXPECT_EQ(stats.at("recently").at("done"), 1);
  EXPECT_EQ(stats.at("recently").at("audio_seconds"), 3723);
  const json& normal = stats.at("queues")[1];
  EXPECT_EQ(normal.at("name"), "normal");
  EXPECT_EQ(normal.at("running"), 1);
  EXPECT_EQ(normal.at("delayed"), 1);
  EXPECT_EQ(normal.at("waiting"), 0);
  EXPECT_EQ(stats.at("queues")[2].at("waiting"), 3);
  EXPECT_GE(stats.at("queues")[2].at("oldest_wait_ms"), 0);
  const Ran text = ctl({"stats"});
  EXPECT_TRUE(contains(text.out, "workers alive: 1; dead jobs: 1; not taken in yet: 1")) << text.out;
  EXPECT_TRUE(contains(text.out, "1 jobs done, 1:02:03 of audio")) << text.out;
}

// --- Hostile text, and Redis that is not there --------------------------------------------------------------------

TEST_F(RedisCtl, NothingThatATerminalObeysIsPrinted) {
  const std::string evil = "\x1b]0;owned\x07\x1b[2J\x9b"
                           "31m\xe2\x80\xae\nnext";
  admin.command({"HSET", "tts:job:evil", "state", "dead", "queue", "normal", "created_at", "1", "title", evil, "error",
                 evil, "output", evil, "owner", evil});
  admin.command({"ZADD", "tts:jobs", "1", "evil"});
  admin.command({"XADD", "tts:dead", "*", "id", "evil", "queue", evil, "attempts", evil, "error", evil, "job", evil});
  admin.command({"XADD", "tts:events", "*", "id", "evil", "event", evil, "detail", evil});
  const std::vector<std::vector<std::string>> commands = {
      {"ls"},           {"show", "evil"},           {"dead", "ls"},           {"follow", "evil"},
      {"ls", "--json"}, {"show", "evil", "--json"}, {"dead", "ls", "--json"}, {"follow", "evil", "--json"}};
  for (const auto& words : commands) {
    for (const std::size_t columns : {0, 200}) {
      const Ran ran = ctl(words, "", columns);
      std::string text = ran.out + ran.err;
      if (words.front() == "follow" && columns > 0) { // the board's own
        std::erase(text, '\r');
        text.erase(std::min(text.find("\x1b[K"), text.size()), 3);
      }
      EXPECT_NE(text, "");
      for (const char c : text) {
        EXPECT_TRUE(c == '\n' || (c & 0x80) != 0 || (c >= 0x20 && c != 0x7f)) << words.front() << " prints " << int(c);
      }
      EXPECT_FALSE(contains(text, "\x9b")) << words.front();
      EXPECT_FALSE(contains(text, "\xe2\x80\xae")) << words.front();
      EXPECT_EQ(text.find("\nnext"), std::string::npos) << words.front() << ": a line of its own";
    }
  }
}

TEST(RedisCtlAbsent, RedisThatIsNotThereHasAStatusOfItsOwn) {
  for (const std::vector<std::string>& words : std::vector<std::vector<std::string>>{
           {"ls"}, {"cancel", "a"}, {"follow", "a"}, {"enqueue", "--text", "a", "-o", "a.mp3"}, {"stats"}}) {
    std::vector<std::string> all = words;
    all.insert(all.end(), {"--redis", "unix:///nonexistent/redis.sock"});
    const Ran ran = testing::run_ctl(all);
    EXPECT_EQ(ran.status, 4) << words.front();
    EXPECT_TRUE(contains(ran.err, "/nonexistent/redis.sock")) << ran.err;
  }
  EXPECT_EQ(testing::run_ctl({"ls", "--redis", "http://here"}).status, 2);
}

TEST(RedisCtlAbsent, AWrongPasswordIsSaidWithAWayOut) {
  const jobs::RedisServer server({"--requirepass", "right"});
  const testing::TemporaryFolder folder;
  const auto ls = [&](const std::string& password) {
    const auto file = folder.write("password", password + "\n");
    return testing::run_ctl({"ls", "--redis", server.url(), "--password-file", file.string()});
  };
  EXPECT_EQ(ls("right").status, 0);
  const Ran wrong = ls("wrong");
  EXPECT_EQ(wrong.status, 4);
  EXPECT_TRUE(contains(wrong.err, "--password-file")) << wrong.err;
  EXPECT_FALSE(contains(wrong.err, "wrong\n")) << "the password";
  EXPECT_EQ(testing::run_ctl({"ls", "--redis", server.url()}).status, 4);
  EXPECT_EQ(testing::run_ctl({"ls", "--redis", server.url(), "--password-file", "/nonexistent"}).status, 1);
}

TEST_F(RedisCtl, AQueueOfAnotherVersionIsLeftAlone) {
  admin.command({"SET", "tts:protocol", "2"});
  const Ran ran = ctl({"enqueue", "--text", "a", "-o", "a.mp3"});
  EXPECT_EQ(ran.status, 4);
  EXPECT_TRUE(contains(ran.err, "protocol version \"2\"")) << ran.err;
  EXPECT_EQ(length("q:normal"), 0);
}

TEST_F(RedisCtl, APrefixNamesAnotherQueue) {
  EXPECT_EQ(ctl({"enqueue", "--text", "a", "-o", "a.mp3", "--prefix", "other:"}).status, 0);
  EXPECT_EQ(length("q:normal"), 0);
  EXPECT_EQ(admin.command({"XLEN", "other:q:normal"}).integer, 1);
}

// --- The program ---------------------------------------------------------------------------------------------------

TEST(RedisCtlProgram, ItsExitStatusIsThatOfTheCommand) {
  const auto status = [](std::vector<std::string> words) {
    return testing::CtlProcess(std::move(words)).wait().status;
  };
  EXPECT_EQ(status({}), 2);
  EXPECT_EQ(status({"nonsense"}), 2);
  EXPECT_EQ(status({"ls", "--nonsense"}), 2);
  EXPECT_EQ(status({"--version"}), 0);
  EXPECT_EQ(status({"dead", "ls", "--help"}), 0);
  EXPECT_EQ(status({"ls", "--redis", "unix:///nonexistent"}), 4);
  EXPECT_EQ(status({"completion", "tcsh"}), 2);
  const testing::TemporaryFolder folder;
  EXPECT_EQ(status({"voice", "--voices", folder.path(), "list"}), 0);
  EXPECT_EQ(status({"voice", "--voices", folder.path(), "show", "nobody"}), 1);
  EXPECT_EQ(status({"voice"}), 2);
}

TEST(RedisCtlProgram, ItPrintsItsCompletion) {
  const Ran ran = testing::CtlProcess({"completion", "bash"}).wait();
  EXPECT_EQ(ran.status, 0);
  EXPECT_TRUE(contains(ran.out, "/voice/preview")) << "voices, too";
  EXPECT_TRUE(contains(ran.out, "complete -o default -F _audiobookctl audiobookctl"));
}

TEST(RedisCtlProgram, RedisIsFoundByTheEnvironmentAndByAConfiguration) {
  const jobs::RedisServer server({"--requirepass", "right"});
  const testing::TemporaryFolder folder;
  folder.write("password", "right\n");
  const auto config =
      folder.write("audiobookd.toml", "[redis]\nurl = '" + server.url() + "'\npassword_file = 'password'\n");
  EXPECT_EQ(testing::CtlProcess({"ls", "--config", config}, {{"REDIS_URL", "redis://127.0.0.1:1"}}).wait().status, 0);
  const std::string url = "unix://:right@" + server.socket();
  EXPECT_EQ(
      testing::CtlProcess({"ls"}, {{"AUDIOBOOKD_REDIS", url}, {"REDIS_URL", "redis://127.0.0.1:1"}}).wait().status, 0);
  EXPECT_EQ(testing::CtlProcess({"ls"}, {{"AUDIOBOOKD_REDIS", ""}, {"REDIS_URL", url}}).wait().status, 0);
}

} // namespace
} // namespace audiobookd::daemon
