// One consumer group reading one feed: the state of its epoch, and who holds which split.
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <set>
#include <string>
#include <unordered_map>
#include <vector>

#include <arrow/result.h>
#include <arrow/status.h>

#include "flightbridge/proto/commands.h"
#include "plan/rows.h"
#include "plan/splits.h"

namespace flightbridge::lease {

// Monotonic: a wall clock that jumps ends no lease.
using Clock = std::chrono::steady_clock;
using Time = Clock::time_point;

// Readers of one group; each has a handful of splits.
inline constexpr size_t kMaxHolders = 4096;

// No I/O and no clock of its own: every call says what time it is. Not thread-safe.
//
// A holder's lease covers all its splits. It ends when no call came for the holder's timeout; its
// splits are then free again, and every later call with its token is FAILED_PRECONDITION.
class Group {
 public:
  Group(std::string name, std::string feed, uint64_t fingerprint,
        std::shared_ptr<const plan::FeedRows> rows, const plan::SplitSpec& spec, int64_t epoch,
        Time now);

  // What the first reader of a group said, and every other must say too.
  arrow::Status CheckSpec(const plan::SplitSpec& spec) const;
  arrow::Result<proto::AcquireSplitsResult> Acquire(const proto::AcquireSplits& request, Time now);
  arrow::Status Renew(const proto::RenewLease& request, Time now);
  arrow::Status Release(const proto::ReleaseSplits& request, Time now);

  void Expire(Time now);
  uint64_t fingerprint() const { return fingerprint_; }
  int64_t num_splits() const { return order_.size(); }
  size_t num_holders() const { return holders_.size(); }
  Time last_used() const { return last_used_; }

 private:
  enum class State : uint8_t { kFree, kLeased, kDone };
  struct Split {
    State state = State::kFree;
    uint64_t by = 0;     // holder
    int64_t cursor = 0;  // rows handed out by holders that left, or by the holder before a resume
  };
  struct Holder {
    uint64_t token = 0;
    uint64_t sequence = 0;
    int64_t epoch = 0;  // that it reads
    Clock::duration timeout{};
    Time deadline;
    std::set<int64_t> held;
  };

  arrow::Result<Holder*> Find(uint64_t holder, uint64_t token);
  arrow::Status Join(const proto::AcquireSplits& request, Time now);
  // False where a restored reader has to wait until others have gone.
  arrow::Result<bool> CheckEpoch(const proto::AcquireSplits& request, Time now);
  arrow::Result<bool> GoBack(const proto::AcquireSplits& request);
  arrow::Status Resume(uint64_t id, Holder* holder, const proto::ResumeLease& resume);
  void StartEpoch(int64_t epoch);
  void Touch(Holder* holder, Time now);
  void Remove(uint64_t holder);
  void Free(int64_t split);
  void Lease(int64_t split, uint64_t id, Holder* holder);
  void Complete(int64_t split, uint64_t id);
  int64_t NextFree();  // -1: none
  proto::AcquiredSplit Describe(int64_t split) const;
  bool epoch_done() const { return done_ == order_.size(); }
  std::string Name() const;

  const std::string name_;
  const std::string feed_;
  const uint64_t fingerprint_;
  const std::shared_ptr<const plan::FeedRows> rows_;
  const plan::SplitSpec spec_;
  int64_t epoch_;
  plan::SplitOrder order_;
  std::vector<Split> splits_;
  std::set<int64_t> returned_;  // free ones before next_
  int64_t next_ = 0;            // every split from here on was never given out, or is done
  int64_t done_ = 0;
  std::vector<Split> last_splits_;  // of the epoch before, for those restored into it; or empty
  bool fresh_ = true;               // nobody joined yet
  Time recovered_;  // nothing is given out before: others may still say what they completed
  Time last_used_;  // by anyone
  Time last_read_;  // by a reader of epoch_
  std::unordered_map<uint64_t, Holder> holders_;
};

}  // namespace flightbridge::lease
