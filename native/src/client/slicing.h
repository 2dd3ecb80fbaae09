// Cuts a record batch into the pieces that are sent: gRPC moves messages of a few MiB fastest, and
// a slower consumer can be held back between them.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include <arrow/record_batch.h>
#include <arrow/result.h>

namespace flightbridge::client {

struct SlicingOptions {
  int64_t max_message_bytes = 3 << 20;  // a batch up to this size is sent as it is
  int64_t slice_bytes = 2 << 20;        // what a larger one is cut to, about: fastest of 1 to 8 MiB
};

// Row counts that are a multiple of this keep every fixed-width buffer and bitmap of a slice a
// multiple of 64 bytes.
inline constexpr int64_t kSliceRowMultiple = 512;

// Zero-copy slices of `batch` in row order; none for a batch without rows. A piece is larger than
// max_message_bytes only where a single row is.
arrow::Result<std::vector<std::shared_ptr<arrow::RecordBatch>>> SliceForSending(
    const arrow::RecordBatch& batch, const SlicingOptions& options = {});

}  // namespace flightbridge::client
