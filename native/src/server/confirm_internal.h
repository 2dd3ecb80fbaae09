// The action ConfirmPosition: which rows a position says are needed no more.
#pragma once

#include <vector>

#include <arrow/result.h>

#include "server/service_state_internal.h"

namespace flightbridge::server {

// The rows that whoever saved the position will not read again, given that the feed is read for
// Retention.epochs epochs. Pure. POSITION_MISMATCH for a position of another feed or content,
// INVALID_ARGUMENT for one that no reader makes.
//
// Only the last epoch counts. In it a reader that does not shuffle needs nothing before its
// cursor; one that does, nothing of the windows before it, or of the places of a full order, which
// are given as rows of feed::kPlaces. Under PAD a shard repeats its first
// rows at its end, so all of them are needed until then. Under DYNAMIC these are the splits that
// the reader completed. Under OFF every reader reads all rows: only for a single one is it known
// that no other needs them.
arrow::Result<std::vector<proto::RowRange>> ConfirmedRows(const proto::Position& position,
                                                          const feed::Snapshot& snapshot);

arrow::Result<proto::ConfirmPositionResult> ConfirmPosition(ServiceState* state,
                                                            const proto::Position& position);

}  // namespace flightbridge::server
