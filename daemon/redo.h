// What a job wants to hear otherwise at single places of a book.
//
// A pure function of its arguments; any thread.
#pragma once

#include "daemon/book.h"
#include "jobs/job.h"

#include <vector>

namespace audiobookd::daemon {

/// Changes what is heard at the places that @p redo names, and nowhere else: text that is heard at several places
/// stays as it is at the others. Another text is read as those of the document are (numbers in words, the dictionary).
/// @param options, @param renderer as plan_book() was given.
/// @throws jobs::JobError naming the utterance: it does not exist; it is not the one that was meant, because the
/// document, the voice, the model or a setting is another than when the key was noted; its text has nothing to say or
/// does not fit into one utterance.
void apply_redo(Book& book, const std::vector<jobs::RedoneUtterance>& redo, const BookOptions& options,
                const Renderer& renderer);

} // namespace audiobookd::daemon
