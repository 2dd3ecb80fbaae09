// A feed that spans several servers: where its parts are, and what its home server decides.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include <arrow/result.h>

#include "feed/write_job.h"
#include "flightbridge/proto/commands.h"

namespace flightbridge::feed {

// What a BeginWrite says of the servers; null where it names none. INVALID_ARGUMENT where the list
// is not sorted, an index is outside it, or its home is not the one that HomeOf() computes.
arrow::Result<std::shared_ptr<const Span>> SpanOf(const proto::BeginWrite& request);

// FAILED_PRECONDITION where `current`, if there is one, is on other servers than the job.
arrow::Status CheckSpan(const WriteJob& job, const Snapshot* current);

// At home: what a commit of these attempts makes of the feed. Attempts that other servers hold are
// taken at their word (their servers staged and acknowledged them), our own must be staged.
arrow::Result<proto::Decision> Decide(const WriteJob& job, const Snapshot* current,
                                      const std::vector<proto::AttemptRef>& attempts,
                                      uint64_t feed_id, int64_t created_unix_ms);

// This server's part of the feed once the decision is applied over `current` (null: none). A
// decision that skips gives `current`. FAILED_PRECONDITION where an attempt that it names is not
// staged here.
arrow::Result<std::shared_ptr<const Snapshot>> ApplyDecision(
    const WriteJob& job, std::shared_ptr<const Snapshot> current, const proto::Decision& decision);

// FAILED_PRECONDITION where parts of the feed are on other servers: it cannot be read here as a
// whole.
arrow::Status CheckWhole(const Snapshot& snapshot);

// FAILED_PRECONDITION where another server is the feed's home, which alone keeps its leases and
// what readers confirm.
arrow::Status CheckHome(const Snapshot& snapshot);

// Sets what follows from the partitions: at home those of the whole feed, else those that are here.
void SumUp(Snapshot* snapshot);

}  // namespace flightbridge::feed
