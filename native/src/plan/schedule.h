// What a reader fetches, in which order: the endless-or-not sequence of units over all epochs.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "flightbridge/export.h"
#include "plan/full_order.h"
#include "plan/order.h"
#include "plan/random.h"
#include "plan/rows.h"
#include "plan/shard.h"

namespace flightbridge::plan {

struct ScheduleSpec {
  OrderSpec order;
  int64_t epochs = 1;  // -1: without end
  int64_t batch_size = 1;
  bool drop_remainder = false;
  int64_t unit_rows = 1 << 20;      // not shuffled, or fully: rows of a unit at most
  int64_t units_per_window = 1;     // shuffled: streams that share one window
  int64_t min_unit_rows = 1 << 16;  // shuffled: no smaller shares than this
};

// One ticket's worth of rows. Under a full order its rows are full->Pick(cursors). The units of a
// group (a shuffle window, or a single unit where nothing is shuffled) make sense only together and
// follow one another.
struct Unit {
  int64_t group = 0;
  int64_t epoch = 0;
  int64_t cursor = 0;  // rows of the epoch handed out before the group's first row that counts
  int64_t take = 0;    // rows of the group to hand out, ...
  int64_t skip = 0;    // ... after skipping these (of the permuted rows)
  int64_t rows = 0;    // of this unit
  bool group_end = true;
  int64_t split = -1;                     // under DYNAMIC: its number, ...
  int64_t split_cursor = 0;               // ... and how many rows of it were handed out before
  std::vector<Interval> intervals;        // global rows, in the order they are fetched
  std::optional<Random> shuffle;          // permutes the rows of the whole group
  std::shared_ptr<const FullOrder> full;  // where that is the order: in place of the two above
  Interval cursors;                       // of the epoch, with `full`
};

// Not thread-safe. Pure: no I/O, no clock.
class FB_EXPORT Schedule {
 public:
  // Starts before the row that follows `cursor` rows of `epoch`.
  Schedule(const ScheduleSpec& spec, std::shared_ptr<const ShardRows> shard, int64_t epoch,
           int64_t cursor);

  // nullopt at the end of the last epoch, and where an epoch would be empty.
  std::optional<Unit> Next();

  // Rows that an epoch begun at `cursor` hands out.
  int64_t RowsFrom(int64_t cursor) const;

 private:
  bool BeginEpoch();
  Unit NextPlain();
  Unit NextPicked();
  void QueueWindow();

  const ScheduleSpec spec_;
  const std::shared_ptr<const ShardRows> shard_;
  int64_t epoch_;
  int64_t cursor_;
  int64_t end_ = 0;  // cursor at which this epoch ends
  int64_t group_ = 0;
  bool begun_ = false;
  std::unique_ptr<ShuffledEpoch> shuffled_;
  std::shared_ptr<const FullOrder> full_;
  std::vector<Unit> queue_;  // rest of the window, last unit first
};

}  // namespace flightbridge::plan
