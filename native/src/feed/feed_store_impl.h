// The FeedStore behind the interface. Private to feed/.
//
// Locks, always taken in this order:
//   decisions_  held across a whole commit, abort or drop, so that decisions happen one by one;
//   mutex_      guards the tables; held for moments, never across I/O.
#pragma once

#include <condition_variable>
#include <deque>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "feed/feed_store.h"
#include "feed/write_job.h"

namespace flightbridge::feed {

// What a committed job left behind, so that its commit can be repeated.
struct CommittedJob {
  proto::FeedInfo info;  // without schema_text
  std::shared_ptr<arrow::Schema> schema;
};

class FeedStoreImpl : public FeedStore, public std::enable_shared_from_this<FeedStoreImpl> {
 public:
  static constexpr size_t kRememberedJobs = 10'000;
  // Of all remembered jobs together; older results keep their totals and lose the list.
  static constexpr size_t kRememberedPartitions = 1'000'000;

  FeedStoreImpl(FeedStoreOptions options, std::shared_ptr<segment::SegmentStore> segments);
  ~FeedStoreImpl() override;
  void StartSweeper();

  arrow::Result<proto::BeginWriteResult> BeginWrite(const proto::BeginWrite& request) override;
  arrow::Result<std::unique_ptr<AttemptWriter>> OpenAttempt(
      const proto::PutCommand& command, const std::shared_ptr<arrow::Schema>& schema) override;
  arrow::Result<proto::CommitWriteResult> CommitWrite(const proto::CommitWrite& request) override;
  arrow::Status AbortWrite(const proto::AbortWrite& request) override;
  arrow::Status DropFeed(const proto::DropFeed& request) override;
  arrow::Result<std::shared_ptr<const Snapshot>> Find(const std::string& feed) const override;
  std::vector<proto::FeedInfo> List() const override;
  arrow::Result<proto::FeedInfo> Describe(const std::string& feed) const override;
  int SweepOrphans() override;
  const segment::Budget& budget() const override { return segments_->budget(); }

 private:
  using JobKey = std::pair<std::string, std::string>;  // feed, job id
  using JobPtr = std::shared_ptr<WriteJob>;

  arrow::Status Stage(const JobPtr& job, Staged staged);
  // Ends a job; its staged attempts are freed by the caller's last reference.
  arrow::Status EndJob(const JobPtr& job, JobEnd end);
  arrow::Status Explain(const std::string& feed, const arrow::Status& status) const;
  arrow::Status NotFound(const std::string& feed) const;  // under mutex_
  proto::FeedInfo InfoOf(const std::string& feed) const;  // under mutex_
  std::shared_ptr<const Snapshot> Current(const std::string& feed) const;  // under mutex_
  void Remember(const JobKey& key, const Snapshot& snapshot);              // under mutex_
  static proto::CommitWriteResult ResultOf(const CommittedJob& job);
  int64_t NowMs() const { return options_.clock_ms(); }

  FeedStoreOptions options_;
  const std::shared_ptr<segment::SegmentStore> segments_;

  std::mutex decisions_;
  mutable std::mutex mutex_;
  std::map<std::string, std::shared_ptr<const Snapshot>> feeds_;
  std::map<JobKey, JobPtr> jobs_;
  std::map<JobKey, CommittedJob> committed_;
  std::deque<JobKey> committed_order_;
  size_t remembered_partitions_ = 0;
  size_t next_to_strip_ = 0;  // index into committed_order_
  uint64_t next_serial_ = 1;

  std::mutex sweeper_mutex_;
  std::condition_variable sweeper_wakes_;
  bool stopping_ = false;
  std::thread sweeper_;
};

}  // namespace flightbridge::feed
