// How long feeds keep their rows. Private to feed/.
#pragma once

#include <memory>
#include <optional>
#include <vector>

#include <arrow/status.h>

#include "feed/feed_store.h"
#include "feed/write_job.h"

namespace flightbridge::feed {

// In place of kPlaces: of the order of one generation.
inline constexpr int64_t PlacesOf(int64_t generation) { return kPlaces - generation; }

// INVALID_ARGUMENT for values out of range.
arrow::Status CheckRetention(const proto::BeginWrite& request);
// FAILED_PRECONDITION where an append, or a generation more, asks for another retention than the
// feed has, or an append is to a feed of which rows are confirmed: readers could not tell the new
// ones from those they had.
arrow::Status CheckRetainedAppend(const WriteJob& job, const Snapshot& current);
bool SameRetention(const std::optional<proto::Retention>& a,
                   const std::optional<proto::Retention>& b);
// Of the feed that the job makes of `current`, which may be null.
proto::Retention RetentionOf(const WriteJob& job, const Snapshot* current);

// The part of `rows` that is in partitions of the snapshot, at home in those of the whole feed, and
// not confirmed yet.
std::vector<proto::JournalRows> Unconfirmed(const Snapshot& snapshot,
                                            const std::vector<proto::RowRange>& rows);
// The snapshot with these rows confirmed, and without what that releases.
std::shared_ptr<const Snapshot> WithConfirmed(const Snapshot& snapshot,
                                              const std::vector<proto::JournalRows>& rows);
std::shared_ptr<const RowSets> Joined(const RowSets* have,
                                      const std::vector<proto::JournalRows>& rows);
// What is confirmed, which may be null: nothing.
std::vector<proto::JournalRows> ConfirmedOf(const RowSets* confirmed);
// A job of visibility PARTITION takes what readers confirm before its commit with it: until then
// nothing is released, since the job may still be aborted and its attempts sent again.
std::shared_ptr<const Snapshot> WithConfirmedOf(const WriteJob& job,
                                                std::shared_ptr<const Snapshot> snapshot);
proto::ConfirmPositionResult ConfirmResult(const Snapshot& snapshot);

// What a feed has that was written without a word about it.
bool KeepsForEver(const proto::Retention& retention);
// "once", "epochs=3", "kept": for messages.
std::string NameOf(const proto::Retention& retention);

}  // namespace flightbridge::feed
