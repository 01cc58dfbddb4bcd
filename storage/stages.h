// Stages: what is published soon and not yet visible, hidden beside its target as `.NAME.OWNERTOKEN.partial`: a file,
// or a folder of files. What file and folder publications have in common. Stateless; any thread.
//
// A stage is locked (flock) as long as its transaction lives: the file itself, of a folder the file `metadata.json` in
// it. One that nobody holds belongs to a run that died.
#pragma once

#include "storage/file_descriptor.h"

#include <string>
#include <string_view>
#include <vector>

namespace audiobookd::storage {

/// @throws PermanentError unless @p name can be that of a target and leaves room for the name of its stage: 1 to 200
/// bytes, no '/', not `.` or `..`. @param target for the message.
void check_target_name(const std::string& name, const std::string& target);

/// How @p owner (see Storage::open_output()) stands in the names of stages: 8 hex digits.
[[nodiscard]] std::string owner_digits(std::string_view owner);
/// A name for a new stage of target @p name. @param owner as owner_digits().
[[nodiscard]] std::string new_stage_name(const std::string& name, const std::string& owner);

/// Removes stages of target @p name in @p folder: those that nobody holds, and those of the same @p owner (as
/// owner_digits()) whoever holds them. Their holder may be asleep between the question whether the job is still his and
/// the rename: when he wakes up there is nothing left to rename, for a stage goes from its name at once, also a folder.
/// @throws TransientError, PermanentError when one of the same owner cannot be removed.
void remove_other_stages(const FileDescriptor& folder, const std::string& name, const std::string& owner,
                         const std::string& target);

/// Removes a stage of one's own, if it is there: a file, or a folder and the files in it.
/// @param stage from new_stage_name().
void remove_stage(const FileDescriptor& folder, const std::string& stage) noexcept;

/// Names in @p folder but `.` and `..`, in no order. @throws TransientError, PermanentError.
[[nodiscard]] std::vector<std::string> list_folder(const FileDescriptor& folder, const std::string& shown);

/// Whether @p name in @p folder is a regular file with the content of @p staged, from its beginning.
/// @throws TransientError, PermanentError when @p staged cannot be read. @param shown for messages.
[[nodiscard]] bool holds_same(const FileDescriptor& folder, const std::string& name, const FileDescriptor& staged,
                              const std::string& shown);

} // namespace audiobookd::storage
