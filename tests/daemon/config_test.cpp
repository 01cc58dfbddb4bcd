// The configuration file: what is understood, and how mistakes are answered.
#include "daemon/config.h"
#include "daemon/dictionary_file.h"
#include "tests/daemon/fakes.h"

#include <gtest/gtest.h>
#include <regex>

namespace audiobookd::daemon {
namespace {

constexpr const char* least = "[paths]\ninput_root = 'in'\noutput_root = '/out'\nchunk_store = 'chunks'\n";

std::string error_of(const std::string& text) {
  const testing::TemporaryFolder folder;
  try {
    (void)load_config(folder.write("a.toml", text));
  } catch (const ConfigError& error) {
    const std::string message = error.what();
    const std::string prefix = (folder.path() / "a.toml").string();
    return message.starts_with(prefix) ? message.substr(prefix.size()) : "does not name the file: " + message;
  }
  return "accepted";
}

TEST(Config, RelativePathsAreRelativeToTheFile) {
  const testing::TemporaryFolder folder;
  const Config config = load_config(folder.write("a.toml", least));
  EXPECT_EQ(config.paths.input_root, folder.path() / "in");
  EXPECT_EQ(config.paths.output_root, "/out");
}

TEST(Config, RootsMayBeOnS3) {
  const testing::TemporaryFolder folder;
  const std::string paths = "[paths]\ninput_root = 's3://library/texts'\noutput_root = 'out'\nchunk_store = 'chunks'\n";
  const Config config = load_config(folder.write(
      "a.toml", paths + "[s3]\nendpoint = 'http://127.0.0.1:9000'\ninput_roots = ['s3://incoming', 's3://more/a']\n"));
  EXPECT_EQ(config.paths.input_root, "s3://library/texts");
  EXPECT_EQ(config.paths.output_root, folder.path() / "out");
  EXPECT_EQ(config.s3.endpoint, "http://127.0.0.1:9000");
  EXPECT_EQ(config.s3.input_roots, (std::vector<std::string>{"s3://incoming", "s3://more/a"}));
  EXPECT_EQ(describe(load_config(folder.write("b.toml", describe(config)))), describe(config));
  const auto with_root = [](const std::string& root) {
    return error_of("[paths]\ninput_root = '" + root + "'\noutput_root = 'out'\nchunk_store = 'chunks'\n");
  };
  for (const char* wrong : {"s3://", "s3://a b", "https://library/texts", "s3://library/a/../b"}) {
    EXPECT_TRUE(with_root(wrong).starts_with(":2: paths.input_root: expected a folder, s3://BUCKET or")) << wrong;
  }
}

TEST(Config, MistakesInTheSectionOfS3AreNamed) {
  const auto error_with = [](const std::string& line) { return error_of(std::string(least) + "[s3]\n" + line + "\n"); };
  EXPECT_EQ(error_with("endpoint = 's3.example'"),
            ":6: s3.endpoint: expected http://HOST[:PORT] or https://HOST[:PORT], found 's3.example'");
  EXPECT_EQ(error_with("fencing = 'no'"), ":6: s3.fencing: expected \"probe\", \"trust\" or \"none\", found 'no'");
  EXPECT_EQ(error_with("addressing = 'x'"), ":6: s3.addressing: expected \"auto\", \"path\" or \"host\", found 'x'");
  EXPECT_EQ(error_with("input_roots = 's3://a'"), ":6: s3.input_roots: expected a list of strings, found 's3://a'");
  EXPECT_EQ(error_with("input_roots = ['s3://abc', 1]"),
            ":6: s3.input_roots: expected a list of strings, found [ 's3://abc', 1 ]");
  EXPECT_TRUE(error_with("output_roots = ['/srv']").starts_with(":6: s3.output_roots: expected s3://BUCKET"));
  EXPECT_EQ(error_with("secret = 'x'"), ":6: s3.secret: unknown key");
}

TEST(Config, TheDictionaryIsReadWithTheConfiguration) {
  const testing::TemporaryFolder folder;
  folder.write("words.toml", "[words]\n\"Hermione\" = \"Her my oh nee\"\nsic = ''\n");
  const std::string text = std::string(least) + "[text]\nnormalize = false\ndictionary = 'words.toml'\n";
  const Config config = load_config(folder.write("a.toml", text));
  EXPECT_FALSE(config.text.normalize);
  EXPECT_EQ(config.text.words, (jobs::Words{{"Hermione", "Her my oh nee"}, {"sic", ""}}));
}

/// What is said of a dictionary, behind its name.
std::string dictionary_error(const std::string& text) {
  const testing::TemporaryFolder folder;
  const std::filesystem::path file = folder.write("words.toml", text);
  try {
    (void)load_dictionary(file);
  } catch (const ConfigError& error) {
    return std::string(error.what()).substr(file.string().size());
  }
  return "accepted";
}

TEST(Config, AMistakeInADictionaryIsNamedWithItsLine) {
  EXPECT_EQ(dictionary_error("[words]\ngif = 5\n"),
            ":2: words.\"gif\": expected the spoken words in quotation marks, like \"gif\" = \"jif\"");
  EXPECT_EQ(dictionary_error("gif = 'jif'\n"), ":1: \"gif\" is unknown; words belong into a table [words]");
  EXPECT_EQ(dictionary_error("# empty\n"), ": expected a table [words] with lines like \"gif\" = \"jif\"");
  EXPECT_EQ(dictionary_error("words = 5\n"), ":1: expected a table [words] with lines like \"gif\" = \"jif\"");
  EXPECT_EQ(dictionary_error("[words]\n' ' = 'x'\n"), ":2: words.\" \": the written word is empty");
  EXPECT_EQ(dictionary_error("[words]\ngif = 'a'\ngif = 'b'\n").substr(0, 3), ":3:");
}

TEST(Config, TheExampleFileIsValidAndItsCommentedKeysAreTheDefaults) {
  const std::filesystem::path example = AUDIOBOOKD_SOURCE_DIR "/systemd/audiobookd.toml.example";
  const Config as_is = load_config(example);
  std::string text = testing::read_file(example);
  for (std::size_t at = text.find("\n#"); at != std::string::npos; at = text.find("\n#", at + 1)) {
    if (text[at + 2] != ' ') {
      text.erase(at + 1, 1);
    }
  }
  text.replace(text.find("\ncheckpoint = "), 1, "\n#"); // shows a path, its default is none
  const testing::TemporaryFolder folder;
  EXPECT_EQ(describe(load_config(folder.write("all.toml", text))), describe(as_is));
}

TEST(Config, TheExampleFileNamesEveryKey) {
  const std::string example = testing::read_file(AUDIOBOOKD_SOURCE_DIR "/systemd/audiobookd.toml.example");
  const std::string description = describe(Config{});
  const std::regex key("([a-z0-9_]+) = [^{]");
  std::size_t keys = 0;
  for (std::sregex_iterator found(description.begin(), description.end(), key), end; found != end; ++found) {
    const std::string name = (*found)[1];
    const bool is_there = example.find("\n" + name + " = ") != std::string::npos ||
                          example.find("\n#" + name + " = ") != std::string::npos;
    EXPECT_TRUE(is_there) << name;
    ++keys;
  }
  EXPECT_GE(keys, 20u);
}

TEST(Config, WhatIsDescribedCanBeReadAgain) {
  const testing::TemporaryFolder folder;
  const Config config = load_config(folder.write("a.toml", std::string(least) + "[queue]\nmax_jobs = 3\n"));
  const std::string description = describe(config);
  EXPECT_EQ(describe(load_config(folder.write("b.toml", description))), description);
  EXPECT_NE(description.find("max_jobs = 3"), std::string::npos);
}

TEST(Config, TheMemoryBudgetReachesTheEngine) {
  const testing::TemporaryFolder folder;
  EXPECT_EQ(load_config(folder.write("a.toml", least)).engine.gpu_memory_fraction, 0.9);
  const std::string text = std::string(least) + "[engine]\ngpu_memory_fraction = ";
  EXPECT_EQ(load_config(folder.write("b.toml", text + "0.25\n")).engine.gpu_memory_fraction, 0.25);
  EXPECT_EQ(load_config(folder.write("c.toml", text + "1\n")).engine.gpu_memory_fraction, 1);
}

TEST(Config, EightBitsInTheFlowReachTheEngine) {
  const testing::TemporaryFolder folder;
  EXPECT_FALSE(load_config(folder.write("a.toml", least)).engine.cfm_fp8);
  EXPECT_TRUE(load_config(folder.write("b.toml", std::string(least) + "[engine]\ncfm_fp8 = true\n")).engine.cfm_fp8);
}

TEST(Config, GatesHaveTheirBoundsHeadsAndCommand) {
  const testing::TemporaryFolder folder;
  const auto gates = [&folder](const std::string& keys) {
    return load_config(folder.write("a.toml", std::string(least) + "[gates]\n" + keys)).gates;
  };
  EXPECT_TRUE(gates("").options().gates);
  EXPECT_FALSE(gates("").options().command);
  EXPECT_FALSE(gates("").alignment_heads) << "the checkpoint's";
  EXPECT_FALSE(gates("enabled = false\ncommand = ['x']").options().gates);
  EXPECT_FALSE(gates("enabled = false\ncommand = ['x']").options().command);
  EXPECT_EQ(gates("max_silence_s = 2.5").options().gates->max_silence_s, 2.5);
  const GateConfig set = gates("alignment_heads = [[5, 2], [3, 0]]\ncommand = ['hear', '--well']\nmin_score = 0.4");
  ASSERT_EQ(set.alignment_heads->size(), 2u);
  EXPECT_EQ(set.alignment_heads->at(1).layer, 3);
  EXPECT_EQ(set.options().command->command, (std::vector<std::string>{"hear", "--well"}));
  EXPECT_EQ(set.options().command->min_score, 0.4);
  EXPECT_TRUE(gates("alignment_heads = []").alignment_heads->empty()) << "none at all";
  for (const char* wrong :
       {"alignment_heads = [5, 2]", "alignment_heads = [[5]]", "alignment_heads = [[5, -1]]", "max_retries = 11",
        "min_score = 2", "max_silence = 1", "command = 'hear'", "command = ['']"}) {
    EXPECT_THROW((void)gates(wrong), ConfigError) << wrong;
  }
}

TEST(Config, ThePresetAcxSettlesTheFormatAndItsCreditsCanBeWritten) {
  const testing::TemporaryFolder folder;
  const Config config =
      load_config(folder.write("a.toml", std::string(least) + "[audio]\npreset = 'acx'\nbitrate_kbps = 256\n"
                                                              "[output.acx]\nopening_credits = '{title}.'\n"));
  EXPECT_TRUE(config.audio.acx);
  EXPECT_EQ(config.audio.format.sample_rate, 44'100);
  EXPECT_EQ(config.audio.format.bitrate_kbps, 256);
  EXPECT_EQ(config.acx.opening, "{title}.");
  EXPECT_EQ(config.acx.closing, jobs::default_closing_credits);
  const Config again = load_config(folder.write("b.toml", describe(config)));
  EXPECT_EQ(describe(again), describe(config));
  EXPECT_TRUE(again.audio.acx);
  EXPECT_FALSE(load_config(folder.write("c.toml", least)).audio.acx);
}

TEST(Config, WhatContradictsThePresetAcxIsNamed) {
  const auto error_with = [](const std::string& lines) { return error_of(std::string(least) + lines); };
  const std::string acx = "[audio]\npreset = 'acx'\n";
  EXPECT_EQ(error_with(acx + "codec = 'flac'\n"), ": audio: codec flac contradicts the preset acx; valid: mp3");
  EXPECT_EQ(error_with(acx + "sample_rate = 24000\n"),
            ": audio: sample_rate 24000 contradicts the preset acx; valid: 44100");
  EXPECT_EQ(error_with(acx + "bitrate_kbps = 160\n"),
            ": audio: bitrate_kbps 160 contradicts the preset acx; valid: 192 224 256 320");
  EXPECT_EQ(error_with(acx + "[output]\nsplit = 'single'\n"),
            ":8: output.split: expected \"chapters\", which audio.preset \"acx\" makes, found 'single'");
  EXPECT_EQ(error_with("[audio]\npreset = 'audible'\n"),
            ":6: audio.preset: expected \"none\" or \"acx\", found 'audible'");
  EXPECT_TRUE(error_with("[output.acx]\nclosing_credits = 'By {writer}.'\n")
                  .starts_with(":6: output.acx.closing_credits: expected a text to say ({writer} is no placeholder"));
}

TEST(Config, APasswordInTheUrlIsNotDescribed) {
  Config config;
  config.redis.url = "redis://worker:secret@host:6379";
  EXPECT_EQ(describe(config).find("secret"), std::string::npos);
  EXPECT_NE(describe(config).find("redis://worker:***@host:6379"), std::string::npos);
}

TEST(Config, MistakesAreNamedWithFileLineAndKey) {
  const std::string base = least;
  EXPECT_EQ(error_of(base + "[queue]\nmax_job = 3\n"), ":6: queue.max_job: unknown key");
  EXPECT_EQ(error_of(base + "[queues]\n"), ":5: queues: unknown key");
  EXPECT_EQ(error_of(base + "[queue]\nmax_jobs = 'many'\n"),
            ":6: queue.max_jobs: expected an integer from 1 to 1000, found 'many'");
  EXPECT_EQ(error_of(base + "[queue]\nmax_jobs = 0\n"),
            ":6: queue.max_jobs: expected an integer from 1 to 1000, found 0");
  EXPECT_EQ(error_of(base + "[queue]\nended_retention_days = 0\n"),
            ":6: queue.ended_retention_days: expected a number from 0.001 to 36500, found 0");
  EXPECT_EQ(error_of(base + "[audio]\npauses.scene_s = 60.5\n"),
            ":6: audio.pauses.scene_s: expected a number from 0 to 10, found 60.5");
  EXPECT_EQ(error_of(base + "[engine]\ndevice = 'tpu'\n"),
            ":6: engine.device: expected \"cpu\", \"cuda\", \"cuda:N\", several of these with commas between them, or "
            "\"all\", found 'tpu'");
  for (const char* devices : {"all", "cuda:0,cuda:2"}) {
    EXPECT_EQ(error_of(base + "[engine]\ndevice = '" + devices + "'\n"), "accepted");
  }
  EXPECT_NE(error_of(base + "[engine]\ndevice = 'cpu,cuda'\n"), "accepted");
  EXPECT_EQ(error_of(base + "[engine]\ndtype = 'fp8'\n"),
            ":6: engine.dtype: expected \"auto\", \"fp32\" or \"bf16\", found 'fp8'");
  EXPECT_EQ(error_of(base + "[engine]\ncfm_fp8 = 1\n"), ":6: engine.cfm_fp8: expected true or false, found 1");
  EXPECT_EQ(error_of(base + "[engine]\ncfm_fp8 = 'true'\n"),
            ":6: engine.cfm_fp8: expected true or false, found 'true'");
  EXPECT_EQ(error_of(base + "[engine]\ngpu_memory_fraction = 1.5\n"),
            ":6: engine.gpu_memory_fraction: expected a number from 0 to 1, found 1.5");
  EXPECT_EQ(error_of(base + "[engine]\ngpu_memory_fraction = 0.0\n"),
            ":6: engine.gpu_memory_fraction: expected a number above 0 and at most 1, found 0.0");
  EXPECT_EQ(error_of("[paths]\ninput_root = 'in'\n"), ": paths.output_root is missing");
  EXPECT_EQ(error_of(base + "redis = 3\n"), ":5: paths.redis: unknown key");
  EXPECT_EQ(error_of("redis = 3\n" + base), ":1: redis: expected a table, found 3");
  EXPECT_TRUE(error_of(base + "[queue\n").starts_with(":5: ")) << error_of(base + "[queue\n");
  EXPECT_TRUE(error_of(base + "[audio]\nbitrate_kbps = 65\n").starts_with(": audio: "));
  EXPECT_EQ(error_of(base + "[audio]\ncodec = 'aac'\n"), ":6: audio.codec: expected mp3, flac or opus, found 'aac'");
  EXPECT_EQ(error_of(base + "[audio]\ncodec = 'flac'\nbitrate_kbps = 64\n"),
            ": audio: bitrate_kbps 64: flac has no such option");
  EXPECT_EQ(error_of(base + "[audio]\nvoice = '../anna'\n"),
            ":6: audio.voice: expected a name: 1 to 128 of A-Z a-z 0-9 _ . -, found '../anna'");
  EXPECT_EQ(error_of(base + "[queue]\nheartbeat_s = 20\n"),
            ": queue: lease_s must be at least three times heartbeat_s");
}

TEST(Config, ThePasswordComesFromTheFileThenFromTheCredential) {
  const testing::TemporaryFolder folder;
  RedisConfig redis;
  EXPECT_EQ(read_redis_password(redis, ""), "");
  EXPECT_EQ(read_redis_password(redis, folder.path()), "");
  folder.write("redis-password", "of the credential\n");
  EXPECT_EQ(read_redis_password(redis, folder.path()), "of the credential");
  redis.password_file = folder.write("own", "of the file\n");
  EXPECT_EQ(read_redis_password(redis, folder.path()), "of the file");
  redis.password_file = folder.path() / "missing";
  EXPECT_THROW((void)read_redis_password(redis, ""), ConfigError);
}

} // namespace
} // namespace audiobookd::daemon
