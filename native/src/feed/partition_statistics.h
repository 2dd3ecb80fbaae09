// The statistics of a partition's columns: made when they are first asked for, then kept while
// there is room.
#pragma once

#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <list>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <utility>
#include <vector>

#include <arrow/result.h>

#include "feed/column_bounds.h"
#include "flightbridge/proto/commands.h"
#include "segment/segment.h"

namespace flightbridge::feed {

struct Partition;
class PartitionStatistics;

// What all that are kept may take of a server's memory: a part of its limit, and counted in it. The
// ones that were kept first give way. Thread-safe.
class StatisticsRoom {
 public:
  // Of the memory limit.
  static constexpr int64_t kPart = 64;

  explicit StatisticsRoom(std::shared_ptr<segment::SegmentStore> segments);
  // For more bytes of `who`. False without room: then they are not kept.
  bool Take(PartitionStatistics* who, int64_t bytes);
  // Gives back all that it has.
  void Leave(PartitionStatistics* who);
  int64_t used_bytes();

 private:
  void Drop(PartitionStatistics* who);

  const std::shared_ptr<segment::SegmentStore> segments_;
  const int64_t limit_;
  std::mutex mutex_;  // before any partition's
  int64_t used_ = 0;
  std::list<PartitionStatistics*> kept_;  // from the one that is to give way first
};

// Of one partition, which owns it. Thread-safe: one caller at a time reads rows, others wait.
class PartitionStatistics {
 public:
  using Deadline = std::chrono::steady_clock::time_point;

  explicit PartitionStatistics(std::shared_ptr<StatisticsRoom> room) : room_(std::move(room)) {}
  ~PartitionStatistics() { room_->Leave(this); }
  PartitionStatistics(const PartitionStatistics&) = delete;
  PartitionStatistics& operator=(const PartitionStatistics&) = delete;

  // Statistics of these columns of the schema, in this order. Nothing where the deadline came
  // first: the next call goes on from there. `insist`: one record batch is read in any case.
  // DATA_LOSS as Partition::Decode().
  arrow::Result<std::optional<std::vector<proto::ColumnStatistics>>> Of(
      const Partition& partition, const std::vector<int>& columns, Deadline deadline, bool insist);

 private:
  friend class StatisticsRoom;
  class Turn;
  struct Progress {
    size_t next_message = 0;
    ColumnBounds bounds;
  };
  // A tree's node, and what the texts of its bounds take beside it.
  static constexpr int64_t kColumnBytes =
      static_cast<int64_t>(sizeof(std::pair<const int, Progress>)) + 64 + int64_t{2} * 80;

  // Reads on until the deadline; in place.
  static arrow::Status Advance(const Partition& partition, std::map<int, Progress>* unfinished,
                               Deadline deadline, bool insist);
  void Keep(const std::map<int, Progress>& made);

  const std::shared_ptr<StatisticsRoom> room_;
  std::mutex mutex_;
  std::condition_variable idle_;
  bool busy_ = false;
  std::map<int, Progress> columns_;  // by place in the schema
  // The room's mutex guards these.
  int64_t bytes_ = 0;
  std::optional<std::list<PartitionStatistics*>::iterator> place_;
};

}  // namespace flightbridge::feed
