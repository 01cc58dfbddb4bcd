#include "storage/s3/probe.h"

#include "storage/errors.h"
#include "storage/file_descriptor.h"

#include <cstring>
#include <string_view>

namespace audiobookd::storage::s3 {
namespace {

HttpBody probe_body() {
  static constexpr std::string_view text = "audiobookd asks whether this server knows If-None-Match\n";
  return {text.size(), [](std::uint64_t offset, std::span<std::byte> part) {
            std::memcpy(part.data(), text.data() + offset, part.size());
          }};
}

/// Whether an upload in parts is refused where @p object is already.
bool complete_is_conditional(const Client& client, const Location& object, const std::stop_token& stop) {
  const std::string id = client.create_upload(object, {}, stop);
  const UploadedPart part = client.upload_part(object, id, 1, probe_body(), stop);
  const Outcome outcome = client.complete_upload(object, id, {part}, {.only_if_new = true}, stop);
  if (outcome != Outcome::done) {
    client.abort_upload(object, id, stop);
  }
  return outcome == Outcome::exists;
}

} // namespace

Conditions probe_conditions(const Client& client, const Location& root, const std::stop_token& stop) {
  const Location object{root.bucket, root.key + ".audiobookd-probe-" + random_token()};
  if (client.put(object, probe_body(), {}, stop) != Outcome::done) {
    throw TransientError("cannot probe what the server of '" + object.url() + "' knows: somebody else writes to it");
  }
  Conditions found;
  found.put = client.put(object, probe_body(), {.only_if_new = true}, stop) == Outcome::exists;
  found.complete = found.put && complete_is_conditional(client, object, stop);
  try {
    client.remove(object, stop);
  } catch (const PermanentError&) { // the right to write need not include that; it stays
  }
  return found;
}

} // namespace audiobookd::storage::s3
