// What audiobookctl makes of text, of command lines and of its surroundings, without a Redis.
#include "daemon/config.h"
#include "daemon/ctl/completion.h"
#include "daemon/ctl/job_flags.h"
#include "daemon/ctl/printable.h"
#include "daemon/ctl/queue_address.h"
#include "daemon/ctl/queue_commands.h"
#include "daemon/ctl/queue_tables.h"
#include "tests/daemon/ctl/ctl_fixture.h"

#include <array>
#include <cstdio>
#include <cstdlib>
#include <gtest/gtest.h>
#include <sstream>
#include <utility>

namespace audiobookd::daemon {
namespace {

bool contains(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

TEST(CtlPrintable, KeepsTextAndShowsWhatATerminalWouldObey) {
  EXPECT_EQ(printable("Märchen – 童話"), "Märchen – 童話");
  EXPECT_EQ(printable(std::string("a\x1b[31m\r\n\t\x7f\0b", 12)), "a\\x1b[31m\\x0d\\x0a\\x09\\x7f\\x00b");
  EXPECT_EQ(printable("\xc2\x9b"
                      "2J"),
            "\\x9b2J")
      << "the one-character form of ESC [";
  EXPECT_EQ(printable("\xe2\x80\xae"
                      "abc\xe2\x81\xa6\xef\xbb\xbf"),
            "\\u202eabc\\u2066\\ufeff");
  EXPECT_EQ(printable("\x9b\xff"), "\xef\xbf\xbd\xef\xbf\xbd");
}

TEST(CtlPrintable, CutsAndPadsByCharacters) {
  EXPECT_EQ(shortened("Märchen", 7), "Märchen");
  EXPECT_EQ(shortened("Märchen", 3), "Mä…");
  EXPECT_EQ(shortened("abc", 0), "");
  EXPECT_EQ(padded("Mär", 5), "Mär  ");
  EXPECT_EQ(padded("Märchen", 5), "Märchen");
}

TEST(CtlTables, BarsAndAges) {
  EXPECT_EQ(bar(0.42, 10), "[####......]  42 %");
  EXPECT_EQ(bar(0.999, 10), "[#########.]  99 %") << "100 % is done";
  EXPECT_EQ(bar(7, 4), "[####] 100 %");
  EXPECT_EQ(bar(-1, 4), "[....]   0 %");
  EXPECT_EQ(bar(std::strtod("nan", nullptr), 4), "[....]   0 %");
  EXPECT_EQ(format_age(59'999), "59 s");
  EXPECT_EQ(format_age(150'000), "2 min");
  EXPECT_EQ(format_age(3 * 3'600'000), "3 h");
  EXPECT_EQ(format_age(50 * 3'600'000), "2 d");
  EXPECT_EQ(format_age(-5), "0 s");
}

TEST(CtlJobFlags, ATimeIsAbsoluteOrFromNowOn) {
  EXPECT_EQ(parse_not_before("1700000000", 5), 1'700'000'000);
  EXPECT_EQ(parse_not_before("+90s", 1000), 1090);
  EXPECT_EQ(parse_not_before("+30m", 1000), 2800);
  EXPECT_EQ(parse_not_before("+2h", 1000), 8200);
  EXPECT_EQ(parse_not_before("+1d", 1000), 87'400);
  for (const char* wrong : {"", "+", "-1", "2h", "+2", "+2w", "+2h ", "99999999999999999999", "+100000000001d"}) {
    EXPECT_THROW((void)parse_not_before(wrong, 0), std::invalid_argument) << wrong;
  }
}

/// Sets a variable of the environment for as long as it lives.
class Variable {
public:
  Variable(const char* name, const char* value) : name_(name) { setenv(name, value, 1); }
  ~Variable() { unsetenv(name_); }
  Variable(const Variable&) = delete;
  Variable& operator=(const Variable&) = delete;

private:
  const char* name_;
};

TEST(CtlAddress, TheFirstThatIsGivenCounts) {
  const testing::TemporaryFolder folder;
  folder.write("password", "secret\n");
  const auto mine = folder.write("mine.toml", "[redis]\nurl = 'redis://mine'\nprefix = 'm:'\n[unknown]\n");
  const auto service =
      folder.write("service.toml", "[redis]\nurl = 'redis://service'\nprefix = 's:'\npassword_file = 'password'\n");
  EXPECT_EQ(find_queue({}, "/nonexistent").url, "redis://127.0.0.1:6379");
  EXPECT_EQ(find_queue({}, "/nonexistent").prefix, "tts:");
  EXPECT_EQ(find_queue({}, service).url, "redis://service");
  EXPECT_EQ(find_queue({}, service).prefix, "s:");
  EXPECT_EQ(find_queue({}, service).password, "secret");
  const Variable usual("REDIS_URL", "redis://usual");
  EXPECT_EQ(find_queue({}, service).url, "redis://usual");
  EXPECT_EQ(find_queue({}, service).password, "") << "that of another Redis is not sent there";
  const Variable own("AUDIOBOOKD_REDIS", "redis://own");
  EXPECT_EQ(find_queue({}, service).url, "redis://own");
  EXPECT_EQ(find_queue({.config = mine}, service).url, "redis://mine");
  EXPECT_EQ(find_queue({.config = mine}, service).prefix, "m:");
  EXPECT_EQ(find_queue({.prefix = "p:", .config = mine}, service).prefix, "p:");
  EXPECT_EQ(find_queue({.redis = "redis://typed", .config = mine}, service).url, "redis://typed");
  EXPECT_EQ(find_queue({.password_file = folder.path() / "password"}, service).password, "secret");
  EXPECT_THROW((void)find_queue({.config = "/nonexistent"}, service), ConfigError);
}

/// The commands of the program, as a shell's completion sees them.
class CtlCompletion : public ::testing::Test {
protected:
  CtlCompletion() { commands_.describe(app_); }

  /// What bash offers behind @p words, the last of which is being typed. `ls --ids` of a stand-in prints two jobs.
  std::vector<std::string> bash_offers(const std::string& words) {
    folder_.write("completion", completion_script(app_, "bash"));
    const auto script = folder_.write("try", "audiobookctl() { echo job-of-$1; echo other; }\nsource '" +
                                                 (folder_.path() / "completion").string() + "'\nCOMP_WORDS=(" + words +
                                                 ")\nCOMP_CWORD=$((${#COMP_WORDS[@]} - 1))\n_audiobookctl\n" +
                                                 "printf '%s\\n' \"${COMPREPLY[@]}\"\n");
    const std::unique_ptr<FILE, int (*)(FILE*)> bash(popen(("bash '" + script.string() + "' 2>&1").c_str(), "r"),
                                                     pclose);
    std::vector<std::string> offers;
    std::array<char, 4096> line{};
    while (fgets(line.data(), line.size(), bash.get()) != nullptr) {
      offers.emplace_back(line.data(), std::string_view(line.data()).find('\n'));
    }
    return offers;
  }

  std::istringstream in_;
  std::ostringstream out_;
  QueueCommands commands_{{in_, out_, out_, 0}};
  CLI::App app_{"", "audiobookctl"};
  testing::TemporaryFolder folder_;
};

using Words = std::vector<std::string>;

TEST_F(CtlCompletion, BashOffersCommandsOptionsValuesAndJobs) {
  EXPECT_EQ(bash_offers("audiobookctl enq"), Words{"enqueue"});
  EXPECT_EQ(bash_offers("audiobookctl dead re"), Words{"requeue"});
  EXPECT_EQ(bash_offers("audiobookctl dead requeue --a"), Words{"--all"});
  EXPECT_EQ(bash_offers("audiobookctl enqueue --top"), (Words{"--top-k", "--top-p"}));
  EXPECT_EQ(bash_offers("audiobookctl enqueue --queue h"), Words{"high"});
  EXPECT_EQ(bash_offers("audiobookctl ls --state ca"), Words{"cancelled"});
  EXPECT_EQ(bash_offers("audiobookctl pause l"), Words{"low"});
  EXPECT_EQ(bash_offers("audiobookctl cancel jo"), Words{"job-of-ls"});
  EXPECT_EQ(bash_offers("audiobookctl cancel other o"), Words{"other"}) << "one more";
  EXPECT_EQ(bash_offers("audiobookctl dead purge jo"), Words{"job-of-dead"});
  EXPECT_EQ(bash_offers("audiobookctl nothing x"), Words{""});
}

TEST_F(CtlCompletion, EveryShellKnowsEveryCommand) {
  for (const char* shell : {"bash", "zsh", "fish"}) {
    const std::string script = completion_script(app_, shell);
    for (const CLI::App* command : std::as_const(app_).get_subcommands(std::function<bool(const CLI::App*)>())) {
      EXPECT_TRUE(contains(script, command->get_name())) << shell << ": " << command->get_name();
    }
  }
  EXPECT_THROW((void)completion_script(app_, "tcsh"), std::invalid_argument);
}

TEST_F(CtlCompletion, EveryCommandExplainsItsExitStatus) {
  for (const CLI::App* command : std::as_const(app_).get_subcommands(std::function<bool(const CLI::App*)>())) {
    if (command->get_name() != "dead") {
      EXPECT_TRUE(contains(command->help(), "Exit status: 0 done")) << command->get_name();
      EXPECT_TRUE(contains(command->help(), "--json")) << command->get_name();
    }
  }
}

} // namespace
} // namespace audiobookd::daemon
