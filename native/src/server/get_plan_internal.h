// What a ticket asks for, checked against the feed as it is committed now.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <arrow/result.h>
#include <arrow/type.h>

#include "feed/feed_store.h"
#include "feed/row_picker.h"
#include "flightbridge/error.h"
#include "server/auth.h"
#include "server/service_state_internal.h"

namespace flightbridge::server {

// Rows [begin, end) of one partition.
struct PlannedRange {
  std::shared_ptr<const feed::Partition> partition;
  int64_t begin = 0;
  int64_t end = 0;

  bool whole() const { return begin == 0 && end == partition->rows; }
};

struct GetPlan {
  std::shared_ptr<const feed::Snapshot> snapshot;
  std::shared_ptr<arrow::Schema> schema;  // of what is sent
  std::vector<int> columns;               // into the feed's schema; empty: all, in its order
  std::vector<PlannedRange> ranges;
  std::vector<feed::PickedRows> picks;   // in place of ranges
  std::optional<proto::RowOrder> order;  // in place of both
};

// INVALID_ARGUMENT for bytes that are no GetTicket and for rows outside the partition, NOT_FOUND
// for a feed, partition or column that is not there, FAILED_PRECONDITION for a replaced feed,
// PERMISSION_DENIED without the scope read on the feed. Where the ticket may be of a commit that
// only the feed's home server knows, asks it.
arrow::Result<GetPlan> PlanGet(ServiceState* state, const Caller& caller, std::string_view ticket);

// What `find`, which gives an arrow::Result, says of a feed. Where that is that there is no such
// thing, it may be of a commit that only the feed's home server knows: asks it, then finds again.
template <typename Find>
auto OrAskHome(ServiceState* state, const std::string& feed, Find&& find) -> decltype(find()) {
  auto found = find();
  const Code code = CodeOf(found.status());
  const bool outdated = code == Code::kFailedPrecondition || code == Code::kNotFound;
  if (!outdated || state->store->JobsInDoubt(feed).empty()) return found;
  ARROW_RETURN_NOT_OK(state->peers->Resolve(feed));
  return find();
}

// The places of columns in the feed's schema. NOT_FOUND for a name that is not that of one column.
arrow::Result<std::vector<int>> ResolveColumns(const feed::Snapshot& snapshot,
                                               const std::vector<std::string>& names);

}  // namespace flightbridge::server
