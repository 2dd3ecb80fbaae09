#include "client/local_streams.h"

#include <algorithm>
#include <atomic>
#include <utility>

#include <arrow/record_batch.h>
#include <arrow/type.h>

#include "client/get_plan.h"
#include "client/put_checks.h"
#include "client/slicing.h"
#include "feed/local_registry.h"
#include "feed/row_picker.h"
#include "feed/span.h"
#include "flightbridge/error.h"

namespace flightbridge::client {
namespace {

class LocalPut : public PutStream {
 public:
  LocalPut(std::shared_ptr<Connection> connection, std::unique_ptr<feed::AttemptWriter> writer,
           const proto::PutCommand& command, std::shared_ptr<arrow::Schema> schema)
      : connection_(std::move(connection)),
        writer_(std::move(writer)),
        schema_(std::move(schema)),
        name_(PutName(command.feed, command.partition, command.attempt)) {}

  ~LocalPut() override {
    if (!connection_->owner().is_this()) (void)writer_.release();  // the parent's segments
  }

  arrow::Status Write(const arrow::RecordBatch& batch) override {
    ARROW_RETURN_NOT_OK(CheckWritable());
    ARROW_RETURN_NOT_OK(CheckBatchSchema(*schema_, batch));
    // The same check and the same pieces as on the way through the server.
    if (const auto valid = batch.ValidateFull(); !valid.ok())
      return Error(Code::kInvalidArgument, "putting ", name_, ": the batch is invalid (",
                   valid.message(), "): run its validate(full=True) where it is made");
    ARROW_ASSIGN_OR_RAISE(const auto slices, SliceForSending(batch));
    for (const auto& slice : slices) {
      if (const auto status = writer_->Append(*slice, std::nullopt); !status.ok()) {
        writer_.reset();
        failure_ = status;
        return status;
      }
    }
    return arrow::Status::OK();
  }

  arrow::Result<proto::PutResult> Finish() override {
    ARROW_RETURN_NOT_OK(CheckWritable());
    const auto writer = std::move(writer_);
    return writer->Finish(std::nullopt);
  }

  void Abort() override {
    if (connection_->owner().is_this()) writer_.reset();
  }

 private:
  arrow::Status CheckWritable() const {
    ARROW_RETURN_NOT_OK(connection_->owner().Check());
    if (!failure_.ok()) return failure_;
    if (writer_ == nullptr) return PutIsOver(name_);
    return FindStore(*connection_).status();
  }

  const std::shared_ptr<Connection> connection_;
  std::unique_ptr<feed::AttemptWriter> writer_;
  const std::shared_ptr<arrow::Schema> schema_;
  const std::string name_;
  arrow::Status failure_;
};

class LocalGet : public GetStream {
 public:
  LocalGet(std::shared_ptr<Connection> connection, std::shared_ptr<const feed::Snapshot> snapshot,
           std::vector<proto::RowRange> ranges, std::vector<int> columns)
      : connection_(std::move(connection)),
        snapshot_(std::move(snapshot)),
        ranges_(std::move(ranges)),
        columns_(std::move(columns)),
        schema_(SelectFields(snapshot_->schema, columns_)) {}

  arrow::Result<std::shared_ptr<arrow::Schema>> schema() override { return schema_; }

  arrow::Result<std::shared_ptr<arrow::RecordBatch>> Next() override {
    ARROW_RETURN_NOT_OK(connection_->owner().Check());
    if (cancelled_)
      return Error(Code::kCancelled, "getting feed '", snapshot_->name, "' was cancelled");
    if (range_ == ranges_.size()) return nullptr;
    const proto::RowRange& range = ranges_[range_];
    if (partition_ == nullptr) {
      ARROW_ASSIGN_OR_RAISE(partition_, snapshot_->Find(range.partition));
      row_ = range.row_begin;
    }
    const size_t index = partition_->FindBatch(row_);
    const int64_t first = partition_->messages[index].row_begin;
    ARROW_ASSIGN_OR_RAISE(auto batch, partition_->Decode(index));
    const int64_t end = std::min(range.row_end, first + batch->num_rows());
    if (row_ != first || end != first + batch->num_rows())
      batch = batch->Slice(row_ - first, end - row_);
    row_ = end;
    if (row_ == range.row_end) {
      partition_.reset();
      ++range_;
    }
    return columns_.empty() ? batch : Select(*batch);
  }

  void Cancel() override { cancelled_ = true; }

 private:
  std::shared_ptr<arrow::RecordBatch> Select(const arrow::RecordBatch& batch) const {
    std::vector<std::shared_ptr<arrow::ArrayData>> data;
    for (const int column : columns_) data.push_back(batch.column_data(column));
    return arrow::RecordBatch::Make(schema_, batch.num_rows(), std::move(data));
  }

  const std::shared_ptr<Connection> connection_;
  const std::shared_ptr<const feed::Snapshot> snapshot_;
  const std::vector<proto::RowRange> ranges_;  // none empty
  const std::vector<int> columns_;             // empty: all
  const std::shared_ptr<arrow::Schema> schema_;
  std::shared_ptr<const feed::Partition> partition_;  // of ranges_[range_], once begun
  size_t range_ = 0;
  int64_t row_ = 0;
  std::atomic<bool> cancelled_ = false;
};

// Batches are new ones.
class LocalPickGet : public GetStream {
 public:
  LocalPickGet(std::shared_ptr<Connection> connection,
               std::shared_ptr<const feed::Snapshot> snapshot, std::vector<int> columns,
               std::vector<feed::PickedRows> picks)
      : connection_(std::move(connection)),
        snapshot_(std::move(snapshot)),
        schema_(SelectFields(snapshot_->schema, columns)),
        picker_(schema_, std::move(columns), std::move(picks)) {}

  arrow::Result<std::shared_ptr<arrow::Schema>> schema() override { return schema_; }

  arrow::Result<std::shared_ptr<arrow::RecordBatch>> Next() override {
    ARROW_RETURN_NOT_OK(connection_->owner().Check());
    if (cancelled_)
      return Error(Code::kCancelled, "getting feed '", snapshot_->name, "' was cancelled");
    return picker_.Next();
  }

  void Cancel() override { cancelled_ = true; }

 private:
  const std::shared_ptr<Connection> connection_;
  const std::shared_ptr<const feed::Snapshot> snapshot_;
  const std::shared_ptr<arrow::Schema> schema_;
  feed::RowPicker picker_;
  std::atomic<bool> cancelled_ = false;
};

// Waits for the server to have put the rows into order.
class LocalOrderGet : public GetStream {
 public:
  LocalOrderGet(std::shared_ptr<Connection> connection, std::string feed,
                std::shared_ptr<arrow::Schema> schema, std::unique_ptr<feed::OrderReader> rows)
      : connection_(std::move(connection)),
        feed_(std::move(feed)),
        schema_(std::move(schema)),
        rows_(std::move(rows)) {}

  arrow::Result<std::shared_ptr<arrow::Schema>> schema() override { return schema_; }

  arrow::Result<std::shared_ptr<arrow::RecordBatch>> Next() override {
    constexpr std::chrono::milliseconds kLook{50};
    ARROW_RETURN_NOT_OK(connection_->owner().Check());
    for (;;) {
      if (cancelled_) return Error(Code::kCancelled, "getting feed '", feed_, "' was cancelled");
      ARROW_ASSIGN_OR_RAISE(auto batch, rows_->Next(kLook));
      if (batch == nullptr || batch->num_rows() > 0) return batch;
    }
  }

  void Cancel() override { cancelled_ = true; }

 private:
  const std::shared_ptr<Connection> connection_;
  const std::string feed_;
  const std::shared_ptr<arrow::Schema> schema_;
  const std::unique_ptr<feed::OrderReader> rows_;
  std::atomic<bool> cancelled_ = false;
};

// As much of the feed as resolving the ticket takes: what a get of some rows costs must not grow
// with the number of partitions.
arrow::Result<proto::FeedInfo> DescribeFor(const proto::GetTicket& ticket,
                                           const feed::Snapshot& snapshot) {
  if (NeedsFeed(ticket)) return snapshot.Info();
  proto::FeedInfo info;
  info.feed = snapshot.name;
  info.feed_id = snapshot.feed_id;
  info.state = proto::FeedState::kCommitted;
  if (ticket.feed_id != snapshot.feed_id) return info;  // refused whatever its ranges are
  const auto add = [&](int64_t number) -> arrow::Status {
    if (!info.partitions.empty() && info.partitions.back().partition == number) return {};
    ARROW_ASSIGN_OR_RAISE(const auto partition, snapshot.Find(number));
    info.partitions.emplace_back().partition = number;
    info.partitions.back().rows = partition->rows;
    return {};
  };
  for (const proto::RowPicks& picks : ticket.picks) ARROW_RETURN_NOT_OK(add(picks.partition));
  for (const proto::RowRange& range : ticket.ranges) ARROW_RETURN_NOT_OK(add(range.partition));
  std::ranges::sort(info.partitions, {}, &proto::PartitionInfo::partition);
  return info;
}

}  // namespace

arrow::Result<std::shared_ptr<feed::FeedStore>> FindStore(const Connection& connection) {
  ARROW_RETURN_NOT_OK(connection.owner().Check());
  if (auto store = feed::FindLocal(connection.uri())) return store;
  return Error(Code::kUnavailable, "the server at ", connection.uri(),
               ", which ran in this process, has stopped: start one with flightbridge.Server() and "
               "connect to it");
}

arrow::Result<std::unique_ptr<PutStream>> OpenLocalPut(
    std::shared_ptr<Connection> connection, const proto::PutCommand& command,
    const std::shared_ptr<arrow::Schema>& schema) {
  ARROW_ASSIGN_OR_RAISE(const auto store, FindStore(*connection));
  ARROW_ASSIGN_OR_RAISE(auto writer, store->OpenAttempt(command, schema));
  return std::make_unique<LocalPut>(std::move(connection), std::move(writer), command, schema);
}

arrow::Result<std::unique_ptr<GetStream>> OpenLocalGet(std::shared_ptr<Connection> connection,
                                                       const proto::GetTicket& ticket) {
  ARROW_ASSIGN_OR_RAISE(const auto store, FindStore(*connection));
  ARROW_ASSIGN_OR_RAISE(auto snapshot, store->FindToRead(ticket.feed));
  ARROW_RETURN_NOT_OK(feed::CheckWhole(*snapshot));
  ARROW_ASSIGN_OR_RAISE(const auto info, DescribeFor(ticket, *snapshot));
  ARROW_ASSIGN_OR_RAISE(auto resolved, ResolveTicket(ticket, info));
  ARROW_ASSIGN_OR_RAISE(auto columns, ResolveColumns(ticket, *snapshot->schema));
  if (resolved.order) {
    auto selected = SelectFields(snapshot->schema, columns);
    ARROW_ASSIGN_OR_RAISE(auto rows, feed::LocalOrder(connection->uri(), snapshot, selected,
                                                      std::move(columns), *resolved.order));
    return std::make_unique<LocalOrderGet>(std::move(connection), snapshot->name,
                                           std::move(selected), std::move(rows));
  }
  if (!resolved.picks.empty()) {
    std::vector<feed::PickedRows> picks;
    for (const proto::RowPicks& wanted : resolved.picks) {
      ARROW_ASSIGN_OR_RAISE(auto partition, snapshot->Find(wanted.partition));
      ARROW_ASSIGN_OR_RAISE(picks.emplace_back(), feed::ResolvePicks(partition, wanted));
    }
    return std::make_unique<LocalPickGet>(std::move(connection), std::move(snapshot),
                                          std::move(columns), std::move(picks));
  }
  return std::make_unique<LocalGet>(std::move(connection), std::move(snapshot),
                                    std::move(resolved.ranges), std::move(columns));
}

}  // namespace flightbridge::client
