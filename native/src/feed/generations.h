// Feeds of mode STREAM: what a generation makes of a snapshot, and who may add one. Private to
// feed/.
#pragma once

#include <memory>
#include <optional>
#include <vector>

#include <arrow/status.h>

#include "feed/write_job.h"

namespace flightbridge::feed {

constexpr size_t kMostWriters = 1000;

// INVALID_ARGUMENT for an epoch that no writer has, for one in another mode than STREAM, and for
// what feeds of that mode do not have: several servers and partitions that are visible at once.
arrow::Status CheckStreamRequest(const proto::BeginWrite& request);

// Whether a job of mode STREAM may add to `current`. ALREADY_EXISTS for a feed of another mode,
// FAILED_PRECONDITION for one that is ended, SCHEMA_MISMATCH, RESOURCE_EXHAUSTED for too many
// writers.
arrow::Status CheckNextGeneration(const WriteJob& job, const Snapshot& current);

// True where the writer has committed this epoch, or one behind it.
bool HasEpoch(const Snapshot& snapshot, const std::optional<proto::WriterEpoch>& epoch);

// The feed that the first job makes: open, without rows.
std::shared_ptr<Snapshot> NewStreamFeed(const WriteJob& job);

// `current` with `chosen` as its next generation, and with the job's epoch. Where nothing is chosen
// there is no generation, but the epoch counts.
std::shared_ptr<Snapshot> NextGeneration(const Snapshot& current, const WriteJob& job,
                                         const std::vector<PartitionPtr>& chosen);

std::shared_ptr<Snapshot> Ended(const Snapshot& current);

// Sets `generations` from those of the partitions. The fingerprint of each covers those before it.
// Of a feed of mode STREAM the last one's is that of the feed.
void ChainGenerations(Snapshot* snapshot);

}  // namespace flightbridge::feed
