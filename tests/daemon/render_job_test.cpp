// How single jobs end: what the queue is told, and what is published.
#include "daemon/engine_thread.h"
#include "daemon/fingerprint_sink.h"
#include "daemon/render_job.h"
#include "daemon/voice_folder.h"
#include "engine/models/chatterbox/make_checkpoint.h"
#include "storage/local_storage.h"
#include "storage/wav_file.h"
#include "tests/daemon/fakes.h"
#include "tests/storage/files.h"
#include "tests/storage/memory_sink.h"

#include <gtest/gtest.h>
#include <map>
#include <nlohmann/json.hpp>

namespace audiobookd::daemon {
namespace {

/// A target without room.
class FullDisk final : public storage::Publication {
public:
  void append(std::span<const std::byte>) override { throw storage::TransientError("disk full"); }
  void overwrite(std::uint64_t, std::span<const std::byte>) override {}
  void clear() override {}
  [[nodiscard]] std::uint64_t size() const noexcept override { return 0; }
  storage::PublishResult commit(storage::IfExists, const std::function<bool()>&) override {
    return storage::PublishResult::lost;
  }
  [[nodiscard]] const std::string& target() const noexcept override { return name_; }

private:
  std::string name_ = "full";
};

/// A folder whose outputs can be taken away.
class TestStorage final : public testing::LocalFolder {
public:
  using LocalFolder::LocalFolder;
  [[nodiscard]] std::unique_ptr<storage::Publication> open_output(std::string_view name, std::string_view owner,
                                                                  const std::stop_token& stop) const override {
    if (is_full) {
      return std::make_unique<FullDisk>();
    }
    return LocalFolder::open_output(name, owner, stop);
  }

  bool is_full = false;
};

class RenderJobTest : public ::testing::Test {
protected:
  RenderJobTest() { folder_.write("files/book.txt", testing::sample_text(12)); }

  static jobs::Job job() {
    jobs::Job job;
    job.id = "book";
    job.input = "book.txt";
    job.output = "out/book.mp3";
    return job;
  }

  /// Claims and runs @p job to its end.
  testing::FakeQueue::Record run(const jobs::Job& job) {
    queue_.add(job);
    return run_claimed(job.id);
  }

  testing::FakeQueue::Record run_claimed(const std::string& id) {
    run_next(surroundings_);
    return queue_.record(id);
  }

  /// Claims the next job and runs it to its end.
  void run_next(const JobSurroundings& surroundings) {
    const RenderJob running(queue_.claim().value(), surroundings); // its destructor waits for that
  }

  [[nodiscard]] std::string output() const { return testing::read_file(files_ / "out/book.mp3"); }

  testing::TemporaryFolder folder_;
  const std::filesystem::path files_ = folder_.path() / "files";
  testing::FakeRenderer renderer_;
  testing::FakeQueue queue_;
  TestStorage storage_{(std::filesystem::create_directories(files_), files_)};
  ClipVoices clips_{folder_.path() / "clips",
                    {.clip_decoder = AUDIOBOOKD_CLIP_DECODER, .checkpoint = folder_.path() / "tiny", .cpu_threads = 1}};
  storage::ChunkStore store_{{.folder = folder_.path() / "chunks", .max_bytes = 1u << 30}};
  UtterancePool pool_{renderer_, store_, {}};
  storage::WorkerPool encoders_{2};
  JobSurroundings surroundings_{.queue = queue_,
                                .studio = {renderer_, pool_, store_, encoders_},
                                .storage = storage_,
                                .clips = clips_,
                                .defaults = {},
                                .on_end = [] {}};
  EngineThread engine_{renderer_, pool_, [] {}};
};

TEST_F(RenderJobTest, OnlyTheChaptersThatTheJobNamesAreRead) {
  folder_.write("files/tale.md", "# One\n\nAlpha beta.\n\n# Two\n\nGamma delta epsilon.\n\n# Three\n\nZeta.\n");
  jobs::Job wanted = job();
  wanted.input = "tale.md";
  wanted.chapters = jobs::parse_chapter_ranges("2-3");
  const auto record = run(wanted);
  EXPECT_EQ(record.state, "done") << record.error;
  EXPECT_EQ(nlohmann::json::parse(record.result)["chapters"], 2);
  wanted.id = "more";
  wanted.output = "out/more.mp3";
  wanted.chapters = jobs::parse_chapter_ranges("4");
  const auto refused = run(wanted);
  EXPECT_EQ(refused.state, "dead");
  EXPECT_EQ(refused.error, "chapters: 4 does not exist, the book has 3 chapters");
}

TEST_F(RenderJobTest, AJobIsPublishedAndCompletedWithItsResult) {
  const auto record = run(job());
  ASSERT_EQ(record.state, "done") << record.error;
  EXPECT_FALSE(output().empty());
  EXPECT_EQ(record.commit, fingerprint_of(storage_, "out/book.mp3"));
  EXPECT_GT(nlohmann::json::parse(record.result).at("rendered").get<int>(), 10);
  EXPECT_EQ(store_.open_jobs(), std::vector<std::string>{});
}

TEST_F(RenderJobTest, InlineTextIsRendered) {
  jobs::Job inline_job = job();
  inline_job.input.clear();
  inline_job.text = "Just one sentence that somebody wrote into the job itself.";
  EXPECT_EQ(run(inline_job).state, "done");
}

TEST_F(RenderJobTest, AMissingInputIsPermanentAndNamed) {
  jobs::Job lost = job();
  lost.input = "lost.txt";
  const auto record = run(lost);
  EXPECT_EQ(record.state, "dead");
  EXPECT_NE(record.error.find("lost.txt"), std::string::npos) << record.error;
}

TEST_F(RenderJobTest, WhatAPersonMustChangeIsPermanent) {
  const auto error_of = [this](const std::string& id, const std::function<void(jobs::Job&)>& spoil) {
    jobs::Job spoiled = job();
    spoiled.id = id;
    spoil(spoiled);
    const auto record = run(spoiled);
    EXPECT_EQ(record.state, "dead") << id;
    return record.error;
  };
  folder_.write("files/empty.txt", "\n\n");
  EXPECT_NE(error_of("a", [](auto& j) { j.voice = "nobody"; }).find("voice 'nobody'"), std::string::npos);
  EXPECT_NE(error_of("b", [](auto& j) { j.model = "other"; }).find("field 'model'"), std::string::npos);
  EXPECT_NE(error_of("c", [](auto& j) { j.language = "de"; }).find("supported: en (English)"), std::string::npos);
  EXPECT_NE(error_of("d", [](auto& j) { j.input = "empty.txt"; }).find("empty.txt"), std::string::npos);
  EXPECT_NE(error_of("e", [](auto& j) { j.format.bitrate_kbps = 65; }).find("65"), std::string::npos);
}

TEST_F(RenderJobTest, AJobThatNamesNoVoiceIsReadInTheDaemonsDefault) {
  const auto voice_of = [this](const jobs::Job& wanted) {
    const auto record = run(wanted);
    EXPECT_EQ(record.state, "done") << record.error;
    return nlohmann::json::parse(record.result).at("voice").get<std::string>();
  };
  EXPECT_EQ(voice_of(job()), "default");
  surroundings_.defaults.voice = "narrator";
  jobs::Job second = job();
  second.id = "second";
  second.if_exists = jobs::IfExists::replace;
  EXPECT_EQ(voice_of(second), "narrator");
  second.id = "third";
  second.voice = "default";
  EXPECT_EQ(voice_of(second), "default");
}

TEST_F(RenderJobTest, AVoiceThatIsAddedWhileTheDaemonRunsIsFoundByTheNextJob) {
  surroundings_.defaults.voices = folder_.path() / "voices";
  jobs::Job wanted = job();
  wanted.voice = "anna";
  EXPECT_EQ(run(wanted).state, "dead") << "not there yet";
  const VoiceFolder voices(surroundings_.defaults.voices);
  engine::VoiceFile anna;
  anna.metadata.name = "anna";
  anna.conditionals = {.speaker_embedding = {1},
                       .t3_prompt_tokens = {5},
                       .exaggeration = 0.5F,
                       .prompt_tokens = {17},
                       .prompt_mel = std::vector<float>(160),
                       .xvector = {1}};
  voices.add(anna, false);
  wanted.id = "second";
  const auto record = run(wanted);
  ASSERT_EQ(record.state, "done") << record.error;
  EXPECT_EQ(renderer_.added_voices(), std::vector<std::string>{"added-17"});
  EXPECT_EQ(nlohmann::json::parse(record.result).at("voice"), "anna") << "people's name, not the renderer's";
  std::filesystem::remove(voices.path("anna"));
  folder_.write("voices/anna.safetensors", "broken");
  wanted.id = "third";
  wanted.if_exists = jobs::IfExists::replace;
  const auto broken = run(wanted);
  EXPECT_EQ(broken.state, "dead") << "the next attempt would find the same file";
  EXPECT_NE(broken.error.find("anna.safetensors"), std::string::npos) << broken.error;
}

class ClipJobTest : public RenderJobTest {
protected:
  ClipJobTest() {
    std::filesystem::create_directories(files_ / "clips");
    write_clip("anna.wav", 6 * 24'000);
    engine::chatterbox::write_checkpoint(engine::chatterbox::Preset::tiny, folder_.path() / "tiny");
  }

  void write_clip(const std::string& name, std::size_t samples) const {
    storage::write_wav(files_ / "clips" / name, 24'000, tests::voice_like(samples));
  }

  testing::FakeQueue::Record run_with_clip(const std::string& id, const std::string& clip) {
    jobs::Job wanted = job();
    wanted.id = id;
    wanted.output = id + ".mp3";
    wanted.voice_clip = clip;
    return run(wanted);
  }

  [[nodiscard]] std::vector<std::string> kept() const { return tests::list_names(folder_.path() / "clips"); }
};

TEST_F(ClipJobTest, AClipBecomesTheJobsVoiceOnceForItsContent) {
  const auto first = run_with_clip("first", "clips/anna.wav");
  ASSERT_EQ(first.state, "done") << first.error;
  EXPECT_EQ(nlohmann::json::parse(first.result).at("voice"), "anna") << "what listeners may read, not a path";
  ASSERT_EQ(kept().size(), 1U);
  EXPECT_EQ(renderer_.added_voices().size(), 1U);

  std::filesystem::remove_all(folder_.path() / "tiny"); // nothing can be prepared any more
  std::filesystem::rename(files_ / "clips/anna.wav", files_ / "clips/the same.wav");
  const auto second = run_with_clip("second", "clips/the same.wav");
  EXPECT_EQ(second.state, "done") << second.error;
  ASSERT_EQ(renderer_.added_voices().size(), 2U);
  EXPECT_EQ(renderer_.added_voices()[1], renderer_.added_voices()[0]);

  write_clip("anna.wav", 7 * 24'000);
  const auto other = run_with_clip("other", "clips/anna.wav");
  EXPECT_EQ(other.state, "dead") << "another clip, another voice";
  EXPECT_NE(other.error.find("tiny"), std::string::npos) << other.error;
  EXPECT_EQ(kept().size(), 1U);
}

TEST_F(ClipJobTest, AnotherModelMakesAnotherVoice) {
  EXPECT_EQ(run_with_clip("first", "clips/anna.wav").state, "done");
  renderer_.mutable_info().weights_hash.low ^= 1;
  EXPECT_EQ(run_with_clip("second", "clips/anna.wav").state, "done");
  EXPECT_EQ(kept().size(), 2U);
}

TEST_F(ClipJobTest, AKeptVoiceThatIsDamagedIsMadeAgain) {
  EXPECT_EQ(run_with_clip("first", "clips/anna.wav").state, "done");
  const std::filesystem::path file = folder_.path() / "clips" / kept().at(0);
  const std::string whole = testing::read_file(file);
  tests::write_file(file, whole.substr(0, whole.size() / 2));
  EXPECT_EQ(run_with_clip("second", "clips/anna.wav").state, "done");
  EXPECT_TRUE(testing::read_file(file) == whole);
}

TEST_F(ClipJobTest, WhatCouldBeBetterAboutTheClipIsInTheResult) {
  write_clip("brief.wav", 3 * 24'000);
  const auto record = run_with_clip("brief", "clips/brief.wav");
  ASSERT_EQ(record.state, "done") << record.error;
  EXPECT_NE(record.result.find("'clips/brief.wav': the clip lasts 3.0 s"), std::string::npos) << record.result;
}

TEST_F(ClipJobTest, AClipThatGivesNoVoiceIsPermanentAndSaysWhy) {
  write_clip("short.wav", 12'000);
  storage::write_wav(files_ / "clips/silent.wav", 24'000, std::vector<float>(6 * 24'000));
  folder_.write("files/clips/text.wav", "this is no audio");
  folder_.write("outside.wav", testing::read_file(files_ / "clips/anna.wav"));
  std::filesystem::create_symlink("../../outside.wav", files_ / "clips/link.wav");
  for (const auto& [name, reason] : std::map<std::string, std::string>{{"short", "gives no voice: the clip lasts 0.50"},
                                                                       {"silent", "the clip is silent"},
                                                                       {"text", "no audio file"},
                                                                       {"link", "symbolic link"},
                                                                       {"lost", "No such file"}}) {
    const auto record = run_with_clip(name, "clips/" + name + ".wav");
    EXPECT_EQ(record.state, "dead") << name;
    EXPECT_NE(record.error.find("clips/" + name + ".wav"), std::string::npos) << record.error;
    EXPECT_NE(record.error.find(reason), std::string::npos) << record.error;
  }
  renderer_.mutable_info().cloning = false;
  const auto record = run_with_clip("anna", "clips/anna.wav");
  EXPECT_EQ(record.state, "dead");
  EXPECT_NE(record.error.find("cannot clone"), std::string::npos) << record.error;
  EXPECT_FALSE(std::filesystem::exists(folder_.path() / "clips")) << "nothing was kept";
  EXPECT_TRUE(renderer_.added_voices().empty());
}

TEST_F(RenderJobTest, AFullDiskIsTransientAndPublishesNothing) {
  storage_.is_full = true;
  const auto record = run(job());
  EXPECT_EQ(record.state, "retry_wait");
  EXPECT_EQ(record.error, "disk full");
  EXPECT_FALSE(std::filesystem::exists(files_ / "out/book.mp3"));
}

TEST_F(RenderJobTest, ABookThatIsTooLongForTheChunkStoreIsPermanentBeforeAnythingIsRendered) {
  storage::ChunkStore small({.folder = folder_.path() / "small", .max_bytes = 100'000});
  const JobSurroundings surroundings{.queue = queue_,
                                     .studio = {renderer_, pool_, small, encoders_},
                                     .storage = storage_,
                                     .clips = clips_,
                                     .defaults = {},
                                     .on_end = [] {}};
  queue_.add(job());
  run_next(surroundings);
  EXPECT_EQ(queue_.record("book").state, "dead");
  EXPECT_NE(queue_.record("book").error.find("too small for job 'book'"), std::string::npos)
      << queue_.record("book").error;
  EXPECT_TRUE(renderer_.delivered_texts().empty());
}

TEST_F(RenderJobTest, AnUtteranceThatCannotBeRenderedIsPermanent) {
  renderer_.fault = [](const engine::Utterance& utterance) {
    return utterance.text.find("number seven") != std::string::npos ? "it hums" : "";
  };
  const auto record = run(job());
  EXPECT_EQ(record.state, "dead");
  EXPECT_NE(record.error.find("it hums"), std::string::npos) << record.error;
}

TEST_F(RenderJobTest, AnExistingOutputDecidesAsTheJobSays) {
  folder_.write("files/out/book.mp3", "other");
  EXPECT_EQ(run(job()).state, "dead");
  EXPECT_TRUE(renderer_.delivered_texts().empty()) << "nothing is rendered in vain";
  EXPECT_EQ(output(), "other");

  jobs::Job skip = job();
  skip.id = "skip";
  skip.if_exists = jobs::IfExists::skip;
  EXPECT_EQ(run(skip).result, R"({"skipped":true})");
  EXPECT_EQ(output(), "other");

  jobs::Job replace = job();
  replace.id = "replace";
  replace.if_exists = jobs::IfExists::replace;
  EXPECT_EQ(run(replace).state, "done");
  EXPECT_NE(output(), "other");
}

TEST_F(RenderJobTest, WhatAnEarlierAttemptPublishedIsFoundAndNotRenderedAgain) {
  run(job());
  const std::string published = output();
  const std::size_t rendered = renderer_.delivered_texts().size();
  queue_.change("book", [](auto& record) { record.state = "queued"; }); // its worker died before complete()
  const auto record = run_claimed("book");
  EXPECT_EQ(record.state, "done");
  EXPECT_EQ(record.result, R"({"output":"out/book.mp3","published_by_earlier_attempt":true})");
  EXPECT_EQ(renderer_.delivered_texts().size(), rendered);
  EXPECT_EQ(output(), published);
}

TEST_F(RenderJobTest, AnOutputThatTheEarlierAttemptDidNotMakeIsNotTakenForIts) {
  folder_.write("files/out/book.mp3", "by somebody else");
  queue_.add(job());
  queue_.change("book", [](auto& record) { record.commit = "16:00000000000000000000000000000000"; });
  EXPECT_EQ(run_claimed("book").state, "dead");
  EXPECT_EQ(output(), "by somebody else");
}

/// Jobs whose output is a folder.
class FolderJobTest : public RenderJobTest {
protected:
  FolderJobTest() {
    folder_.write("files/tale.md", "---\ntitle: The Tale\nauthor: Ann\nseries: Coast\n---\n# One\n\nAlpha beta.\n\n# "
                                   "Two\n\nGamma delta epsilon.\n");
  }

  static jobs::Job folder_job(const std::string& id = "book") {
    jobs::Job wanted = job();
    wanted.id = id;
    wanted.input = "tale.md";
    wanted.output = "out/book";
    wanted.files.split_chapters = true;
    return wanted;
  }
  [[nodiscard]] std::vector<std::string> names(const std::string& output = "out/book") const {
    return tests::list_names(files_ / output);
  }
  const std::vector<std::string> both_{"01 - One.mp3", "02 - Two.mp3", "metadata.json"};
};

TEST_F(FolderJobTest, IsPublishedAndCompletedWithItsFiles) {
  const auto record = run(folder_job());
  ASSERT_EQ(record.state, "done") << record.error;
  EXPECT_EQ(names(), both_);
  EXPECT_EQ(record.commit, fingerprint_of_folder(storage_, "out/book"));
  const nlohmann::json result = nlohmann::json::parse(record.result);
  EXPECT_EQ(result.at("output"), "out/book");
  ASSERT_EQ(result.at("files").size(), 2U);
  EXPECT_EQ(result.at("files")[1].at("name"), "02 - Two.mp3");
  EXPECT_EQ(result.at("files")[1].at("bytes"), std::filesystem::file_size(files_ / "out/book/02 - Two.mp3"));
  EXPECT_GT(result.at("files")[1].at("seconds").get<double>(), 0);
}

TEST_F(FolderJobTest, WhatAnEarlierAttemptPublishedIsFoundAndNotRenderedAgain) {
  run(folder_job());
  const std::size_t rendered = renderer_.delivered_texts().size();
  queue_.change("book", [](auto& record) { record.state = "queued"; }); // its worker died before complete()
  EXPECT_EQ(run_claimed("book").result, R"({"output":"out/book","published_by_earlier_attempt":true})");
  EXPECT_EQ(renderer_.delivered_texts().size(), rendered);
  folder_.write("files/out/book/02 - Two.mp3", "somebody else's");
  queue_.change("book", [](auto& record) { record.state = "queued"; });
  const auto record = run_claimed("book");
  EXPECT_EQ(record.state, "dead");
  EXPECT_NE(record.error.find("'out/book' exists already"), std::string::npos) << record.error;
}

TEST_F(FolderJobTest, DoesWhatIfExistsSays) {
  run(folder_job());
  EXPECT_EQ(run(folder_job("second")).state, "dead");
  jobs::Job skip = folder_job("skip");
  skip.if_exists = jobs::IfExists::skip;
  EXPECT_EQ(run(skip).result, R"({"skipped":true})");
  jobs::Job replace = folder_job("replace");
  replace.if_exists = jobs::IfExists::replace;
  replace.files = {.split_chapters = false, .audiobookshelf = true, .subtitles = true, .listing = {}};
  const auto record = run(replace);
  EXPECT_EQ(record.state, "done") << record.error;
  EXPECT_EQ(names(), (std::vector<std::string>{"The Tale.mp3", "The Tale.vtt", "metadata.json"}));
}

TEST_F(FolderJobTest, PlaceholdersStandForWhatJobAndDocumentSay) {
  jobs::Job wanted = folder_job();
  wanted.output = "out/{author}/{series}/{year}/{title}";
  wanted.author = "Ben: Writer";
  wanted.metadata.series = "Hills";
  const auto record = run(wanted);
  ASSERT_EQ(record.state, "done") << record.error;
  EXPECT_EQ(nlohmann::json::parse(record.result).at("output"), "out/Ben - Writer/Hills/The Tale");
  EXPECT_EQ(names("out/Ben - Writer/Hills/The Tale"), both_);
  queue_.change("book", [](auto& changed) { changed.state = "queued"; });
  EXPECT_EQ(run_claimed("book").result,
            R"({"output":"out/Ben - Writer/Hills/The Tale","published_by_earlier_attempt":true})");

  jobs::Job nameless = folder_job("nameless");
  nameless.input.clear();
  nameless.text = "Just one sentence.";
  nameless.output = "{title}";
  const auto refused = run(nameless);
  EXPECT_EQ(refused.state, "dead");
  EXPECT_NE(refused.error.find("output: of \"{title}\" no name is left"), std::string::npos) << refused.error;

  jobs::Job file = job();
  file.id = "file";
  file.output = "out/{title}.mp3";
  EXPECT_EQ(run(file).state, "done");
  EXPECT_TRUE(std::filesystem::exists(files_ / "out/book.mp3")) << "a text file has only its own name";
}

TEST_F(FolderJobTest, WhatAWorkerDoesWithoutBeingAskedIsInItsConfiguration) {
  surroundings_.defaults.shape = {.audiobookshelf = true};
  jobs::Job wanted = folder_job();
  wanted.files = {};
  EXPECT_EQ(run(wanted).state, "done");
  EXPECT_EQ(names(), (std::vector<std::string>{"The Tale.mp3", "metadata.json"}));
  const auto refused = run([] {
    jobs::Job one = job();
    one.id = "file";
    return one;
  }());
  EXPECT_EQ(refused.state, "dead");
  EXPECT_NE(refused.error.find("'out/book.mp3' is the name of a file"), std::string::npos) << refused.error;
  jobs::Job file = job();
  file.id = "asked";
  file.files.audiobookshelf = false;
  EXPECT_EQ(run(file).state, "done");
  EXPECT_FALSE(output().empty());
}

TEST_F(FolderJobTest, APresetOfTheJobMakesTheFilesOfAcxAndAFailureOfItsReportIsAWarning) {
  jobs::Job wanted = folder_job();
  wanted.format.preset = "acx";
  wanted.credits.closing = "This was {title}.";
  const auto record = run(wanted);
  ASSERT_EQ(record.state, "done") << record.error;
  EXPECT_EQ(names(), (std::vector<std::string>{"01 - Opening Credits.mp3", "02 - One.mp3", "03 - Two.mp3",
                                               "04 - Closing Credits.mp3", "acx-report.json", "acx-report.txt",
                                               "metadata.json"}));
  EXPECT_EQ(record.commit, fingerprint_of_folder(storage_, "out/book"));
  const nlohmann::json result = nlohmann::json::parse(record.result);
  EXPECT_FALSE(result.at("acx").at("pass").get<bool>()) << "the fake voice is noise";
  EXPECT_EQ(result.at("acx").at("files"), 4);
  const nlohmann::json& failed = result.at("acx").at("failed").at(0);
  const std::string warning = result.at("warnings").dump();
  EXPECT_NE(warning.find("ACX: " + failed.at("file").get<std::string>()), std::string::npos) << warning;
  EXPECT_NE(warning.find(failed.at("measure").get<std::string>()), std::string::npos) << warning;
}

TEST_F(FolderJobTest, APresetOfTheWorkerIsForJobsThatNameNone) {
  surroundings_.defaults.acx = true;
  surroundings_.defaults.credits.opening = "Here begins {title}.";
  jobs::Job plain = job();
  plain.output = "out/plain";
  EXPECT_EQ(run(plain).state, "done");
  EXPECT_EQ(names("out/plain").front(), "01 - Opening Credits.mp3");

  jobs::Job none = folder_job("none");
  none.format.preset = "none";
  none.output = "out/none";
  EXPECT_EQ(run(none).state, "done");
  EXPECT_EQ(names("out/none"), both_);

  const auto error_of = [&](const std::string& id, const std::function<void(jobs::Job&)>& change) {
    jobs::Job wrong = job();
    wrong.id = id;
    wrong.output = "out/" + id;
    change(wrong);
    return run(wrong).error;
  };
  const auto has = [](const std::string& error, const std::string& part) {
    return error.find(part) != std::string::npos ? ::testing::AssertionSuccess()
                                                 : ::testing::AssertionFailure() << error;
  };
  const std::string way_out = "{\"preset\": \"none\"}";
  EXPECT_TRUE(
      has(error_of("a", [](jobs::Job& one) { one.files.split_chapters = false; }), "field 'split': \"single\""));
  EXPECT_TRUE(has(error_of("b", [](jobs::Job& one) { one.files.split_chapters = false; }), way_out));
  EXPECT_TRUE(
      has(error_of("c", [](jobs::Job& one) { one.pauses.chapter_ms = 500; }), "field 'pauses.chapter_ms': 500"));
  EXPECT_TRUE(has(error_of("d", [](jobs::Job& one) { one.format.codec = "opus"; }), "codec opus contradicts"));
  EXPECT_TRUE(has(error_of("e", [](jobs::Job& one) { one.format.vbr_quality = 2; }), "vbr_quality 2 contradicts"));
  EXPECT_TRUE(has(error_of("f", [](jobs::Job& one) { one.output = "out/f.mp3"; }), "a preset"));
  surroundings_.defaults.acx = false;
  EXPECT_TRUE(has(error_of("g", [](jobs::Job& one) { one.credits.opening = "x"; }), "field 'credits'"));
}

TEST_F(FolderJobTest, CoverAndMetadataOfTheJobComeBeforeTheDocuments) {
  jobs::Job wanted = folder_job();
  wanted.files.audiobookshelf = true;
  wanted.metadata.narrator = "Anna";
  wanted.metadata.year = "1912";
  wanted.cover = "tale.md";
  const auto refused = run(wanted);
  EXPECT_EQ(refused.state, "dead");
  EXPECT_NE(refused.error.find("field 'cover': 'tale.md' is no cover: it is neither JPEG nor PNG"), std::string::npos)
      << refused.error;
  wanted.id = "second";
  wanted.cover = "none.png";
  EXPECT_NE(run(wanted).error.find("field 'cover': "), std::string::npos);
  std::filesystem::copy_file(AUDIOBOOKD_SOURCE_DIR "/tests/data/fuzz/cover/6x8.png", files_ / "cover.png");
  wanted.id = "third";
  wanted.cover = "cover.png";
  const auto record = run(wanted);
  ASSERT_EQ(record.state, "done") << record.error;
  EXPECT_TRUE(std::filesystem::exists(files_ / "out/book/cover.png"));
  const nlohmann::json book = nlohmann::json::parse(tests::read_file(files_ / "out/book/metadata.json"));
  EXPECT_EQ(book.at("narrators"), nlohmann::json{"Anna"});
  EXPECT_EQ(book.at("publishedYear"), "1912");
  EXPECT_EQ(book.at("series"), nlohmann::json{"Coast"});
}

TEST_F(RenderJobTest, AnInteractiveJobGoesBeforeTheHighQueueAndItsBeginningCanBeAskedForApart) {
  UtterancePool pool(renderer_, store_, {}); // this test is its engine
  const JobSurroundings surroundings{.queue = queue_,
                                     .studio = {renderer_, pool, store_, encoders_},
                                     .storage = storage_,
                                     .clips = clips_,
                                     .defaults = {},
                                     .on_end = [] {}};
  std::vector<std::unique_ptr<RenderJob>> open;
  for (const std::string queue : {"high", "low"}) {
    jobs::Job inline_job = job();
    inline_job.id = queue;
    inline_job.input.clear();
    inline_job.text = queue + " is what this says.\n\n" + queue + " is what it says again.\n";
    inline_job.output = queue + ".mp3";
    inline_job.job_class = queue == "low" ? jobs::JobClass::interactive : jobs::JobClass::book;
    queue_.add(inline_job, queue);
    open.push_back(std::make_unique<RenderJob>(queue_.claim().value(), surroundings));
    renderer_.wait_notified(open.size()); // by the pool, that the book is open
  }
  const auto urgent = pool.next_urgent(1);
  ASSERT_EQ(urgent.size(), 1u);
  EXPECT_EQ(urgent[0].text, "low is what this says.");
  EXPECT_EQ(pool.next(1).at(0).text, "low is what it says again.");
  EXPECT_EQ(pool.next(1).at(0).text.substr(0, 4), "high");
  for (const auto& render : open) {
    render->hurry();
  }
}

TEST_F(RenderJobTest, UtterancesOfAHigherQueueGoFirst) {
  UtterancePool pool(renderer_, store_, {}); // this test is its engine
  const JobSurroundings surroundings{.queue = queue_,
                                     .studio = {renderer_, pool, store_, encoders_},
                                     .storage = storage_,
                                     .clips = clips_,
                                     .defaults = {},
                                     .on_end = [] {}};
  std::vector<std::unique_ptr<RenderJob>> open;
  for (const std::string queue : {"low", "normal", "high"}) {
    jobs::Job inline_job = job();
    inline_job.id = queue;
    inline_job.input.clear();
    inline_job.text = queue + " is what this says.\n\n" + queue + " is what it says again.\n";
    inline_job.output = queue + ".mp3";
    queue_.add(inline_job, queue);
    open.push_back(std::make_unique<RenderJob>(queue_.claim().value(), surroundings));
    renderer_.wait_notified(open.size()); // by the pool, that the book is open
  }
  std::string order;
  for (const engine::Utterance& utterance : pool.next(100)) {
    order += utterance.text.substr(0, utterance.text.find(' ')) + " ";
  }
  EXPECT_EQ(order, "high high normal normal low low ");
  for (const auto& render : open) {
    render->hurry();
  }
}

TEST_F(RenderJobTest, ALeaseThatIsLostBeforePublishingPublishesNothing) {
  renderer_.hold();
  queue_.add(job());
  RenderJob render(queue_.claim().value(), surroundings_);
  renderer_.wait_held(1);
  queue_.change("book", [](auto& record) { record.token = "another worker's"; });
  renderer_.let_go();
  while (!render.is_over()) {
    std::this_thread::yield();
  }
  EXPECT_EQ(queue_.record("book").state, "running");
  EXPECT_FALSE(std::filesystem::exists(files_ / "out/book.mp3"));
}

TEST_F(RenderJobTest, AnAbandonedJobLeavesTheEngineAndTellsTheQueueNothing) {
  renderer_.hold();
  queue_.add(job());
  {
    RenderJob render(queue_.claim().value(), surroundings_);
    renderer_.wait_held(4);
    render.abandon();
  }
  EXPECT_EQ(renderer_.cancelled().size(), 4u);
  EXPECT_EQ(queue_.record("book").state, "running");
  EXPECT_EQ(queue_.record("book").releases, 0);
}

TEST_F(RenderJobTest, ASilentQueueIsWaitedForWhenTheBookIsFinished) {
  renderer_.hold();
  queue_.add(job());
  RenderJob render(queue_.claim().value(), surroundings_);
  renderer_.wait_held(1);
  queue_.set_unavailable(true);
  renderer_.let_go();
  queue_.wait_refused();
  queue_.set_unavailable(false);
  EXPECT_EQ(queue_.wait_for_state("book", "done").state, "done");
}

} // namespace
} // namespace audiobookd::daemon
