#include "client/get_plan.h"

#include <algorithm>
#include <iterator>
#include <numeric>
#include <utility>

#include "flightbridge/error.h"

namespace flightbridge::client {
namespace {

arrow::Result<int64_t> PartitionRows(const proto::FeedInfo& feed, int64_t partition) {
  // Ascending, as servers describe them; a ticket may name thousands.
  const auto found =
      std::ranges::lower_bound(feed.partitions, partition, {}, &proto::PartitionInfo::partition);
  if (found != feed.partitions.end() && found->partition == partition) return found->rows;
  return Error(Code::kNotFound, "feed '", feed.feed, "' has no partition ", partition, ": it has ",
               feed.partitions.size(), " partitions");
}

arrow::Status CheckPicks(const proto::RowPicks& picks, const std::string& feed, int64_t rows) {
  int64_t row = 0;
  for (const int64_t step : picks.steps) {
    if (__builtin_add_overflow(row, step, &row) || row < 0 || row >= rows)
      return Error(Code::kInvalidArgument, "a row was picked outside of feed '", feed,
                   "' partition ", picks.partition, ", which has ", rows, " rows");
  }
  return {};
}

// Without the first `rows` of them.
std::vector<proto::RowPicks> Behind(std::vector<proto::RowPicks> picks, int64_t rows) {
  auto first = picks.begin();
  for (; first != picks.end() && rows >= std::ssize(first->steps); ++first) {
    rows -= std::ssize(first->steps);
  }
  picks.erase(picks.begin(), first);
  if (rows > 0) {
    auto& steps = picks.front().steps;
    steps[rows] = std::accumulate(steps.begin(), steps.begin() + rows + 1, int64_t{0});
    steps.erase(steps.begin(), steps.begin() + rows);
  }
  return picks;
}

}  // namespace

int64_t CountRows(const proto::GetTicket& resolved) {
  int64_t rows = 0;
  for (const proto::RowRange& range : resolved.ranges) rows += range.row_end - range.row_begin;
  for (const proto::RowPicks& picks : resolved.picks) rows += std::ssize(picks.steps);
  if (resolved.order) rows += resolved.order->end - resolved.order->begin;
  return rows;
}

bool NeedsFeed(const proto::GetTicket& ticket) {
  if (!ticket.picks.empty() || ticket.order) return ticket.feed_id == 0;
  return ticket.feed_id == 0 || ticket.ranges.empty() ||
         std::any_of(ticket.ranges.begin(), ticket.ranges.end(),
                     [](const proto::RowRange& range) { return range.row_end == 0; });
}

arrow::Result<proto::GetTicket> ResolveTicket(const proto::GetTicket& ticket,
                                              const proto::FeedInfo& feed) {
  if (feed.state != proto::FeedState::kCommitted && feed.feed_id == 0)
    return Error(Code::kNotFound, "feed '", ticket.feed,
                 "' is not committed yet: read it after its write job has been committed");
  if (ticket.feed_id != 0 && ticket.feed_id != feed.feed_id)
    return Error(Code::kFailedPrecondition, "feed '", ticket.feed,
                 "' was replaced since this ticket was made: describe the feed and read it anew");
  proto::GetTicket resolved;
  resolved.feed = ticket.feed;
  resolved.feed_id = feed.feed_id;
  resolved.columns = ticket.columns;
  if (!ticket.picks.empty() + !ticket.ranges.empty() + ticket.order.has_value() > 1)
    return Error(Code::kInvalidArgument, "the ticket for feed '", ticket.feed,
                 "' has more than one of ranges, picks and order: ask for one of them");
  if (ticket.order) {
    if (!feed.servers.empty())
      return Error(Code::kInvalidArgument, "feed '", ticket.feed,
                   "' spans several servers, none of which knows an order of all its rows: ask for "
                   "them by picks");
    resolved.order = ticket.order;
    return resolved;
  }
  for (const proto::RowPicks& picks : ticket.picks) {
    ARROW_ASSIGN_OR_RAISE(const int64_t rows, PartitionRows(feed, picks.partition));
    ARROW_RETURN_NOT_OK(CheckPicks(picks, feed.feed, rows));
    if (!picks.steps.empty()) resolved.picks.push_back(picks);
  }
  if (!ticket.picks.empty()) return resolved;
  std::vector<proto::RowRange> ranges = ticket.ranges;
  if (ranges.empty()) {
    for (const auto& info : feed.partitions) ranges.push_back({info.partition, 0, info.rows});
  }
  for (proto::RowRange range : ranges) {
    ARROW_ASSIGN_OR_RAISE(const int64_t rows, PartitionRows(feed, range.partition));
    if (range.row_end == 0) range.row_end = rows;
    if (range.row_begin < 0 || range.row_begin > range.row_end || range.row_end > rows)
      return Error(Code::kInvalidArgument, "rows ", range.row_begin, " to ", range.row_end,
                   " were asked of feed '", feed.feed, "' partition ", range.partition,
                   ", which has ", rows, " rows");
    if (range.row_begin < range.row_end) resolved.ranges.push_back(range);
  }
  return resolved;
}

arrow::Result<std::vector<int>> ResolveColumns(const proto::GetTicket& ticket,
                                               const arrow::Schema& schema) {
  std::vector<int> columns;
  for (const std::string& name : ticket.columns) {
    const std::vector<int> found = schema.GetAllFieldIndices(name);
    if (found.size() != 1) {
      std::string names;
      for (const std::string& field : schema.field_names())
        names.append(names.empty() ? "" : ", ").append(field);
      return Error(Code::kNotFound, "feed '", ticket.feed, "' has ",
                   found.empty() ? "no column '" : "more than one column '", name,
                   "'; its columns are: ", names);
    }
    columns.push_back(found.front());
  }
  return columns;
}

std::shared_ptr<arrow::Schema> SelectFields(const std::shared_ptr<arrow::Schema>& schema,
                                            const std::vector<int>& columns) {
  if (columns.empty()) return schema;
  arrow::FieldVector fields;
  for (const int column : columns) fields.push_back(schema->field(column));
  return arrow::schema(std::move(fields), schema->metadata());
}

RowCursor::RowCursor(const proto::GetTicket& resolved)
    : feed_(resolved.feed), ranges_(resolved.ranges) {
  if (!resolved.picks.empty() || resolved.order) ranges_ = {{0, 0, CountRows(resolved)}};
  if (!ranges_.empty()) row_ = ranges_.front().row_begin;
}

arrow::Status RowCursor::Advance(int64_t partition, int64_t row_begin, int64_t rows) {
  row_begin += stream_begin_;
  while (rows > 0) {
    if (range_ == ranges_.size())
      return Error(Code::kDataLoss, "feed '", feed_, "': more rows came than were asked for, from ",
                   "partition ", partition, " row ", row_begin, " on: read it again");
    const proto::RowRange& range = ranges_[range_];
    if (partition != range.partition || row_begin != row_)
      return Error(Code::kDataLoss, "feed '", feed_, "': partition ", partition, " row ", row_begin,
                   " came where partition ", range.partition, " row ", row_,
                   " was due: read it again");
    const int64_t taken = std::min(rows, range.row_end - row_);
    rows -= taken;
    row_begin += taken;
    row_ += taken;
    if (row_ == range.row_end && ++range_ < ranges_.size()) row_ = ranges_[range_].row_begin;
  }
  return arrow::Status::OK();
}

proto::GetTicket RowCursor::Remaining(proto::GetTicket resolved) {
  if (!resolved.picks.empty()) {
    stream_begin_ = done() ? ranges_.front().row_end : row_;
    resolved.picks = Behind(std::move(resolved.picks), stream_begin_);
    return resolved;
  }
  if (resolved.order) {
    stream_begin_ = done() ? ranges_.front().row_end : row_;
    resolved.order->begin += stream_begin_;
    return resolved;
  }
  resolved.ranges.assign(ranges_.begin() + static_cast<std::ptrdiff_t>(range_), ranges_.end());
  if (!resolved.ranges.empty()) resolved.ranges.front().row_begin = row_;
  return resolved;
}

arrow::Status RowCursor::CheckEnd() const {
  if (done()) return arrow::Status::OK();
  int64_t missing = ranges_[range_].row_end - row_;
  for (size_t i = range_ + 1; i < ranges_.size(); ++i)
    missing += ranges_[i].row_end - ranges_[i].row_begin;
  return Error(Code::kDataLoss, "feed '", feed_, "': the stream ended ", missing,
               " rows early, before partition ", ranges_[range_].partition, " row ", row_,
               ": read it again");
}

}  // namespace flightbridge::client
