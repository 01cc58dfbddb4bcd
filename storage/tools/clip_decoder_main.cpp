// The program audiobook-clip-decoder: decodes the file that is its standard input to samples on its standard output.
// For decode_in_child() alone: whatever a hostile file makes of it, nothing else is lost.
//
// Arguments: name for messages, then the fields of DecodeLimits. Exit status 1 with one line on standard error when the
// file is refused.
#include "storage/isolated_decoder.h"

#include <csignal>
#include <cstdio>
#include <exception>
#include <string>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>

namespace {

void limit(decltype(RLIMIT_CPU) resource, rlim_t value) {
  const rlimit both{value, value};
  ::setrlimit(resource, &both);
}

/// From here on: no new files, no files that grow, no privileges, no core dumps, little time and memory.
void give_up_rights() {
  ::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  limit(RLIMIT_CORE, 0);
  limit(RLIMIT_FSIZE, 0);
  limit(RLIMIT_NOFILE, 3);
  limit(RLIMIT_NPROC, 0);
  limit(RLIMIT_CPU, 30);     // seconds
#ifndef __SANITIZE_ADDRESS__ // whose shadow takes terabytes of address space
  limit(RLIMIT_AS, rlim_t{1} << 29);
#endif
}

} // namespace

int main(int argc, char** argv) {
  if (argc != 6) {
    std::fputs("audiobook-clip-decoder is started by audiobookd and audiobookctl, not by hand\n", stderr);
    return 2;
  }
  try {
    give_up_rights();
    const audiobookd::storage::DecodeLimits limits{.max_seconds = std::stod(argv[2]),
                                                   .max_channels = std::stoi(argv[3]),
                                                   .max_sample_rate = std::stoi(argv[4]),
                                                   .max_samples = std::stoll(argv[5])};
    audiobookd::storage::send_decoded(STDIN_FILENO, STDOUT_FILENO, argv[1], limits);
    return 0;
  } catch (const std::exception& error) {
    std::fputs(error.what(), stderr);
    return 1;
  }
}
