// What is left of epochs whose shards were others when they began: how a position of one shard
// count goes on under another (flightbridge/resharding.py makes such positions, docs/protocol.md
// says how).
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include <arrow/status.h>

#include "flightbridge/export.h"
#include "flightbridge/proto/commands.h"
#include "plan/order.h"
#include "plan/rows.h"
#include "plan/schedule.h"
#include "plan/shard.h"

namespace flightbridge::plan {

using proto::OrderRange;

// Rows that are left of an epoch, before anything of them is handed out again.
FB_EXPORT int64_t RemainingRows(const proto::Position& position, int64_t epoch);

// The ranges of `epoch` without their first `skip` rows, and of what follows `take` rows at most.
FB_EXPORT std::vector<OrderRange> CutRanges(const std::vector<OrderRange>& ranges, int64_t epoch,
                                            int64_t skip, int64_t take);

// The shard that a range is of. `like` has the policy and what is done about uneven shards.
FB_EXPORT ShardRows ShardOfRange(const OrderRange& range, std::shared_ptr<const FeedRows> feed,
                                 ShardSpec like);

// INVALID_ARGUMENT where a range has rows that no shard of the feed has, where epochs do not
// ascend, or where an epoch has shards of two plans. Cheap, whatever the ranges say.
FB_EXPORT arrow::Status CheckRanges(const proto::Position& position,
                                    const std::shared_ptr<const FeedRows>& feed);

// The units of ranges, epoch after epoch. Not thread-safe; pure.
class FB_EXPORT RemainderSchedule {
 public:
  // Starts before the row that follows `cursor` rows of what is left of `epoch`, and ends with
  // epoch `until` - 1, or with spec.epochs where that is sooner.
  RemainderSchedule(const ScheduleSpec& spec, std::shared_ptr<const FeedRows> feed,
                    const ShardSpec& like, std::vector<OrderRange> ranges, int64_t until,
                    int64_t epoch, int64_t cursor);

  std::optional<Unit> Next();
  // Rows that what is left of an epoch hands out behind `cursor`.
  int64_t RowsFrom(int64_t epoch, int64_t cursor) const;
  int64_t groups() const { return group_; }  // of all units so far

 private:
  bool BeginRange();

  const ScheduleSpec spec_;
  const std::shared_ptr<const FeedRows> feed_;
  const ShardSpec like_;
  const std::vector<OrderRange> ranges_;
  const int64_t until_;
  int64_t epoch_;
  std::vector<OrderRange> left_;  // of epoch_; the last one comes next
  OrderRange range_;              // that schedule_ is in
  int64_t before_ = 0;            // rows of the epoch handed out before range_
  int64_t group_ = 0;
  int64_t range_group_ = 0;  // of the first unit of range_
  std::optional<Schedule> schedule_;
};

}  // namespace flightbridge::plan
