// The rows of a feed by their number in the whole feed, where they lie here.
#pragma once

#include <algorithm>
#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

#include <arrow/result.h>
#include <arrow/type.h>

#include "feed/feed_store.h"

namespace flightbridge::deal {

// Immutable. Holds the partitions, and so their segments.
class FeedRows {
 public:
  // FAILED_PRECONDITION where some rows are not here: released, on another server, or yet to come.
  static arrow::Result<std::shared_ptr<const FeedRows>> Of(const feed::Snapshot& snapshot);

  int64_t rows() const { return starts_.back(); }
  int64_t bytes() const { return bytes_; }  // of all columns
  // Of the values that vary in size: at most, as nothing is read for it.
  int64_t varying_bytes() const { return varying_bytes_; }
  const arrow::Schema& schema() const { return *partitions_.front()->schema; }

  struct Message {
    const feed::Partition* partition = nullptr;
    size_t index = 0;       // of the message in the partition
    int64_t first_row = 0;  // its first, in the feed
    int64_t rows = 0;
  };
  // The record batch that holds a row.
  Message Find(int64_t row) const;
  // All of them, in order.
  std::vector<Message> All() const;

 private:
  std::vector<std::shared_ptr<const feed::Partition>> partitions_;  // none empty
  std::vector<int64_t> starts_ = {0};
  int64_t bytes_ = 0;
  int64_t varying_bytes_ = 0;
};

}  // namespace flightbridge::deal
