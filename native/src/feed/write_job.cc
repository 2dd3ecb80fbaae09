#include "feed/write_job.h"

#include <algorithm>

#include "feed/generations.h"
#include "feed/retention.h"
#include "feed/schema_rules.h"
#include "flightbridge/error.h"

namespace flightbridge::feed {

std::string_view ModeName(proto::WriteMode mode) {
  switch (mode) {
    case proto::WriteMode::kErrorIfExists: return "errorifexists";
    case proto::WriteMode::kAppend: return "append";
    case proto::WriteMode::kOverwrite: return "overwrite";
    case proto::WriteMode::kIgnore: return "ignore";
    case proto::WriteMode::kStream: return "stream";
    default: return "unspecified";
  }
}

arrow::Status UnknownJob(const std::string& feed, const std::string& job_id) {
  return Error(
      Code::kFailedPrecondition, "feed '", feed, "': write job '", job_id,
      "' is not open (never begun, aborted, expired, or of a feed that was dropped, overwritten "
      "or ended since): begin a new one");
}

arrow::Status WriteJob::CheckOpen() const {
  const char* how = nullptr;
  switch (end.load(std::memory_order_acquire)) {
    case JobEnd::kOpen: return {};
    case JobEnd::kCommitted: how = "is committed already"; break;
    case JobEnd::kAborted: how = "was aborted"; break;
    case JobEnd::kExpired: how = "expired without activity and was aborted"; break;
    case JobEnd::kFeedGone: how = "is over: its feed was dropped, overwritten or ended"; break;
  }
  return Error(Code::kFailedPrecondition, "feed '", feed, "': write job '", job_id, "' ", how,
               ": begin a new one");
}

arrow::Status CheckMode(const WriteJob& job, const Snapshot* current) {
  if (current == nullptr) return {};
  if (job.mode == proto::WriteMode::kErrorIfExists) {
    return Error(Code::kAlreadyExists, "feed '", job.feed, "' exists with ", current->rows,
                 " rows: drop it, or write with mode overwrite, append or ignore");
  }
  if (job.mode == proto::WriteMode::kStream) return CheckNextGeneration(job, *current);
  if (job.mode != proto::WriteMode::kAppend) return {};
  if (current->streaming) {
    return Error(Code::kFailedPrecondition, "cannot append to feed '", job.feed,
                 "': it is written with mode stream, generation by generation; write with mode "
                 "stream, or overwrite it");
  }
  const std::string difference =
      SchemaDifference(*job.schema, "in this write", *current->schema, "in the feed");
  if (difference.empty()) return {};
  return Error(Code::kSchemaMismatch, "cannot append to feed '", job.feed, "': ", difference,
               "; cast the columns, or write with mode overwrite");
}

arrow::Result<std::vector<PartitionPtr>> ChooseAttempts(
    const WriteJob& job, const std::vector<proto::AttemptRef>& attempts) {
  std::map<int64_t, const proto::AttemptRef*> by_partition;
  std::vector<PartitionPtr> chosen;
  const auto name = [&](const proto::AttemptRef& ref) {
    return "feed '" + job.feed + "', partition " + std::to_string(ref.partition) + ", attempt " +
           std::to_string(ref.attempt);
  };
  for (const proto::AttemptRef& ref : attempts) {
    if (const auto [at, inserted] = by_partition.emplace(ref.partition, &ref); !inserted) {
      return Error(Code::kInvalidArgument, "the commit of write job '", job.job_id,
                   "' names attempts ", at->second->attempt, " and ", ref.attempt,
                   " for partition ", ref.partition, " of feed '", job.feed,
                   "': exactly one may be committed");
    }
  }
  for (const auto& [partition, ref] : by_partition) {
    const auto at = job.staged.find({ref->partition, ref->attempt});
    if (at == job.staged.end()) {
      return Error(Code::kFailedPrecondition, name(*ref), " is not staged in write job '",
                   job.job_id, "': write it to its end before the commit");
    }
    const Partition& have = *at->second.data;
    if (have.rows != ref->rows || have.batches != ref->batches || have.crc32c != ref->crc32c) {
      return Error(Code::kDataLoss, name(*ref), ": the commit names ", ref->rows, " rows in ",
                   ref->batches, " batches with checksum ", ref->crc32c, ", staged are ", have.rows,
                   " rows in ", have.batches, " batches with checksum ", have.crc32c,
                   ": write the partition again");
    }
    chosen.push_back(at->second.data);
  }
  return chosen;
}

arrow::Result<std::vector<PartitionPtr>> ChooseVisible(
    const WriteJob& job, const std::vector<proto::AttemptRef>& attempts) {
  const auto refused = [&](int64_t partition, std::string_view what) {
    return Error(Code::kFailedPrecondition, "feed '", job.feed, "', partition ", partition,
                 " of write job '", job.job_id, "' ", what,
                 ": its partitions are visible already, and the commit must name exactly those; "
                 "abort the job to take them back");
  };
  std::map<int64_t, const proto::AttemptRef*> named;
  for (const proto::AttemptRef& ref : attempts) {
    if (!named.emplace(ref.partition, &ref).second) {
      return refused(ref.partition, "is named twice by the commit");
    }
    const auto at = job.visible.find(ref.partition);
    if (at == job.visible.end()) return refused(ref.partition, "is named and was never staged");
    const Partition& have = *at->second;
    if (have.rows != ref.rows || have.batches != ref.batches || have.crc32c != ref.crc32c) {
      return refused(ref.partition, "is visible with another content than the commit names");
    }
  }
  std::vector<PartitionPtr> chosen;
  for (const auto& [partition, data] : job.visible) {
    if (!named.contains(partition)) return refused(partition, "is visible and is not named");
    chosen.push_back(data);
  }
  return chosen;
}

std::shared_ptr<Snapshot> OpenSnapshot(const WriteJob& job) {
  auto snapshot = std::make_shared<Snapshot>();
  snapshot->name = job.feed;
  snapshot->open = true;
  snapshot->feed_id = job.feed_id;
  snapshot->created_unix_ms = job.created_unix_ms;
  snapshot->schema = job.schema;
  snapshot->retention = RetentionOf(job, nullptr);
  snapshot->confirmed = job.confirmed;
  snapshot->partitions.reserve(job.visible.size());
  for (const auto& [number, partition] : job.visible) {
    snapshot->partitions.push_back(partition);
    snapshot->rows += partition->rows;
    snapshot->bytes += partition->bytes;
  }
  snapshot->schema_hash = job.schema_hash;
  snapshot->fingerprint = Fingerprint(snapshot->schema_hash, snapshot->partitions);
  ChainGenerations(snapshot.get());
  return snapshot;
}

std::shared_ptr<Snapshot> BuildSnapshot(const WriteJob& job, const Snapshot* current,
                                        const std::vector<PartitionPtr>& chosen, uint64_t feed_id,
                                        int64_t created_unix_ms) {
  auto snapshot = std::make_shared<Snapshot>();
  snapshot->name = job.feed;
  snapshot->feed_id = feed_id;
  snapshot->created_unix_ms = created_unix_ms;
  snapshot->schema = job.schema;
  snapshot->retention = RetentionOf(job, current);
  int64_t next = -1;  // -1: partitions keep their numbers
  if (job.mode == proto::WriteMode::kAppend && current != nullptr) {
    snapshot->schema = current->schema;
    snapshot->partitions = current->partitions;
    next = current->partitions.empty() ? 0 : current->partitions.back()->partition + 1;
    for (PartitionPtr& partition : snapshot->partitions) {  // what it becomes has not grown
      if (partition->generation == 0) continue;
      auto plain = std::make_shared<Partition>(*partition);
      plain->generation = 0;
      partition = std::move(plain);
    }
  }
  for (const PartitionPtr& staged : chosen) {
    auto partition = std::make_shared<Partition>(*staged);
    partition->schema = snapshot->schema;
    if (next >= 0) partition->partition = next++;
    snapshot->partitions.push_back(std::move(partition));
  }
  for (const auto& partition : snapshot->partitions) {
    snapshot->rows += partition->rows;
    snapshot->bytes += partition->bytes;
  }
  snapshot->schema_hash = SchemaHash(*snapshot->schema);
  snapshot->fingerprint = Fingerprint(snapshot->schema_hash, snapshot->partitions);
  if (job.stream) ChainGenerations(snapshot.get());
  return snapshot;
}

}  // namespace flightbridge::feed
