// Where the values of a partition's columns lie, so that single rows can be picked from it without
// decoding its messages each time.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <vector>

#include <arrow/array/data.h>
#include <arrow/result.h>

namespace flightbridge::feed {

struct Partition;

// One column of one record batch. Plain pointers into the partition's segments; for types that are
// not copied value by value (see row_picker.cc), and for values that lie elsewhere, the array.
struct PickColumn {
  const uint8_t* validity = nullptr;  // nullptr: no nulls
  const uint8_t* values = nullptr;    // of strings and binary: the offsets
  const uint8_t* bytes = nullptr;     // of strings and binary
  std::shared_ptr<arrow::ArrayData> array;
};

// Filled message by message as rows are picked. Thread-safe. Takes 40 bytes for each column of a
// batch; it does not keep the partition alive, which owns it.
class PickIndex {
 public:
  explicit PickIndex(size_t messages) : columns_(messages), filled_(messages) {}

  // The columns of record batch messages[i], verified as by Partition::Decode().
  arrow::Result<const PickColumn*> Columns(const Partition& partition, size_t i);

 private:
  std::mutex mutex_;  // of those who fill
  std::vector<std::unique_ptr<PickColumn[]>> columns_;
  std::vector<std::atomic<bool>> filled_;
};

}  // namespace flightbridge::feed
