// Asking the queue, telling the store.
#include "daemon/store_keeper.h"

#include <algorithm>
#include <spdlog/spdlog.h>

namespace audiobookd::daemon {
namespace {

/// @param state as Queue::states() tells it.
bool is_over(const std::string& state) { return state.empty() || jobs::is_final_state(state); }

/// Whether @p change, which changes the store for @p id, was made.
template <typename Change>
bool try_to(const char* what, const std::string& id, const Change& change) {
  try {
    change();
    return true;
  } catch (const std::exception& error) {
    spdlog::warn("chunk store: cannot {} job {}: {}", what, id, error.what());
    return false;
  }
}

} // namespace

void StoreKeeper::keep_up(const IsOpen& is_open) {
  const std::vector<std::string> purged = queue_.purged();
  to_forget_.insert(purged.begin(), purged.end());
  const bool review = std::chrono::steady_clock::now() >= next_review_;
  if (!purged.empty() || (review && !to_forget_.empty())) {
    forget_purged(is_open);
  }
  if (review) {
    end_claims(is_open);
    next_review_ = std::chrono::steady_clock::now() + period_;
  }
}

void StoreKeeper::forget_purged(const IsOpen& is_open) {
  std::vector<std::string> ids;
  std::ranges::remove_copy_if(to_forget_, std::back_inserter(ids), is_open);
  const std::vector<std::string> states = queue_.states(ids);
  for (std::size_t i = 0; i < ids.size(); ++i) {
    const std::string& id = ids[i];
    const bool was_added_anew = !is_over(states[i]);
    if (was_added_anew || try_to("forget", id, [&] { store_.forget(id); })) {
      to_forget_.erase(id);
    }
  }
}

void StoreKeeper::end_claims(const IsOpen& is_open) {
  std::vector<std::string> ids = store_.open_jobs();
  std::erase_if(ids, is_open);
  const std::vector<std::string> states = queue_.states(ids);
  for (std::size_t i = 0; i < ids.size(); ++i) {
    if (is_over(states[i]) && try_to("unpin", ids[i], [&] { store_.unpin(ids[i]); })) {
      spdlog::info("job {}: ended elsewhere, its chunks may go", ids[i]);
    }
  }
}

} // namespace audiobookd::daemon
