#include "deal/order_rows.h"

#include <algorithm>

#include "flightbridge/error.h"
#include "plan/full_order.h"

namespace flightbridge::deal {
namespace {

constexpr int64_t kBatchBytes = 1 << 20;
// Keeps every fixed-width buffer and bitmap a multiple of 64 bytes.
constexpr int64_t kRowMultiple = 512;

int64_t BatchRows(int64_t row_bytes) {
  const int64_t rows = kBatchBytes / std::max<int64_t>(row_bytes, 1);
  return std::max(kRowMultiple, rows / kRowMultiple * kRowMultiple);
}

}  // namespace

PickedOrder::PickedOrder(OrderPart part)
    : part_(std::move(part)),
      batch_rows_(BatchRows(part_.rows->bytes() / std::max<int64_t>(part_.rows->rows(), 1))),
      gather_(part_.schema, part_.columns) {}

arrow::Result<std::shared_ptr<arrow::RecordBatch>> PickedOrder::Next(
    std::chrono::milliseconds /*patience*/) {
  if (part_.places.rows() <= 0) return nullptr;
  const plan::Interval now{part_.places.begin,
                           std::min(part_.places.begin + batch_rows_, part_.places.end)};
  const plan::Picks picks = plan::PickPlaces(*part_.order, now);
  auto& slots = gather_.slots();
  slots.clear();
  std::vector<feed::RowPlace> places(picks.rows.size());
  FeedRows::Message message;
  for (size_t i = 0; i < picks.rows.size(); ++i) {
    const int64_t row = picks.rows[i];  // ascending
    if (message.partition == nullptr || row >= message.first_row + message.rows) {
      message = part_.rows->Find(row);
      ARROW_ASSIGN_OR_RAISE(slots.emplace_back(),
                            message.partition->index->Columns(*message.partition, message.index));
    }
    places[i] = {static_cast<uint32_t>(slots.size() - 1),
                 static_cast<uint32_t>(row - message.first_row)};
  }
  auto& ordered = gather_.places();
  ordered.clear();
  for (const uint32_t i : picks.order) ordered.push_back(places[i]);
  part_.places.begin = now.end;
  return gather_.Gather();
}

DealtOrder::DealtOrder(OrderPart part, std::shared_ptr<Deal> deal, bool may_pick,
                       std::function<void()> done)
    : part_(std::move(part)), deal_(std::move(deal)), may_pick_(may_pick), done_(std::move(done)) {}

DealtOrder::~DealtOrder() { done_(); }

arrow::Result<std::shared_ptr<arrow::RecordBatch>> DealtOrder::Next(
    std::chrono::milliseconds patience) {
  if (picked_ != nullptr) return picked_->Next(patience);
  if (part_.places.rows() <= 0) return nullptr;
  if (!deal_->WaitUntilOver(patience)) return arrow::RecordBatch::MakeEmpty(part_.schema);
  const auto rows = deal_->Get();
  if (rows.ok() && *rows) return Take(**rows);
  const Code code = CodeOf(rows.status());
  if (may_pick_ && (rows.ok() || code == Code::kResourceExhausted || code == Code::kCancelled)) {
    picked_ = std::make_unique<PickedOrder>(part_);
    return picked_->Next(patience);
  }
  if (!rows.ok() && code != Code::kCancelled) return rows.status();
  return Error(Code::kUnavailable,
               "the rows dealt for a full shuffle were given up, as the server stops or their feed "
               "was dropped: read again");
}

arrow::Result<std::shared_ptr<arrow::RecordBatch>> DealtOrder::Take(const Buckets& buckets) {
  found_.clear();
  ARROW_RETURN_NOT_OK(Collect(buckets));
  ARROW_ASSIGN_OR_RAISE(auto batch, buckets.Unpack(found_));
  part_.places.begin += batch->num_rows();
  deal_->Served(batch->num_rows());
  return batch;
}

// The rows of the next batch, of one bucket.
arrow::Status DealtOrder::Collect(const Buckets& buckets) {
  const BucketCut& cut = buckets.cut();
  const RowCodec& codec = buckets.codec();
  const int64_t begin = part_.places.begin;
  int64_t end = std::min(part_.places.end, begin + BatchRows(codec.row_bytes()));
  if (buckets.in_place()) {
    const uint8_t* row = buckets.space()->data() + begin * codec.row_bytes();
    for (int64_t i = begin; i < end; ++i, row += codec.row_bytes()) found_.push_back(row);
    return {};
  }
  const int64_t bucket = begin >> cut.shift;
  end = std::min(end, cut.end(bucket));
  if (loaded_ != bucket) {
    loaded_ = -1;
    ARROW_RETURN_NOT_OK(buckets.Load(bucket, &index_));
    loaded_ = bucket;
  }
  int64_t left = kBatchBytes;
  for (int64_t i = begin; i < end && (left > 0 || i == begin); ++i) {
    found_.push_back(index_.RowAt(i - cut.begin(bucket)));
    if (codec.fixed()) continue;  // as many as BatchRows() says
    left -= codec.HeaderOf(found_.back()).bytes;
  }
  return {};
}

}  // namespace flightbridge::deal
