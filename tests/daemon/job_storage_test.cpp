// Where the files of jobs are, and whose credentials are taken: what can be told without a server.
#include "daemon/job_storage.h"
#include "storage/errors.h"
#include "tests/daemon/fakes.h"
#include "tests/storage/files.h"

#include <gtest/gtest.h>

namespace audiobookd::daemon {
namespace {

using tests::throws_with;

class JobStorage : public ::testing::Test {
protected:
  JobStorage() {
    folder_.write("in/a.txt", "text");
    std::filesystem::create_directory(folder_.path() / "out");
  }
  [[nodiscard]] Config config(const std::string& input_root, const std::string& output_root,
                              const std::string& more = "") const {
    return load_config(folder_.write("a.toml", "[paths]\ninput_root = '" + input_root + "'\noutput_root = '" +
                                                   output_root +
                                                   "'\nchunk_store = 'chunks'\n[s3]\nstaging = 'stage'\n" + more));
  }
  auto opening(const Config& config, const AwsEnvironment& environment = {}) {
    return [this, config, environment] { (void)open_job_storage(config, environment, folder_.path() / "systemd"); };
  }
  static AwsEnvironment environment() {
    AwsEnvironment environment;
    environment.access_key_id = "AKIA";
    environment.secret_access_key = "secret";
    return environment;
  }

  testing::TemporaryFolder folder_;
};

TEST_F(JobStorage, FoldersNeedNoCredentials) {
  const auto storage = open_job_storage(config("in", "out"), {}, {});
  EXPECT_EQ(storage->read_input("a.txt", 10), "text");
  EXPECT_FALSE(storage->output_exists("a.mp3"));
  EXPECT_TRUE(throws_with<storage::PermanentError>([&] { (void)storage->read_input("s3://bucket/a.txt", 10); },
                                                   "has no root there"));
  EXPECT_TRUE(throws_with<storage::PermanentError>(opening(config("none", "out")), "none"));
  EXPECT_TRUE(throws_with<storage::PermanentError>(opening(config("in", "none")), "none"));
}

TEST_F(JobStorage, OneRootMayBeAFolderAndTheOtherOnS3) {
  const auto storage = open_job_storage(config("in", "s3://books"), environment(), {});
  EXPECT_EQ(storage->read_input("a.txt", 10), "text");
  EXPECT_TRUE(throws_with<storage::PermanentError>([&] { (void)storage->output_exists("/a.mp3"); }, "is absolute"));
  EXPECT_TRUE(throws_with<storage::PermanentError>([&] { (void)storage->read_input("s3://books/a.txt", 10); },
                                                   "no root there is configured"))
      << "an output root is none for inputs";
  const auto reverse = open_job_storage(config("s3://books", "out"), environment(), {});
  EXPECT_FALSE(reverse->output_exists("a.mp3"));
}

TEST_F(JobStorage, CredentialsThatAreMissingAreMissedAtOnceAndTheirPlacesNamed) {
  AwsEnvironment nothing;
  nothing.credentials_file = folder_.path() / ".aws/credentials";
  nothing.metadata_disabled = true;
  const auto open = opening(config("s3://books", "out"), nothing);
  EXPECT_TRUE(throws_with<storage::TransientError>(open, "AWS_ACCESS_KEY_ID"));
  EXPECT_TRUE(throws_with<storage::TransientError>(open, ".aws/credentials' does not exist"));
  EXPECT_FALSE(throws_with<storage::TransientError>(open, "metadata"));
  EXPECT_TRUE(throws_with<storage::TransientError>(
      opening(config("in", "out", "output_roots = ['s3://b-1']\n"), nothing), "no S3 credentials"));
}

TEST_F(JobStorage, TheFileThatIsNamedThenSystemdsThenTheEnvironment) {
  const Config on_s3 = config("s3://books", "out");
  EXPECT_NO_THROW(opening(on_s3, environment())());
  folder_.write("systemd/s3-credentials", "[default]\nnot a key\n");
  EXPECT_TRUE(throws_with<storage::PermanentError>(opening(on_s3, environment()), "systemd/s3-credentials':2"));
  folder_.write("own", "[books]\naws_access_key_id = A\naws_secret_access_key = B\n");
  EXPECT_NO_THROW(opening(config("s3://books", "out", "credentials_file = 'own'\nprofile = 'books'\n"))());
  EXPECT_TRUE(throws_with<storage::TransientError>(
      opening(config("s3://books", "out", "credentials_file = 'own'\n"), environment()), "has no profile 'default'"))
      << "and nowhere else";
  AwsEnvironment with_profile = environment();
  with_profile.profile = "books";
  EXPECT_NO_THROW(opening(config("s3://books", "out", "credentials_file = 'own'\n"), with_profile)());
}

} // namespace
} // namespace audiobookd::daemon
