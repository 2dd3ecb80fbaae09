// The global row order of a feed, and its equal parts.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "flightbridge/export.h"

namespace flightbridge::plan {

// Global rows [begin, end). Global row numbers count the partitions in ascending order.
struct Interval {
  int64_t begin = 0;
  int64_t end = 0;
  int64_t rows() const { return end - begin; }
  bool operator==(const Interval&) const = default;
};

// Rows [row_begin, row_end) of a partition, as in a GetTicket.
struct Range {
  int64_t partition = 0;
  int64_t row_begin = 0;
  int64_t row_end = 0;
  int64_t rows() const { return row_end - row_begin; }
  bool operator==(const Range&) const = default;
};

struct PartitionRows {
  int64_t partition = 0;
  int64_t rows = 0;
};

// Part i of n: rows [floor(i * rows / n), floor((i + 1) * rows / n)).
FB_EXPORT Interval ShardInterval(int64_t rows, int64_t shard, int64_t num_shards);

// Maps global rows to rows of partitions. Immutable.
class FB_EXPORT FeedRows {
 public:
  FeedRows() = default;
  explicit FeedRows(std::vector<PartitionRows> partitions);  // in any order

  int64_t rows() const { return starts_.back(); }
  // Those that have rows, ascending: 0 to num_partitions() - 1 is their place, not their number.
  size_t num_partitions() const { return partitions_.size(); }
  Interval PartitionInterval(size_t place) const { return {starts_[place], starts_[place + 1]}; }
  // The ranges of `rows`, ascending; empty partitions have none.
  void AppendRanges(Interval rows, std::vector<Range>* out) const;
  // Cuts global rows where they leave a partition, for a GetTicket. None where there are no rows.
  struct RowGroup {
    int64_t partition = 0;
    int64_t first_row = 0;  // global row of the partition's first
    std::span<const int64_t> rows;
  };
  std::vector<RowGroup> GroupRows(std::span<const int64_t> rows) const;
  // The partition of a global row and the row's number in it, as a range of one row.
  Range Locate(int64_t row) const;
  // The last global row <= `row` at which a partition starts or the feed ends.
  int64_t BoundaryBefore(int64_t row) const { return starts_[IndexOf(row)]; }

 private:
  size_t IndexOf(int64_t row) const;

  std::vector<PartitionRows> partitions_;  // ascending, none empty
  std::vector<int64_t> starts_ = {0};      // global row of each one's first row, then the total
};

}  // namespace flightbridge::plan
