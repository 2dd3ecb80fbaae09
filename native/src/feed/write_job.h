// One write job: what was begun, what is staged, and the rules by which it commits. Private to
// feed/; no locks of its own, except for what writers read.
#pragma once

#include <atomic>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "feed/attempt_writer.h"
#include "feed/feed_store.h"

namespace flightbridge::feed {

using PartitionPtr = std::shared_ptr<const Partition>;

// Why a job takes no more attempts.
enum class JobEnd { kOpen, kCommitted, kAborted, kExpired, kFeedGone };

using RowSets = std::map<int64_t, RowSet>;  // by partition

struct WriteJob {
  std::string feed;
  std::string job_id;
  proto::WriteMode mode = proto::WriteMode::kUnspecified;
  std::shared_ptr<arrow::Schema> schema;
  uint64_t schema_hash = 0;
  uint64_t serial = 0;  // tells two jobs of the same name apart in the journal
  std::optional<proto::Retention> retention;  // as asked for
  bool skip = false;                          // mode ignore, and the feed exists
  std::shared_ptr<const Span> span;           // null: the feed is on this server alone

  // Visibility PARTITION: readers see `visible` at once, under the id of the feed to come.
  bool stream = false;
  uint64_t feed_id = 0;  // mode STREAM: of the feed that it adds to
  int64_t created_unix_ms = 0;
  std::map<int64_t, PartitionPtr> visible;   // by partition; the first staged attempt of each
  std::shared_ptr<const RowSets> confirmed;  // what readers need no more once it is committed
  std::mutex publishing;  // held from the choice of a partition's attempt until readers see it

  std::optional<proto::WriterEpoch> epoch;  // mode STREAM, where its writer counts

  struct Staged {
    PartitionPtr data;
    uint64_t order = 0;  // of its record in the journal
  };
  // By (partition, attempt).
  std::map<std::pair<int64_t, int64_t>, Staged> staged;

  // Read and written by writers, which do not hold the store's lock.
  std::atomic<JobEnd> end{JobEnd::kOpen};
  std::atomic<int64_t> active_ms{0};

  // True where another server decides what becomes of the job.
  bool decided_elsewhere() const { return span != nullptr && !span->is_home(); }
  // FAILED_PRECONDITION that says how the job ended; OK while it is open.
  arrow::Status CheckOpen() const;
};

std::string_view ModeName(proto::WriteMode mode);
arrow::Status UnknownJob(const std::string& feed, const std::string& job_id);

// Whether a job of this mode and schema may write to `current` (null: no such feed).
// ALREADY_EXISTS or SCHEMA_MISMATCH.
arrow::Status CheckMode(const WriteJob& job, const Snapshot* current);

// The staged attempts that a commit names, by partition. INVALID_ARGUMENT for two attempts of one
// partition, FAILED_PRECONDITION for one that is not staged, DATA_LOSS where counts disagree.
arrow::Result<std::vector<PartitionPtr>> ChooseAttempts(
    const WriteJob& job, const std::vector<proto::AttemptRef>& attempts);

// Every visible partition of a stream job, which its commit must name exactly: by partition and
// content, since a repeated attempt with the same content counts as the first. FAILED_PRECONDITION
// names the partition that differs.
arrow::Result<std::vector<PartitionPtr>> ChooseVisible(
    const WriteJob& job, const std::vector<proto::AttemptRef>& attempts);

// The feed of a stream job as readers see it now.
std::shared_ptr<Snapshot> OpenSnapshot(const WriteJob& job);

// The feed as it is once `chosen` are committed over `current`. Append numbers the new partitions
// after the existing ones.
std::shared_ptr<Snapshot> BuildSnapshot(const WriteJob& job, const Snapshot* current,
                                        const std::vector<PartitionPtr>& chosen, uint64_t feed_id,
                                        int64_t created_unix_ms);

}  // namespace flightbridge::feed
