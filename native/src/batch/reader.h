// The reader: a feed's rows as assembled batches, sharded, shuffled, resumable, read ahead.
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include <arrow/result.h>
#include <arrow/status.h>

#include "batch/batch.h"
#include "batch/fetcher.h"
#include "batch/layout.h"
#include "batch/pipeline.h"
#include "batch/ready_queue.h"
#include "batch/slab.h"
#include "batch/source.h"
#include "flightbridge/export.h"
#include "flightbridge/proto/commands.h"
#include "plan/position.h"
#include "plan/rows.h"
#include "plan/schedule.h"
#include "plan/shard.h"

namespace flightbridge::batch {

class Follower;

// What a reader reads of the feed. Rows are those of an epoch.
struct ReaderStats {
  int64_t feed_rows = 0;
  int64_t own_rows = 0;      // of the shard
  int64_t padded_rows = 0;   // handed out a second time, so that all shards are equal
  int64_t dropped_rows = 0;  // of the shard, left out for the same reason
  // Under DYNAMIC, where no reader has rows of its own.
  int64_t splits = 0;            // of the feed
  int64_t completed_splits = 0;  // by this reader, in all epochs
  int64_t reported_splits = 0;   // of them: known to the server as done
  int64_t lost_leases = 0;       // how often the group had to be joined again
};

// Next() is for one thread at a time; Cancel(), position() and stats() for any. The destructor
// stops all threads. Batches outlive the reader.
class FB_EXPORT Reader {
 public:
  // Describes the feed and checks it, the columns and every setting; reads nothing yet.
  static arrow::Result<std::unique_ptr<Reader>> Open(const proto::ReaderSpec& spec,
                                                     ConnectFn connect, bool local,
                                                     ConnectFn connect_leases = nullptr);
  ~Reader();

  const std::vector<ColumnLayout>& layouts() const { return layouts_; }

  // Continues from `position`. Before the first Next() only.
  arrow::Status Seek(const proto::Position& position);
  // nullptr at the end of the last epoch. Errors come after every complete batch before them.
  arrow::Result<BatchPtr> Next();
  // Leaves out up to `batches` batches and says how many that were: fewer at the end only. Before
  // the first Next() that is arithmetic, except under DYNAMIC.
  arrow::Result<int64_t> Skip(int64_t batches);
  // Waits until Next() would not block, at most `timeout`; false when it still would.
  bool WaitFor(std::chrono::milliseconds timeout);
  // Of the row behind the batch that Next() returned last.
  proto::Position position() const;
  ReaderStats stats() const;
  // Tells the server that nothing before `position`, of this reader, will be read again, so that
  // rows may be released (docs/protocol.md, "Retention"). One call on a connection of its own.
  arrow::Status Confirm(const proto::Position& position);
  void Cancel();

 private:
  using Clock = std::chrono::steady_clock;

  Reader(const proto::ReaderSpec& spec, ConnectFn connect, bool local, ConnectFn connect_leases);

  bool leased() const { return spec_.policy == proto::ShardPolicy::kDynamic; }
  arrow::Status Describe();
  arrow::Status PickGeneration();
  arrow::Status DescribeSplits();
  void Start();
  std::shared_ptr<Pipeline> MakePipeline(JoinKind kind);
  plan::ScheduleSpec MakeScheduleSpec() const;
  LeaseSettings MakeLeaseSettings() const;
  int64_t BatchesAtOnce() const;
  int64_t RowBytes() const;
  int64_t RowsOfEpoch(int64_t epoch) const;
  int64_t SkipUnread(int64_t batches);

  // Under DYNAMIC; see reader_leased.cc.
  arrow::Status SeekLeased(const proto::Position& position);
  void DescribeProgress(proto::Position* position) const;
  arrow::Result<BatchPtr> NextLeased();
  bool PrepareLeased(Clock::time_point deadline);
  void Advance(const ReadyBatch& ready);
  arrow::Status Rejoin();
  std::shared_ptr<Pipeline> pipeline() const;

  const proto::ReaderSpec spec_;
  ConnectFn connect_;  // of one generation, once Describe() has found that to be read
  const ConnectFn connect_leases_;
  const int64_t connections_;
  const int64_t prefetch_bytes_;
  const size_t slabs_;
  std::unique_ptr<Follower> follower_;  // ReaderSpec.follow: does everything in place of this
  std::unique_ptr<Source> source_;      // of Open(), until the fetcher takes it
  proto::FeedInfo feed_;
  std::vector<ColumnLayout> layouts_;
  std::shared_ptr<const plan::FeedRows> rows_;
  std::shared_ptr<const plan::ShardRows> shard_;
  plan::PositionContext context_;
  std::shared_ptr<SlabPool> pool_;

  mutable std::mutex mutex_;
  int64_t epoch_ = 0;  // of position()
  int64_t cursor_ = 0;
  int64_t plan_until_ = 0;                    // epochs before this one are read by remaining_
  std::vector<proto::OrderRange> remaining_;  // of plans with other shards
  bool started_ = false;
  bool cancelled_ = false;
  std::shared_ptr<Pipeline> pipeline_;

  // Under DYNAMIC.
  SplitProgress progress_;
  ReaderStats lease_stats_;
  JoinKind first_join_ = JoinKind::kFirst;
  std::optional<arrow::Result<std::optional<ReadyBatch>>> front_;  // the caller's; not handed out
};

}  // namespace flightbridge::batch
