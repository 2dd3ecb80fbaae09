#include "server/get_plan_internal.h"

#include <algorithm>
#include <string>
#include <utility>

#include "feed/span.h"
#include "flightbridge/error.h"
#include "flightbridge/proto/commands.h"

namespace flightbridge::server {
namespace {

// About half a million ranges, or a million picked rows; what a ticket costs must not depend on a
// stranger.
constexpr size_t kMaxTicketBytes = 4 << 20;

arrow::Result<proto::GetTicket> ParseTicket(std::string_view bytes) {
  if (bytes.size() > kMaxTicketBytes) {
    return Error(Code::kInvalidArgument, "the ticket has ", bytes.size(), " bytes; at most ",
                 kMaxTicketBytes, " are allowed: ask for fewer ranges at a time");
  }
  auto ticket = proto::Parse<proto::GetTicket>(bytes);
  if (!ticket.has_value() || ticket->feed.empty()) {
    return Error(Code::kInvalidArgument, "the ticket (", bytes.size(),
                 " bytes) is not an encoded flightbridge.v1.GetTicket; use the tickets that "
                 "GetFlightInfo returns");
  }
  ARROW_RETURN_NOT_OK(feed::ValidateFeedName(ticket->feed));
  return *std::move(ticket);
}

arrow::Result<PlannedRange> ResolveRange(const feed::Snapshot& snapshot,
                                         const proto::RowRange& range) {
  ARROW_ASSIGN_OR_RAISE(auto partition, snapshot.Find(range.partition));
  const int64_t end = range.row_end == 0 ? partition->rows : range.row_end;
  if (range.row_begin < 0 || end < range.row_begin || end > partition->rows) {
    return Error(Code::kInvalidArgument, "rows [", range.row_begin, ", ", end,
                 ") are outside partition ", range.partition, " of feed '", snapshot.name,
                 "', which has ", partition->rows, " rows");
  }
  return PlannedRange{std::move(partition), range.row_begin, end};
}

// As the feed is here and now.
arrow::Result<GetPlan> Plan(const feed::FeedStore& store, const proto::GetTicket& ticket) {
  GetPlan plan;
  ARROW_ASSIGN_OR_RAISE(plan.snapshot, store.FindToRead(ticket.feed));
  const feed::Snapshot& snapshot = *plan.snapshot;
  if (ticket.feed_id != 0 && ticket.feed_id != snapshot.feed_id) {
    return Error(Code::kFailedPrecondition, "feed '", ticket.feed,
                 "' has been replaced since this ticket was made (feed id ", ticket.feed_id,
                 ", now ", snapshot.feed_id, "): call GetFlightInfo again");
  }
  ARROW_ASSIGN_OR_RAISE(plan.columns, ResolveColumns(snapshot, ticket.columns));
  plan.schema = snapshot.schema;
  if (!plan.columns.empty()) {
    std::vector<std::shared_ptr<arrow::Field>> fields;
    for (const int column : plan.columns) fields.push_back(snapshot.schema->field(column));
    plan.schema = arrow::schema(std::move(fields), snapshot.schema->metadata());
  }
  if (!ticket.picks.empty() + !ticket.ranges.empty() + ticket.order.has_value() > 1) {
    return Error(Code::kInvalidArgument, "the ticket for feed '", ticket.feed,
                 "' has more than one of ranges, picks and order: ask for one of them");
  }
  if (ticket.order) {
    plan.order = ticket.order;
    return plan;
  }
  for (const proto::RowPicks& picks : ticket.picks) {
    ARROW_ASSIGN_OR_RAISE(auto partition, snapshot.Find(picks.partition));
    ARROW_ASSIGN_OR_RAISE(plan.picks.emplace_back(),
                          feed::ResolvePicks(std::move(partition), picks));
  }
  if (ticket.ranges.empty() && ticket.picks.empty()) {
    ARROW_RETURN_NOT_OK(feed::CheckWhole(snapshot));
    for (const auto& partition : snapshot.partitions) {
      ARROW_RETURN_NOT_OK(snapshot.Find(partition->partition).status());  // it may be released
      plan.ranges.push_back({partition, 0, partition->rows});
    }
  }
  for (const proto::RowRange& range : ticket.ranges) {
    ARROW_ASSIGN_OR_RAISE(plan.ranges.emplace_back(), ResolveRange(snapshot, range));
  }
  return plan;
}

}  // namespace

arrow::Result<std::vector<int>> ResolveColumns(const feed::Snapshot& snapshot,
                                               const std::vector<std::string>& names) {
  std::vector<int> columns;
  columns.reserve(names.size());
  for (const std::string& name : names) {
    const std::vector<int> found = snapshot.schema->GetAllFieldIndices(name);
    if (found.size() == 1) {
      columns.push_back(found[0]);
      continue;
    }
    std::string all;
    for (const std::string& field : snapshot.schema->field_names()) {
      all.append(all.empty() ? "" : ", ").append(field);
    }
    return Error(Code::kNotFound, "feed '", snapshot.name, "' has ",
                 found.empty() ? "no column '" : "more than one column '", name.substr(0, 100),
                 "'; its columns are: ", all);
  }
  return columns;
}

arrow::Result<GetPlan> PlanGet(ServiceState* state, const Caller& caller, std::string_view bytes) {
  ARROW_ASSIGN_OR_RAISE(const proto::GetTicket ticket, ParseTicket(bytes));
  ARROW_RETURN_NOT_OK(Authorize(caller, Scope::kRead, ticket.feed));
  return OrAskHome(state, ticket.feed, [&] { return Plan(*state->store, ticket); });
}

}  // namespace flightbridge::server
