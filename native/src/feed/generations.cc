#include "feed/generations.h"

#include <algorithm>

#include "feed/retention.h"
#include "feed/schema_rules.h"
#include "flightbridge/error.h"

namespace flightbridge::feed {
namespace {

constexpr size_t kLongestWriter = 1000;

void AddGeneration(Snapshot* snapshot, int64_t generation, const std::vector<PartitionPtr>& added) {
  int64_t rows = 0;
  for (const PartitionPtr& partition : added) rows += partition->rows;
  const uint64_t before = snapshot->generations.back().fingerprint;
  snapshot->generations.push_back({generation, rows, Fingerprint(before, added)});
}

}  // namespace

arrow::Status CheckStreamRequest(const proto::BeginWrite& request) {
  const bool stream = request.mode == proto::WriteMode::kStream;
  if (request.epoch) {
    if (!stream) {
      return Error(Code::kInvalidArgument, "feed '", request.feed, "': mode ",
                   ModeName(request.mode), " takes no epoch: leave it out, or use mode stream");
    }
    const size_t size = request.epoch->writer.size();
    if (size == 0 || size > kLongestWriter) {
      return Error(Code::kInvalidArgument, "feed '", request.feed, "': a writer of ", size,
                   " bytes is not valid: use 1 to ", kLongestWriter,
                   ", such as the id of a streaming query");
    }
    if (request.epoch->epoch < 0) {
      return Error(Code::kInvalidArgument, "feed '", request.feed, "': epoch ",
                   request.epoch->epoch, " is not valid: epochs are numbered from 0");
    }
  }
  if (!stream) return {};
  if (request.visible == proto::Visibility::kPartition) {
    return Error(Code::kInvalidArgument, "feed '", request.feed,
                 "': mode stream shows all partitions of a job at its commit: leave "
                 "visible=partition out");
  }
  if (!request.servers.empty()) {
    return Error(Code::kInvalidArgument, "feed '", request.feed,
                 "': mode stream is for feeds on one server, and this one spans ",
                 request.servers.size(), ": write to one of them");
  }
  return {};
}

arrow::Status CheckNextGeneration(const WriteJob& job, const Snapshot& current) {
  if (!current.streaming) {
    return Error(Code::kAlreadyExists, "feed '", job.feed, "' exists with ", current.rows,
                 " rows and was not written with mode stream: drop it, or stream into a feed of "
                 "another name");
  }
  if (!current.open) {
    return Error(Code::kFailedPrecondition, "feed '", job.feed, "' was ended after generation ",
                 current.last_generation(),
                 " and takes no more: drop it, or stream into a feed of another name");
  }
  const std::string difference =
      SchemaDifference(*job.schema, "in this write", *current.schema, "in the feed");
  if (!difference.empty()) {
    return Error(Code::kSchemaMismatch, "cannot add to feed '", job.feed, "': ", difference,
                 "; cast the columns, or stream into a feed of another name");
  }
  if (job.epoch && current.writers.size() >= kMostWriters &&
      !current.writers.contains(job.epoch->writer)) {
    return Error(Code::kResourceExhausted, "feed '", job.feed, "' has ", current.writers.size(),
                 " writers, and keeps the epochs of no more than that: write on under the name of "
                 "one of them, or stream into a feed of another name");
  }
  return {};
}

bool HasEpoch(const Snapshot& snapshot, const std::optional<proto::WriterEpoch>& epoch) {
  if (!epoch || !snapshot.streaming) return false;
  const auto at = snapshot.writers.find(epoch->writer);
  return at != snapshot.writers.end() && epoch->epoch <= at->second;
}

std::shared_ptr<Snapshot> NewStreamFeed(const WriteJob& job) {
  auto snapshot = std::make_shared<Snapshot>();
  snapshot->name = job.feed;
  snapshot->open = true;
  snapshot->streaming = true;
  snapshot->feed_id = job.feed_id;
  snapshot->created_unix_ms = job.created_unix_ms;
  snapshot->schema = job.schema;
  snapshot->schema_hash = job.schema_hash;
  snapshot->retention = RetentionOf(job, nullptr);
  ChainGenerations(snapshot.get());
  return snapshot;
}

std::shared_ptr<Snapshot> NextGeneration(const Snapshot& current, const WriteJob& job,
                                         const std::vector<PartitionPtr>& chosen) {
  auto snapshot = std::make_shared<Snapshot>(current);
  if (job.epoch) snapshot->writers[job.epoch->writer] = job.epoch->epoch;
  if (chosen.empty()) return snapshot;
  const int64_t generation = current.last_generation() + 1;
  int64_t next = current.partitions.empty() ? 0 : current.partitions.back()->partition + 1;
  std::vector<PartitionPtr> added;
  added.reserve(chosen.size());
  for (const PartitionPtr& staged : chosen) {
    auto partition = std::make_shared<Partition>(*staged);
    partition->schema = current.schema;
    partition->partition = next++;
    partition->generation = generation;
    snapshot->rows += partition->rows;
    snapshot->bytes += partition->bytes;
    added.push_back(std::move(partition));
  }
  snapshot->partitions.insert(snapshot->partitions.end(), added.begin(), added.end());
  AddGeneration(snapshot.get(), generation, added);
  snapshot->fingerprint = snapshot->generations.back().fingerprint;
  return snapshot;
}

std::shared_ptr<Snapshot> Ended(const Snapshot& current) {
  auto snapshot = std::make_shared<Snapshot>(current);
  snapshot->open = false;
  return snapshot;
}

void ChainGenerations(Snapshot* snapshot) {
  std::vector<PartitionPtr> ordered = snapshot->partitions;
  std::ranges::stable_sort(ordered, {}, [](const PartitionPtr& p) { return p->generation; });
  snapshot->generations = {{0, 0, Fingerprint(snapshot->schema_hash, std::vector<PartitionPtr>{})}};
  for (auto at = ordered.begin(); at != ordered.end();) {
    const int64_t generation = (*at)->generation;
    const auto end = std::find_if(
        at, ordered.end(), [&](const PartitionPtr& p) { return p->generation != generation; });
    AddGeneration(snapshot, generation, {at, end});
    at = end;
  }
  if (snapshot->streaming) snapshot->fingerprint = snapshot->generations.back().fingerprint;
}

}  // namespace flightbridge::feed
