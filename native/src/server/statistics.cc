#include "server/statistics_internal.h"

#include <algorithm>
#include <chrono>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "feed/partition_statistics.h"
#include "flightbridge/error.h"
#include "server/get_plan_internal.h"

namespace flightbridge::server {
namespace {

// A server that stops waits for calls, and they hold a stream's place.
constexpr int64_t kLongestMs = 10'000;
// Columns of partitions in one answer: about 10 MiB where all have long strings.
constexpr int64_t kMostEntries = 50'000;

arrow::Result<std::shared_ptr<const feed::Snapshot>> Find(ServiceState* state,
                                                          const proto::FeedStatistics& request) {
  ARROW_ASSIGN_OR_RAISE(auto snapshot, state->store->FindToRead(request.feed));
  if (request.feed_id != 0 && request.feed_id != snapshot->feed_id) {
    return Error(Code::kFailedPrecondition, "feed '", request.feed,
                 "' has been replaced since it was described (feed id ", request.feed_id, ", now ",
                 snapshot->feed_id, "): describe it again");
  }
  return snapshot;
}

arrow::Result<std::vector<int>> ColumnsOf(const feed::Snapshot& snapshot,
                                          const std::vector<std::string>& names) {
  std::set<std::string> seen;
  for (const std::string& name : names) {
    if (!seen.insert(name).second) {
      return Error(Code::kInvalidArgument, "column '", name.substr(0, 100),
                   "' is asked for more than once: name each column once");
    }
  }
  if (names.empty()) {
    return Error(Code::kInvalidArgument, "statistics of feed '", snapshot.name,
                 "' are asked for without a column: name at least one");
  }
  return ResolveColumns(snapshot, names);
}

}  // namespace

arrow::Result<proto::FeedStatisticsResult> FeedStatistics(ServiceState* state, const Caller& caller,
                                                          const proto::FeedStatistics& request) {
  const auto deadline =
      std::chrono::steady_clock::now() +
      std::chrono::milliseconds(std::clamp<int64_t>(request.timeout_ms, 0, kLongestMs));
  ARROW_RETURN_NOT_OK(feed::ValidateFeedName(request.feed));
  ARROW_RETURN_NOT_OK(Authorize(caller, Scope::kRead, request.feed));
  ARROW_ASSIGN_OR_RAISE(const StreamSlot slot, StreamSlot::Take(state));
  ARROW_ASSIGN_OR_RAISE(const auto snapshot,
                        OrAskHome(state, request.feed, [&] { return Find(state, request); }));
  ARROW_ASSIGN_OR_RAISE(const auto columns, ColumnsOf(*snapshot, request.columns));
  proto::FeedStatisticsResult result;
  result.feed_id = snapshot->feed_id;
  int64_t entries = 0;
  for (const auto& partition : snapshot->partitions) {
    if (partition->partition < request.first_partition || partition->released) continue;
    const bool full = entries > 0 && entries + std::ssize(columns) > kMostEntries;
    std::optional<std::vector<proto::ColumnStatistics>> found;
    if (!full) {
      ARROW_ASSIGN_OR_RAISE(found, partition->statistics->Of(*partition, columns, deadline,
                                                             /*insist=*/result.partitions.empty()));
    }
    if (!found) {
      result.more = true;
      result.next_partition = partition->partition;
      break;
    }
    entries += std::ssize(columns);
    result.partitions.push_back({partition->partition, partition->rows, *std::move(found)});
  }
  return result;
}

}  // namespace flightbridge::server
