// Where credentials come from, how long they are used, and that no message gives them away.
#include "storage/errors.h"
#include "storage/s3/credentials.h"
#include "storage/s3/instance_credentials.h"
#include "tests/storage/files.h"
#include "tests/storage/s3/fake_s3.h"

namespace audiobookd::storage::s3 {
namespace {

using tests::throws_with;
using namespace std::chrono_literals;

/// Gives what a test says, and counts.
class Scripted final : public CredentialSource {
public:
  struct Script {
    std::optional<Grant> grant;
    bool fails = false;
    int looks = 0;
  };
  explicit Scripted(Script& script) : script_(script) {}
  [[nodiscard]] std::optional<Grant> look(std::string& why, const std::stop_token&) const override {
    ++script_.looks;
    if (script_.fails) {
      throw PermanentError("broken");
    }
    why = "the script gives none";
    return script_.grant;
  }

private:
  Script& script_;
};

class S3Wallet : public testing::Test {
protected:
  static Grant grant(const std::string& id, std::optional<SystemTime> expires = {}) {
    return {{id, "secret-of-" + id, ""}, expires};
  }
  Wallet make_wallet() {
    std::vector<std::unique_ptr<CredentialSource>> sources;
    sources.push_back(std::make_unique<Scripted>(first_));
    sources.push_back(std::make_unique<Scripted>(second_));
    return Wallet(std::move(sources), [this] { return now_; });
  }
  static std::string id(Wallet& wallet) { return wallet.credentials({}).access_key_id; }

  SystemTime now_ = std::chrono::system_clock::from_time_t(1'000'000);
  Scripted::Script first_;
  Scripted::Script second_;
};

TEST_F(S3Wallet, AsksTheSourcesInOrderAndRemembers) {
  second_.grant = grant("second");
  Wallet wallet = make_wallet();
  EXPECT_EQ(id(wallet), "second");
  first_.grant = grant("first");
  EXPECT_EQ(id(wallet), "second");
  EXPECT_EQ(first_.looks, 1);
  now_ += 5min;
  EXPECT_EQ(id(wallet), "first") << "what changed is noticed";
}

TEST_F(S3Wallet, RefreshesFiveMinutesBeforeTheyExpire) {
  first_.grant = grant("old", now_ + 1h);
  Wallet wallet = make_wallet();
  EXPECT_EQ(id(wallet), "old");
  first_.grant = grant("new", now_ + 2h);
  now_ += 54min;
  EXPECT_EQ(id(wallet), "old");
  now_ += 1min;
  EXPECT_EQ(id(wallet), "new");
}

TEST_F(S3Wallet, OldCredentialsServeUntilTheyExpireWhenNewOnesCannotBeHad) {
  first_.grant = grant("old", now_ + 1h);
  Wallet wallet = make_wallet();
  EXPECT_EQ(id(wallet), "old");
  first_.fails = true;
  now_ += 59min;
  EXPECT_EQ(id(wallet), "old");
  EXPECT_EQ(id(wallet), "old");
  EXPECT_EQ(first_.looks, 2) << "not asked again at once";
  now_ += 1min;
  EXPECT_THROW((void)id(wallet), PermanentError);
  first_.fails = false;
  first_.grant.reset();
  EXPECT_TRUE(throws_with<TransientError>([&] { (void)id(wallet); }, "have expired"));
}

TEST_F(S3Wallet, RejectedOnesAreAskedForAnew) {
  first_.grant = grant("old");
  Wallet wallet = make_wallet();
  const Credentials old = wallet.credentials({});
  first_.grant = grant("new");
  wallet.reject(old);
  EXPECT_EQ(id(wallet), "new");
  wallet.reject(old); // of a thread that was slower
  EXPECT_EQ(id(wallet), "new");
  EXPECT_EQ(first_.looks, 2);
}

TEST_F(S3Wallet, SaysWhereItLookedAndIsNoFaultOfTheJob) {
  Wallet wallet = make_wallet();
  EXPECT_TRUE(throws_with<TransientError>(
      [&] { (void)id(wallet); }, "no S3 credentials were found: the script gives none; the script gives none"));
}

TEST(S3GivenCredentials, HalfOfThemIsAMistakeAndNoneAreNone) {
  std::string why;
  EXPECT_FALSE(GivenCredentials({}, "the environment").look(why, {}).has_value());
  EXPECT_EQ(why, "the environment gives none");
  EXPECT_TRUE(throws_with<PermanentError>(
      [&] {
        (void)GivenCredentials({"id", "", ""}, "it").look(why, {});
      },
      "only one of access key id and secret"));
}

class S3CredentialsFile : public testing::Test {
protected:
  std::optional<Grant> look(const std::string& text, const std::string& profile = "default") {
    tests::write_file(file_, text);
    return CredentialsFile(file_, profile).look(why_, {});
  }
  auto looking(const std::string& text) {
    return [this, text] { (void)look(text); };
  }
  tests::ScratchFolder folder_;
  const std::filesystem::path file_ = folder_ / "credentials";
  std::string why_;
};

TEST_F(S3CredentialsFile, ReadsTheProfileThatIsAskedFor) {
  const std::string text = "# comment\n[default]\naws_access_key_id=A\naws_secret_access_key = s/=+ \r\n\n; another\n"
                           "[ books ]\naws_access_key_id = B\naws_secret_access_key = t\naws_session_token = u\n"
                           "region = eu-central-1\n";
  EXPECT_EQ(look(text)->credentials, (Credentials{"A", "s/=+", ""}));
  EXPECT_EQ(look(text, "books")->credentials, (Credentials{"B", "t", "u"}));
  EXPECT_FALSE(look(text, "none").has_value());
  EXPECT_EQ(why_, "the file '" + file_.string() + "' has no profile 'none'");
}

TEST_F(S3CredentialsFile, SaysWhatIsWrongWithoutTheSecret) {
  EXPECT_TRUE(throws_with<PermanentError>(looking("[default]\naws_access_key_id = A\nTOPSECRET\n"), "credentials':3:"));
  EXPECT_FALSE(throws_with<PermanentError>(looking("[default]\nTOPSECRET\n"), "TOPSECRET"));
  EXPECT_TRUE(throws_with<PermanentError>(looking("[default]\naws_access_key_id = A\n"), "aws_secret_access_key"));
  EXPECT_FALSE(CredentialsFile(folder_ / "none", "default").look(why_, {}).has_value());
  EXPECT_NE(why_.find("none' does not exist"), std::string::npos);
}

TEST(S3InstanceCredentials, AreTheRolesWithASessionToken) {
  tests::FakeS3 server;
  const InstanceCredentials source(server.endpoint());
  std::string why;
  EXPECT_FALSE(source.look(why, {}).has_value());
  EXPECT_NE(why.find("gives no session token (HTTP 404)"), std::string::npos) << why;
  server.order({{"op", "set"},
                {"role",
                 {{"AccessKeyId", "ASIA"},
                  {"SecretAccessKey", "secret"},
                  {"Token", "token"},
                  {"Expiration", "2026-01-02T03:04:05Z"}}}});
  const auto grant = source.look(why, {});
  ASSERT_TRUE(grant.has_value()) << why;
  EXPECT_EQ(grant->credentials, (Credentials{"ASIA", "secret", "token"}));
  EXPECT_EQ(grant->expires, std::chrono::system_clock::from_time_t(1767323045));
  server.order({{"op", "set"}, {"role", {{"Code", "Failed"}}}});
  EXPECT_TRUE(throws_with<PermanentError>([&] { (void)source.look(why, {}); }, "gives no credentials of its role"));
}

TEST(S3InstanceCredentials, AMachineWithoutTheServiceHasNone) {
  std::string why;
  EXPECT_FALSE(InstanceCredentials("http://127.0.0.1:1").look(why, {}).has_value());
  EXPECT_NE(why.find("does not answer"), std::string::npos) << why;
}

} // namespace
} // namespace audiobookd::storage::s3
