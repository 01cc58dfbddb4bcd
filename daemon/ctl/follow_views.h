// The three faces of `audiobookctl follow`: lines that are drawn again and again on a terminal, a line for every change
// elsewhere, and a line of JSON for every change. One thread.
#pragma once

#include "daemon/ctl/follow.h"

#include <map>

namespace audiobookd::daemon {

/// One line a job, with a bar.
class BoardView final : public FollowView {
public:
  /// @param columns of the terminal.
  BoardView(std::ostream& out, std::size_t columns) : out_(out), columns_(columns) {}
  void show(const std::vector<FollowedJob>& jobs) override;
  void say(const std::string& text) override;

private:
  std::ostream& out_;
  const std::size_t columns_;
  std::size_t lines_ = 0; ///< that were drawn and are drawn over
};

/// A line when the state changes, and for every tenth.
class LineView final : public FollowView {
public:
  LineView(std::ostream& out, std::ostream& notes) : out_(out), notes_(notes) {}
  void show(const std::vector<FollowedJob>& jobs) override;
  void say(const std::string& text) override;

private:
  std::ostream& out_;
  std::ostream& notes_;
  std::map<std::string, std::string> shown_; ///< the last line of each job
};

/// {"id", "state", "progress", "eta", "attempts", "worker"} when one of them changes, with "end" and "record" in the
/// last of each job. State "waiting": no worker has taken it in yet.
class JsonView final : public FollowView {
public:
  JsonView(std::ostream& out, std::ostream& notes) : out_(out), notes_(notes) {}
  void show(const std::vector<FollowedJob>& jobs) override;
  void say(const std::string& text) override;

private:
  std::ostream& out_;
  std::ostream& notes_;
  std::map<std::string, std::string> shown_;
};

} // namespace audiobookd::daemon
