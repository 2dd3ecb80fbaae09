#include "batch/fetcher.h"

#include <algorithm>
#include <chrono>
#include <exception>
#include <utility>

#include <arrow/record_batch.h>
#include <arrow/util/byte_size.h>

#include "common/thread.h"
#include "flightbridge/error.h"

namespace flightbridge::batch {
namespace {

constexpr std::chrono::milliseconds kReconnectPause{200};

arrow::Status Cancelled() { return Error(Code::kCancelled, "the reader was cancelled"); }

// The part of `intervals` that follows `skip` rows, at most `rows` of it.
std::vector<plan::Interval> Cut(const std::vector<plan::Interval>& intervals, int64_t skip,
                                int64_t rows) {
  std::vector<plan::Interval> out;
  for (const plan::Interval& i : intervals) {
    if (rows == 0) break;
    if (skip >= i.rows()) {
      skip -= i.rows();
      continue;
    }
    const int64_t taken = std::min(i.rows() - skip, rows);
    out.push_back({i.begin + skip, i.begin + skip + taken});
    rows -= taken;
    skip = 0;
  }
  return out;
}

}  // namespace

Fetcher::Fetcher(ConnectFn connect, std::unique_ptr<Source> first, const proto::FeedInfo& feed,
                 std::vector<ColumnLayout> layouts, std::shared_ptr<const plan::FeedRows> rows,
                 std::unique_ptr<UnitSource> units, const FetchOptions& options)
    : connect_(std::move(connect)),
      feed_(feed.feed),
      fingerprint_(feed.fingerprint),
      layouts_(std::move(layouts)),
      rows_(std::move(rows)),
      options_(options),
      source_(std::move(units)) {
  for (int64_t i = 0; i < options_.connections; ++i) {
    auto connection = std::make_unique<Connection>();
    connection->feed_id = feed.feed_id;
    if (i == 0) connection->source = std::move(first);
    connections_.push_back(std::move(connection));
  }
  for (const auto& connection : connections_) {
    threads_.push_back(StartThread(&Fetcher::Work, this, connection.get()));
  }
}

Fetcher::~Fetcher() {
  Cancel();
  for (std::thread& thread : threads_) thread.join();
}

void Fetcher::Cancel() {
  source_->Cancel();
  const std::lock_guard lock(mutex_);
  cancelled_ = true;
  for (const auto& connection : connections_) {
    if (connection->stream != nullptr) connection->stream->Cancel();
  }
  filled_.notify_all();
  drained_.notify_all();
}

arrow::Result<const plan::Unit*> Fetcher::NextUnit() {
  std::unique_lock lock(mutex_);
  if (at_front_) {
    units_.pop_front();
    at_front_ = false;
    drained_.notify_all();
  }
  filled_.wait(lock, [&] { return cancelled_ || !units_.empty() || scheduled_all_; });
  if (cancelled_) return Cancelled();
  if (units_.empty()) {
    ARROW_RETURN_NOT_OK(source_status_);
    return nullptr;
  }
  at_front_ = true;
  return &units_.front()->unit;
}

arrow::Result<std::unique_ptr<Chunk>> Fetcher::NextChunk() {
  std::unique_lock lock(mutex_);
  Active& front = *units_.front();
  filled_.wait(lock, [&] { return cancelled_ || !front.ready.empty() || front.done; });
  if (cancelled_) return Cancelled();
  if (front.ready.empty()) {
    if (!front.status.ok()) return front.status;
    return nullptr;
  }
  Ready ready = std::move(front.ready.front());
  front.ready.pop_front();
  ahead_bytes_ -= ready.bytes;
  drained_.notify_all();
  return std::move(ready.chunk);
}

void Fetcher::Work(Connection* connection) {
  while (const std::shared_ptr<Active> active = StartUnit()) {
    arrow::Status status;
    try {
      status = FetchUnit(connection, active);
    } catch (const std::exception& e) {
      status = Error(Code::kResourceExhausted, "a connection stopped: ", e.what());
    }
    const std::lock_guard lock(mutex_);
    failed_ |= !status.ok();
    active->status = std::move(status);
    active->done = true;
    filled_.notify_one();
  }
}

std::shared_ptr<Fetcher::Active> Fetcher::StartUnit() {
  const std::lock_guard turn(turn_);
  {
    std::unique_lock lock(mutex_);
    drained_.wait(lock, [&] {
      return cancelled_ || failed_ || scheduled_all_ || units_.empty() ||
             ahead_bytes_ + coming_bytes_ < options_.prefetch_bytes;
    });
    if (cancelled_ || failed_ || scheduled_all_) return nullptr;
  }
  std::optional<plan::Unit> unit;
  auto status = source_->Next().Value(&unit);  // a lease may have to be had
  const std::lock_guard lock(mutex_);
  if (!status.ok() || !unit) {
    source_status_ = std::move(status);
    scheduled_all_ = true;
    filled_.notify_one();
    drained_.notify_all();
    return nullptr;
  }
  auto active = std::make_shared<Active>();
  active->unit = *std::move(unit);
  units_.push_back(active);
  filled_.notify_one();
  return active;
}

// Fetches every row of the unit. A server that went away is asked again for the rows that are
// missing, once; rows that arrive earn another try.
arrow::Status Fetcher::FetchUnit(Connection* connection, const std::shared_ptr<Active>& active) {
  if (active->unit.rows == 0) return arrow::Status::OK();
  if (active->unit.full != nullptr && options_.orders) {
    active->order = active->unit.full->PlacesOf(active->unit.cursors);
  }
  if (active->unit.full != nullptr && !active->order) {
    active->picks =
        std::make_shared<const plan::Picks>(active->unit.full->Pick(active->unit.cursors));
  }
  int64_t received = 0;
  int64_t received_before = -1;
  for (;;) {
    arrow::Status status = Stream(connection, active, &received);
    if (CodeOf(status) != Code::kUnavailable) return status;
    if (received == active->unit.rows) return {};  // only the end was lost
    if (received == received_before) return status;
    received_before = received;
    ARROW_RETURN_NOT_OK(Reconnect(connection));
  }
}

arrow::Status Fetcher::Reconnect(Connection* connection) {
  {
    std::unique_lock lock(mutex_);
    if (drained_.wait_for(lock, kReconnectPause, [&] { return cancelled_; })) return Cancelled();
  }
  ARROW_ASSIGN_OR_RAISE(connection->source, connect_());
  ARROW_ASSIGN_OR_RAISE(const proto::FeedInfo info, connection->source->DescribeFeed());
  if (info.fingerprint != fingerprint_) {
    return Error(Code::kFailedPrecondition, "feed '", feed_,
                 "' was written again while it was read: start over");
  }
  connection->feed_id = info.feed_id;
  return arrow::Status::OK();
}

arrow::Status Fetcher::Stream(Connection* connection, const std::shared_ptr<Active>& active,
                              int64_t* received) {
  if (connection->source == nullptr) {
    ARROW_ASSIGN_OR_RAISE(connection->source, connect_());
  }
  ARROW_ASSIGN_OR_RAISE(
      const std::unique_ptr<GetStream> stream,
      connection->source->OpenGet(TicketFor(*active, *received, connection->feed_id)));
  {
    const std::lock_guard lock(mutex_);
    if (cancelled_) return Cancelled();
    connection->stream = stream.get();
  }
  arrow::Status status;
  while (status.ok() && WaitForRoom(connection, *active)) {
    auto batch = stream->Next();
    Arrived(connection);
    if (!batch.ok()) {
      status = batch.status();
    } else if (*batch == nullptr) {
      break;
    } else {
      status = Deliver(connection, **batch, active, received);
    }
  }
  {
    const std::lock_guard lock(mutex_);
    connection->stream = nullptr;
    if (cancelled_) return Cancelled();
  }
  if (status.ok() && *received < active->unit.rows) {
    return Error(Code::kDataLoss, "feed '", feed_, "': the server ended a stream after ", *received,
                 " of ", active->unit.rows, " rows");
  }
  return status;
}

// Until there is room for a batch as large as the one before; false once cancelled. Takes that
// room, or each connection would bring one more batch than there is room for.
bool Fetcher::WaitForRoom(Connection* connection, const Active& active) {
  std::unique_lock lock(mutex_);
  drained_.wait(lock, [&] {
    return cancelled_ || ahead_bytes_ + coming_bytes_ < options_.prefetch_bytes ||
           (units_.front().get() == &active && active.ready.empty());
  });
  connection->coming_bytes = connection->batch_bytes;
  coming_bytes_ += connection->coming_bytes;
  return !cancelled_;
}

void Fetcher::Arrived(Connection* connection) {
  const std::lock_guard lock(mutex_);
  coming_bytes_ -= std::exchange(connection->coming_bytes, 0);
  drained_.notify_all();  // the next one may be smaller, or none
}

arrow::Status Fetcher::Deliver(Connection* connection, const arrow::RecordBatch& batch,
                               const std::shared_ptr<Active>& active, int64_t* received) {
  if (batch.num_rows() == 0) return arrow::Status::OK();
  if (batch.num_rows() > active->unit.rows - *received) {
    return Error(Code::kDataLoss, "feed '", feed_, "': the server sent ",
                 *received + batch.num_rows(), " rows where ", active->unit.rows,
                 " were asked for");
  }
  ARROW_RETURN_NOT_OK(batch.Validate());
  ARROW_ASSIGN_OR_RAISE(const int64_t bytes, arrow::util::ReferencedBufferSize(batch));
  Ready ready;
  ARROW_ASSIGN_OR_RAISE(ready.chunk, MakeChunk(batch, layouts_));
  if (active->picks != nullptr) {
    ready.chunk->picks = active->picks;
    ready.chunk->first_pick = *received;
  } else if (active->order) {
    ready.chunk->order = active->unit.full;
    ready.chunk->first_cursor = active->unit.cursors.begin + *received;
  } else {
    ready.chunk->global = Cut(active->unit.intervals, *received, batch.num_rows());
  }
  ready.bytes = bytes;
  connection->batch_bytes = bytes;
  *received += batch.num_rows();
  const std::lock_guard lock(mutex_);
  ahead_bytes_ += ready.bytes;
  active->ready.push_back(std::move(ready));
  filled_.notify_one();
  return arrow::Status::OK();
}

proto::GetTicket Fetcher::TicketFor(const Active& active, int64_t received,
                                    uint64_t feed_id) const {
  const plan::Unit& unit = active.unit;
  proto::GetTicket ticket;
  ticket.feed = feed_;
  ticket.feed_id = feed_id;
  for (const ColumnLayout& layout : layouts_) {
    // Leaves of one column lie one behind the other.
    if (ticket.columns.empty() || ticket.columns.back() != layout.column) {
      ticket.columns.push_back(layout.column);
    }
  }
  if (active.order) {
    ticket.order = active.order;
    ticket.order->begin += received;
    return ticket;
  }
  if (active.picks != nullptr) {
    for (const auto& group : rows_->GroupRows(std::span(active.picks->rows).subspan(received))) {
      proto::RowPicks& picks = ticket.picks.emplace_back();
      picks.partition = group.partition;
      picks.steps.reserve(group.rows.size());
      int64_t before = group.first_row;
      for (const int64_t row : group.rows) picks.steps.push_back(row - std::exchange(before, row));
    }
    return ticket;
  }
  std::vector<plan::Range> ranges;
  for (const plan::Interval& rows : Cut(unit.intervals, received, unit.rows - received)) {
    rows_->AppendRanges(rows, &ranges);
  }
  for (const plan::Range& range : ranges) {
    ticket.ranges.push_back({range.partition, range.row_begin, range.row_end});
  }
  return ticket;
}

}  // namespace flightbridge::batch
