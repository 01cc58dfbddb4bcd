// Finds the listing of a book (daemon/book_listing.h) where the book is, and makes sure that the two belong together.
//
// One thread.
#pragma once

#include "daemon/book_listing.h"
#include "jobs/queue_client.h"
#include "storage/storage.h"

#include <filesystem>
#include <string>

namespace audiobookd::daemon {

/// The job that a book was first made by: @p id without ".redo-3".
[[nodiscard]] std::string first_job(const std::string& id);
/// 3 of "tale.redo-3", 0 of "tale".
[[nodiscard]] int redo_number(const std::string& id);

/// The listing of output @p name of @p storage.
/// @throws std::runtime_error: there is no book, or none with a listing, or the file beside it is another than the one
/// that is listed; what the storage throws.
[[nodiscard]] BookListing read_listing(const storage::Storage& storage, const std::string& name, bool is_folder);

/// Of a file of this machine: a listing, a folder with one in it, or an audio file with one beside it.
/// @throws as read_listing(); std::runtime_error when it is not there.
[[nodiscard]] BookListing read_listing(const std::filesystem::path& path);

/// Of the book that the job of @p record, or a redo of it, has made.
/// @throws as read_listing(); std::runtime_error: the job is not done, or has made no listing, or its book was replaced
/// by that of another job.
[[nodiscard]] BookListing read_listing(const storage::Storage& storage, const jobs::JobRecord& record);

} // namespace audiobookd::daemon
