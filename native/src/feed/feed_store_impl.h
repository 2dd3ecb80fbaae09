// The FeedStore behind the interface. Private to feed/.
//
// Locks, always taken in this order:
//   decisions_  held across a whole begin, commit, abort or drop: decisions happen one by one;
//   recording_  shared from a record's write to the change it records, exclusive by compaction;
//   mutex_      guards the tables; held for moments, never across I/O.
// With a data directory every change is on disk before it is made, and what it replaces is freed
// only after that.
#pragma once

#include <unistd.h>

#include <condition_variable>
#include <deque>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <shared_mutex>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "feed/feed_store.h"
#include "feed/partition_statistics.h"
#include "feed/write_job.h"
#include "segment/data_dir.h"
#include "segment/journal.h"

namespace flightbridge::feed {

// What a committed job left behind, so that its commit can be repeated.
struct CommittedJob {
  proto::FeedInfo info;  // without schema_text
  std::shared_ptr<arrow::Schema> schema;
  std::shared_ptr<const proto::Decision> decision;  // of a feed that spans several servers
};

// Why a feed cannot be read, and what of its data is left: kept until the feed is dropped.
struct Damage {
  arrow::Status status;
  std::vector<std::shared_ptr<segment::Segment>> held;
};

class FeedStoreImpl : public FeedStore, public std::enable_shared_from_this<FeedStoreImpl> {
 public:
  static constexpr size_t kRememberedJobs = 10'000;
  static constexpr size_t kRememberedStreams = 1'000;
  // Of all remembered jobs together; older results keep their totals and lose the list.
  static constexpr size_t kRememberedPartitions = 1'000'000;

  FeedStoreImpl(FeedStoreOptions options, std::shared_ptr<segment::SegmentStore> segments);
  ~FeedStoreImpl() override;
  // Replays the journal of the data directory and maps what is left of it.
  arrow::Status Recover(std::unique_ptr<segment::DataDirLock> lock);
  void StartSweeper();

  arrow::Result<proto::BeginWriteResult> BeginWrite(const proto::BeginWrite& request) override;
  arrow::Result<std::unique_ptr<AttemptWriter>> OpenAttempt(
      const proto::PutCommand& command, const std::shared_ptr<arrow::Schema>& schema,
      std::function<arrow::Status()> interrupted) override;
  std::optional<proto::PutResult> FindStaged(const proto::PutCommand& command) const override;
  arrow::Result<proto::CommitWriteResult> CommitWrite(const proto::CommitWrite& request) override;
  arrow::Status AbortWrite(const proto::AbortWrite& request) override;
  arrow::Status DropFeed(const proto::DropFeed& request) override;
  arrow::Result<std::shared_ptr<const Snapshot>> Find(const std::string& feed) const override;
  arrow::Result<std::shared_ptr<const Snapshot>> FindToRead(const std::string& feed) const override;
  std::vector<proto::FeedInfo> List() const override;
  arrow::Result<proto::FeedInfo> EndFeed(const proto::EndFeed& request) override;
  arrow::Result<proto::FeedInfo> Describe(const std::string& feed, int64_t after) const override;
  std::string HomeElsewhere(const std::string& feed) const override;
  std::vector<InDoubt> JobsInDoubt(const std::string& feed) const override;
  arrow::Result<proto::CommitStatusResult> CommitStatus(
      const proto::CommitStatus& question) override;
  arrow::Status Resolve(const InDoubt& asked, const proto::CommitStatusResult& answer) override;
  std::vector<RetainedPart> RetainedParts() const override;
  arrow::Result<proto::RetentionStatusResult> RetentionStatus(
      const proto::RetentionStatus& question) override;
  arrow::Status ResolveRetention(const RetainedPart& asked,
                                 const proto::RetentionStatusResult& answer) override;
  arrow::Result<proto::ConfirmPositionResult> Confirm(
      const std::string& feed, uint64_t feed_id, const std::vector<proto::RowRange>& rows) override;
  int SweepOrphans() override;
  int DropIdleFeeds() override;
  arrow::Result<proto::FeedInfo> WaitForChange(const std::string& feed, int64_t generation,
                                               std::chrono::milliseconds timeout,
                                               int64_t after) override;
  void StopWaiting() override;
  const std::shared_ptr<segment::SegmentStore>& segments() const override { return segments_; }
  const segment::Budget& budget() const override { return segments_->budget(); }
  const segment::Budget& disk_budget() const override { return segments_->disk_budget(); }

 private:
  using JobKey = std::pair<std::string, std::string>;  // feed, job id
  using JobPtr = std::shared_ptr<WriteJob>;

  // With a data directory: writes the record and waits for the disk.
  arrow::Status Record(const proto::JournalRecord& record);
  arrow::Status Stage(const JobPtr& job, PartitionPtr staged);
  // Feeds that are visible while they are written (stream_feeds.cc).
  arrow::Result<bool> VisibleAlready(const WriteJob& job, const Partition& staged) const;
  int64_t NextVisible(const WriteJob& job) const;
  void Publish(WriteJob* job);                             // under mutex_
  void EndStream(const WriteJob& job, JobEnd end);         // under mutex_
  arrow::Status CheckNoStream(const WriteJob& job) const;  // under mutex_
  void ShowStreams();
  // Feeds of mode STREAM (generation_store.cc).
  arrow::Result<proto::CommitWriteResult> CommitGeneration(
      const proto::CommitWrite& request);  // under decisions_
  // Ends the jobs of a feed of mode STREAM that is gone or ended. They are to be let go after the
  // lock. Under mutex_, and in recovery.
  std::vector<std::shared_ptr<WriteJob>> EndJobsOf(const Snapshot* gone);
  arrow::Status ReplayStreamBegin(const WriteJob& job);
  arrow::Status ReplayEndFeed(const proto::JournalEndFeed& record);
  arrow::Status CommitRecorded(const WriteJob& job, const Snapshot& snapshot, bool skip,
                               const std::vector<PartitionPtr>& chosen,
                               const proto::Decision* decision);
  // Several servers (span_store.cc, span_retention.cc): under decisions_.
  arrow::Status ResolveCommitted(const JobPtr& job, const proto::Decision& decision);

  // Recovery (recovery.cc): before any other thread knows the store, so without locks.
  arrow::Status Replay(std::string_view payload);
  arrow::Status ReplayBegin(const proto::JournalBegin& record);
  arrow::Status ReplayAttempt(const proto::JournalAttempt& record);
  arrow::Status ReplayCommit(const proto::JournalCommit& record);
  arrow::Status ReplayFeed(const proto::JournalFeed& record);
  arrow::Status ReplayDone(const proto::JournalDone& record);
  arrow::Status ReplayConfirm(const proto::JournalConfirm& record);
  arrow::Result<std::shared_ptr<arrow::Schema>> SharedSchema(const std::string& bytes);
  void MapEverything();

  // Compaction (compaction.cc): under decisions_.
  void CompactIfLarge();
  arrow::Status EmitState(const segment::Journal::Replay& emit) const;
  // Under decisions_. Nothing where the feed is gone, or has another content than `expected`.
  arrow::Status Drop(const std::string& feed, const Snapshot* expected);
  // Ends a job; its staged attempts are freed by the caller's last reference.
  arrow::Status EndJob(const JobPtr& job, JobEnd end);
  arrow::Status Explain(const std::string& feed, const arrow::Status& status) const;
  std::string LargestFeeds() const;
  // CheckMode(), and DATA_LOSS where an append would build on a damaged feed. Under mutex_.
  // RESOURCE_EXHAUSTED where `feed` would be one more than max_feeds. Under mutex_.
  arrow::Status CheckFeedCount(const std::string& feed) const;
  arrow::Status CheckTarget(const WriteJob& job, const Snapshot* current) const;
  void Use(const Snapshot& snapshot) const;  // under mutex_
  // For how long nothing here used a feed that has a Retention.ttl_ms; `snapshot` is the store's
  // own reference. Under mutex_.
  int64_t UnusedMs(const std::shared_ptr<const Snapshot>& snapshot) const;
  // At home: whether the other servers have said that they did not use it for its ttl either, all
  // of them at the same time. Under mutex_ (span_retention.cc).
  bool UnusedElsewhere(const Snapshot& snapshot) const;
  arrow::Status NotFound(const std::string& feed) const;                     // under mutex_
  proto::FeedInfo InfoOf(const std::string& feed, int64_t after = 0) const;  // under mutex_
  std::shared_ptr<const Snapshot> Current(const std::string& feed) const;    // under mutex_
  std::shared_ptr<const Snapshot> Visible(const std::string& feed) const;    // under mutex_
  void Remember(const JobKey& key, const Snapshot& snapshot,
                std::shared_ptr<const proto::Decision> decision = nullptr,
                int64_t after = 0);                       // under mutex_
  void RememberJob(const JobKey& key, CommittedJob job);  // under mutex_
  static proto::CommitWriteResult ResultOf(const CommittedJob& job);
  int64_t NowMs() const { return options_.clock_ms(); }

  FeedStoreOptions options_;
  const std::shared_ptr<segment::SegmentStore> segments_;
  const std::shared_ptr<StatisticsRoom> statistics_;
  const pid_t pid_ = getpid();
  std::unique_ptr<segment::DataDirLock> data_dir_lock_;  // null: in memory, as journal_
  std::unique_ptr<segment::Journal> journal_;
  int64_t compact_at_bytes_ = 0;
  std::map<std::string, std::shared_ptr<arrow::Schema>> replayed_schemas_;  // by their bytes

  std::mutex decisions_;
  std::shared_mutex recording_;
  std::mutex ordering_;  // makes the order of attempts that of their records
  uint64_t next_order_ = 1;
  mutable std::mutex mutex_;
  std::map<std::string, std::shared_ptr<const Snapshot>> feeds_;
  // When feeds that have a Retention.ttl_ms were last used, in NowMs().
  mutable std::map<std::string, int64_t> used_ms_;
  // What the other servers of such a feed have said of that, at its home: in this server's time.
  struct PartUse {
    int64_t used_ms = 0;   // the last use of the part
    int64_t known_ms = 0;  // when that was said: whether it was used since is not known
  };
  struct PartUses {
    uint64_t feed_id = 0;
    std::map<uint32_t, PartUse> by_server;  // index into Span::servers
  };
  std::map<std::string, PartUses> part_uses_;
  // Committed feeds that cannot be read, by name: found out when their segments were mapped.
  std::map<std::string, Damage> damaged_;
  // Feeds of open stream jobs, and why those that ended without a commit are gone.
  struct StreamFeed {
    std::shared_ptr<const Snapshot> snapshot;
    std::string job_id;
  };
  std::map<std::string, StreamFeed> streams_;
  std::map<std::string, arrow::Status> ended_streams_;
  std::condition_variable changed_;  // feeds_, streams_ or stopping_
  bool stopping_ = false;
  std::map<JobKey, JobPtr> jobs_;
  std::map<JobKey, CommittedJob> committed_;
  std::deque<JobKey> committed_order_;
  size_t remembered_partitions_ = 0;
  size_t next_to_strip_ = 0;  // index into committed_order_
  uint64_t next_serial_ = 1;

  // On the heap, because a forked child must leave it alone: the thread waits there forever.
  struct Sweeper {
    std::mutex mutex;
    std::condition_variable wakes;
    bool stopping = false;
    std::thread thread;
  };
  std::unique_ptr<Sweeper> sweeper_ = std::make_unique<Sweeper>();
};

}  // namespace flightbridge::feed
