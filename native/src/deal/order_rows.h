// The two ways to a part of a full order: out of a deal, and picked row by row from the feed.
#pragma once

#include <functional>
#include <memory>
#include <utility>
#include <vector>

#include <arrow/result.h>
#include <arrow/type.h>

#include "deal/deal.h"
#include "deal/feed_rows.h"
#include "feed/order_reader.h"
#include "feed/row_gather.h"
#include "plan/permutation.h"
#include "plan/rows.h"

namespace flightbridge::deal {

// What both read: places [begin, end) of an order, some columns.
struct OrderPart {
  std::shared_ptr<const FeedRows> rows;
  std::shared_ptr<arrow::Schema> schema;
  std::vector<int> columns;
  std::shared_ptr<const plan::Permutation> order;
  plan::Interval places;
};

// Each value from another cache line. At once, and for little.
class PickedOrder : public feed::OrderReader {
 public:
  explicit PickedOrder(OrderPart part);
  arrow::Result<std::shared_ptr<arrow::RecordBatch>> Next(
      std::chrono::milliseconds patience) override;

 private:
  OrderPart part_;
  int64_t batch_rows_;
  feed::RowGather gather_;
};

// Waits for the deal. Where that was refused memory, or gives its rows up, picks instead, if the
// feed allows for it.
class DealtOrder : public feed::OrderReader {
 public:
  // `may_pick`: the feed is in memory. `done` is called at the end.
  DealtOrder(OrderPart part, std::shared_ptr<Deal> deal, bool may_pick, std::function<void()> done);
  ~DealtOrder() override;
  arrow::Result<std::shared_ptr<arrow::RecordBatch>> Next(
      std::chrono::milliseconds patience) override;

 private:
  arrow::Result<std::shared_ptr<arrow::RecordBatch>> Take(const Buckets& buckets);
  arrow::Status Collect(const Buckets& buckets);

  OrderPart part_;  // what is left of it
  const std::shared_ptr<Deal> deal_;
  const bool may_pick_;
  const std::function<void()> done_;
  std::unique_ptr<PickedOrder> picked_;
  std::vector<const uint8_t*> found_;  // rows of the next batch
  int64_t loaded_ = -1;                // the bucket that the index is of
  BucketIndex index_;
};

}  // namespace flightbridge::deal
