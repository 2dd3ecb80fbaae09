// What a get must deliver, row for row: the ticket with nothing left open in it, and the check that
// the batches which arrive are exactly those.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include <arrow/result.h>
#include <arrow/status.h>
#include <arrow/type.h>

#include "flightbridge/proto/commands.h"

namespace flightbridge::client {

// True when the rows of the ticket cannot be told without asking for the feed's partitions.
bool NeedsFeed(const proto::GetTicket& ticket);

// The rows that a resolved ticket is for.
int64_t CountRows(const proto::GetTicket& resolved);

// Replaces "all partitions" and "to the end" by numbers and pins the feed's content. Ranges
// without rows are dropped. INVALID_ARGUMENT for a range outside its partition, NOT_FOUND for a
// partition that is not there, FAILED_PRECONDITION when the ticket is for other content.
arrow::Result<proto::GetTicket> ResolveTicket(const proto::GetTicket& ticket,
                                              const proto::FeedInfo& feed);

// Indices of the ticket's columns in the feed's schema, in the ticket's order; empty for all.
// NOT_FOUND names the column and those that there are.
arrow::Result<std::vector<int>> ResolveColumns(const proto::GetTicket& ticket,
                                               const arrow::Schema& schema);
std::shared_ptr<arrow::Schema> SelectFields(const std::shared_ptr<arrow::Schema>& schema,
                                            const std::vector<int>& columns);

// Follows a stream through the ranges of a resolved ticket. No I/O.
class RowCursor {
 public:
  explicit RowCursor(const proto::GetTicket& resolved);

  // The next batch: DATA_LOSS unless it starts where the one before ended. Rows of picks or of
  // an order are counted from the stream's first, and belong to partition 0.
  arrow::Status Advance(int64_t partition, int64_t row_begin, int64_t rows);
  // Every row has come. A ticket for what remains would then be one for the whole feed.
  bool done() const { return range_ == ranges_.size(); }
  // The ticket for what has not come yet. Another stream goes on with it from here on.
  proto::GetTicket Remaining(proto::GetTicket resolved);
  // The end of the stream: DATA_LOSS unless every row came.
  arrow::Status CheckEnd() const;

 private:
  std::string feed_;
  std::vector<proto::RowRange> ranges_;
  size_t range_ = 0;
  int64_t row_ = 0;           // next row of ranges_[range_]
  int64_t stream_begin_ = 0;  // of picks and orders: rows that came in streams before this one
};

}  // namespace flightbridge::client
