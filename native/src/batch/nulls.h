// Where the nulls of a nested column are, worked out once per record batch and only where it has
// any.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include <arrow/array.h>
#include <arrow/buffer.h>
#include <arrow/result.h>
#include <arrow/status.h>

namespace flightbridge::batch {

// Set bits are values; no buffer: all are.
struct Bitmap {
  std::shared_ptr<arrow::Buffer> bits;
  int64_t offset = 0;
};

// Collects nulls on the way from a column down to its values, so that a value counts as null where
// anything that it lies in is null. Lists are the exception: a null list becomes an empty one.
class NullsOnTheWay {
 public:
  // Of a struct, or of the values at last.
  arrow::Status Enter(const arrow::Array& array);
  arrow::Status EnterFixedList(const arrow::Array& array, int64_t width);
  // The same lists, with nothing below a null.
  arrow::Result<std::shared_ptr<arrow::Array>> EnterList(std::shared_ptr<arrow::Array> lists);

  const Bitmap& valid() const { return valid_; }

 private:
  Bitmap valid_;  // of the entries at the point reached
};

// Which rows have no null in them anywhere. `path` leads from the column to the values: structs,
// lists and, last, the values.
arrow::Result<Bitmap> WholeRows(const std::vector<std::shared_ptr<arrow::Array>>& path,
                                int64_t rows);

}  // namespace flightbridge::batch
