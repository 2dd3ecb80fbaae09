// Dynamic sharding at the reader: leases splits ahead, keeps the lease alive, reports completions.
#pragma once

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include <arrow/result.h>
#include <arrow/status.h>

#include "batch/source.h"
#include "batch/unit_source.h"
#include "flightbridge/proto/commands.h"
#include "plan/rows.h"
#include "plan/splits.h"

namespace flightbridge::batch {

// Seconds without a sign of life after which a reader's splits are given to others.
inline constexpr double kDefaultLeaseTimeout = 30;
double LeaseTimeout(const proto::ReaderSpec& spec);
// Deadline of one lease call, in seconds: a part of the lease, so that one that hangs does not end
// it, and short, so that leaving a server that hangs does not take long.
double LeaseCallTimeout(const proto::ReaderSpec& spec);

struct LeaseSettings {
  std::string group;
  std::string feed;
  uint64_t fingerprint = 0;
  plan::SplitSpec splits;
  int64_t epochs = 1;  // number of the first one not to be read; -1: without end
  int64_t ahead = 1;   // splits leased and not yet begun
  double lease_timeout_s = kDefaultLeaseTimeout;
  double timeout_s = 60;  // how long the server may be away
};

// How far a reader is, by what its caller has got.
struct SplitProgress {
  uint64_t holder = 0;  // names the reader, also across restores
  int64_t epoch = 0;
  bool epoch_over = false;
  plan::SplitSet completed;
  std::optional<proto::SplitCursor> current;
};

enum class JoinKind { kFirst, kAgain, kRestored };

// One incarnation of a reader in its group. A thread of its own makes every call, over a connection
// of its own, so that neither a slow caller nor a slow stream ends the lease.
class SplitLeases : public UnitSource {
 public:
  SplitLeases(ConnectFn connect, const LeaseSettings& settings,
              std::shared_ptr<const plan::FeedRows> rows, const SplitProgress& from, JoinKind kind);
  // Gives back what was not completed. Blocks for a few calls' deadlines at most.
  ~SplitLeases() override;

  // Splits in the order they are leased; a unit without rows where no split is free for now, so
  // that nobody waits for rows that a short batch could bring. Blocks.
  arrow::Result<std::optional<plan::Unit>> Next() override;
  void Cancel() override;

  // A batch goes to the caller: the splits that end in it, and the one it leaves unfinished.
  void HandOut(const std::vector<int64_t>& finished, std::optional<proto::SplitCursor> current);
  // The caller has dealt with what was handed out: splits that ended in it are done.
  void Confirm();
  // Waits until the lease is known to hold now, at most the settings' timeout.
  arrow::Status WaitUntilHeld();
  // The lease is lost: whatever was not handed out must be dropped, and the group joined anew.
  bool fenced() const;
  // How many splits the server knows to be done, of those that this incarnation completed.
  int64_t reported() const;

 private:
  using Clock = std::chrono::steady_clock;

  void Run();
  arrow::Status Serve();
  arrow::Status Join();
  arrow::Result<proto::AcquireSplitsResult> Ask(bool join);
  arrow::Status Report();
  arrow::Status Renew();
  void Leave();
  arrow::Status Take(const proto::AcquireSplitsResult& result);
  void EndEpoch(int64_t num_splits);
  // Calls until it is answered, as long as the server may be away; `encode` makes the body of each
  // try. Not under the lock.
  arrow::Result<std::string> Call(const char* action, const std::function<std::string()>& encode);
  plan::Unit MakeUnit(const proto::AcquiredSplit& split);
  bool WantsMore(Clock::time_point now) const;

  const ConnectFn connect_;
  const LeaseSettings settings_;
  const std::shared_ptr<const plan::FeedRows> rows_;
  const uint64_t holder_;
  const uint64_t token_;
  const std::optional<proto::ResumeLease> resume_;
  std::unique_ptr<Source> source_;  // the thread's own, as are the next three
  uint64_t sequence_ = 0;
  bool joined_ = false;
  bool reachable_ = false;  // the last call was answered

  mutable std::mutex mutex_;
  std::condition_variable changed_;  // for both sides
  int64_t epoch_;
  std::unique_ptr<plan::SplitOrder> order_;  // of epoch_
  std::deque<proto::AcquiredSplit> leased_;  // not yet begun
  std::set<int64_t> held_;                   // leased, and not yet reported
  std::vector<int64_t> handed_out_;          // not yet confirmed
  std::vector<int64_t> completed_;           // not yet reported
  std::optional<proto::SplitCursor> current_;
  int64_t group_ = 0;                   // of the next unit
  bool flush_ = false;                  // a unit without rows is due
  bool flushed_ = true;                 // none is, until another split was leased
  Clock::time_point ask_at_;            // not before
  std::chrono::milliseconds poll_{20};  // pause after an answer without splits
  Clock::time_point renew_at_;
  std::chrono::nanoseconds held_until_{0};  // of the clock that goes on while the machine sleeps
  int64_t reported_ = 0;
  bool finished_ = false;
  bool cancelled_ = false;
  bool fenced_ = false;
  arrow::Status status_;
  std::thread thread_;
};

}  // namespace flightbridge::batch
