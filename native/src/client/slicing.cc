#include "client/slicing.h"

#include <algorithm>

#include <arrow/util/byte_size.h>

namespace flightbridge::client {
namespace {

int64_t RowsPerSlice(int64_t rows, int64_t bytes, int64_t slice_bytes) {
  const auto share = static_cast<double>(slice_bytes) / static_cast<double>(bytes);
  const auto wanted = static_cast<int64_t>(share * static_cast<double>(rows));
  if (wanted >= kSliceRowMultiple) return wanted / kSliceRowMultiple * kSliceRowMultiple;
  return std::max<int64_t>(wanted, 1);
}

arrow::Status Slice(const std::shared_ptr<arrow::RecordBatch>& batch, const SlicingOptions& options,
                    std::vector<std::shared_ptr<arrow::RecordBatch>>* out) {
  ARROW_ASSIGN_OR_RAISE(const int64_t bytes, arrow::util::ReferencedBufferSize(*batch));
  const int64_t rows = batch->num_rows();
  if (bytes <= options.max_message_bytes || rows == 1) {
    out->push_back(batch);
    return arrow::Status::OK();
  }
  // Rows of uneven size can leave a slice too large, which is then cut again.
  const int64_t step = std::min(RowsPerSlice(rows, bytes, options.slice_bytes), rows - 1);
  for (int64_t begin = 0; begin < rows; begin += step) {
    ARROW_RETURN_NOT_OK(Slice(batch->Slice(begin, step), options, out));
  }
  return arrow::Status::OK();
}

}  // namespace

arrow::Result<std::vector<std::shared_ptr<arrow::RecordBatch>>> SliceForSending(
    const arrow::RecordBatch& batch, const SlicingOptions& options) {
  std::vector<std::shared_ptr<arrow::RecordBatch>> slices;
  if (batch.num_rows() == 0) return slices;
  ARROW_RETURN_NOT_OK(Slice(batch.Slice(0), options, &slices));
  return slices;
}

}  // namespace flightbridge::client
