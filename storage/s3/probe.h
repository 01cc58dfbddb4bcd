// What a server knows is found out by trying. Any thread.
#pragma once

#include "storage/s3/client.h"
#include "storage/s3/publication.h"

#include <stop_token>

namespace audiobookd::storage::s3 {

/// Whether the server of @p root keeps to `If-None-Match: *`: writes an object `.audiobookd-probe-…` below it, tries to
/// write it again, and removes it, if that is permitted. @throws as Client's functions.
[[nodiscard]] Conditions probe_conditions(const Client& client, const Location& root, const std::stop_token& stop);

} // namespace audiobookd::storage::s3
