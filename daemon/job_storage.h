// Where the files of jobs are, as the configuration says: folders of this machine, buckets of S3, or some of each.
#pragma once

#include "daemon/config.h"
#include "daemon/environment.h"
#include "daemon/output_root.h"
#include "storage/storage.h"

#include <filesystem>
#include <memory>

namespace audiobookd::daemon {

/// Opens it; any thread may use what is returned. Credentials of S3, if any root lies there, are those of the file that
/// [s3] names; else of systemd's credential "s3-credentials", a file of the same format; else of the environment, of
/// the shared credentials file, of the machine's role.
/// @param credentials_folder systemd's, may be empty.
/// @throws ConfigError; storage::PermanentError, TransientError naming a folder that is missing, or saying where no
/// credentials were found.
[[nodiscard]] std::unique_ptr<storage::Storage> open_job_storage(const Config& config,
                                                                 const AwsEnvironment& environment,
                                                                 const std::filesystem::path& credentials_folder);

/// The same for somebody who only looks at outputs.
[[nodiscard]] std::unique_ptr<storage::Storage> open_outputs(const OutputRoot& output,
                                                             const AwsEnvironment& environment,
                                                             const std::filesystem::path& credentials_folder);

} // namespace audiobookd::daemon
