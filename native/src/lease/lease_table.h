// Who reads what under dynamic sharding: the groups of one server. Lives in memory: after a restart
// readers join again and say what they completed.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <utility>

#include <arrow/result.h>
#include <arrow/status.h>

#include "flightbridge/export.h"
#include "flightbridge/proto/commands.h"
#include "lease/group.h"

namespace flightbridge::lease {

struct LeaseLimits {
  size_t max_groups = 4096;
  int64_t max_splits = int64_t{1} << 22;  // of all groups; each costs about 24 bytes
  Clock::duration keep_idle = std::chrono::hours(24);
};

// The feed as it is now. `rows` is called only where a group begins.
struct FeedContent {
  uint64_t fingerprint = 0;
  std::function<std::shared_ptr<const plan::FeedRows>()> rows;
};

// Thread-safe; blocks on nothing but its own lock. A call costs the splits it names, and the
// number of the group's readers.
class FB_EXPORT LeaseTable {
 public:
  explicit LeaseTable(std::function<Time()> now = &Clock::now, const LeaseLimits& limits = {})
      : now_(std::move(now)), limits_(limits) {}

  arrow::Result<proto::AcquireSplitsResult> Acquire(const proto::AcquireSplits& request,
                                                    const FeedContent& feed);
  arrow::Status Renew(const proto::RenewLease& request);
  arrow::Status Release(const proto::ReleaseSplits& request);

  // Readers that hold a lease now, of all groups.
  int64_t open_leases();
  size_t num_groups();

 private:
  using Key = std::pair<std::string, std::string>;  // group, feed

  arrow::Result<Group*> FindOrBegin(const proto::AcquireSplits& request, const FeedContent& feed,
                                    Time now);
  arrow::Status MakeRoom(const proto::AcquireSplits& request, int64_t splits, Time now);

  const std::function<Time()> now_;
  const LeaseLimits limits_;
  std::mutex mutex_;
  std::map<Key, Group> groups_;
};

}  // namespace flightbridge::lease
