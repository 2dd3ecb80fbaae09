// Values of lists, maps and structs packed into bytes, as a part of a packed row, and back.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include <arrow/array/data.h>
#include <arrow/buffer_builder.h>
#include <arrow/result.h>
#include <arrow/status.h>
#include <arrow/type.h>

#include "feed/row_gather.h"

namespace flightbridge::deal {

// Of one type, and of those that it is made of. Immutable, thread-safe.
//
// Values that follow one another are packed together: a byte that says whether any is null | if so,
// a bit for each, set where it is not | then, of fixed width: they; booleans: a bit for each; of
// strings: their lengths, 4 bytes each, and their bytes; of lists and maps: their lengths, and all
// their items, packed likewise; of lists of fixed size: their items; of structs: each field's.
class NestedCodec {
 public:
  explicit NestedCodec(std::shared_ptr<arrow::DataType> type);

  // Bytes of the values [begin, end) of an array, packed.
  int64_t SizeOf(const arrow::ArrayData& array, int64_t begin, int64_t end) const;
  // How much more they have at most when they are packed one by one, for each.
  int64_t EachBytes() const;
  // Behind the last byte written.
  uint8_t* Pack(const arrow::ArrayData& array, int64_t begin, int64_t end, uint8_t* to) const;

  // Collects packed values into one array.
  class Reader {
   public:
    explicit Reader(const NestedCodec& codec);
    // RESOURCE_EXHAUSTED without memory, and where they are more than fit one array.
    arrow::Status Read(const uint8_t* packed) { return Read(1, &packed); }
    arrow::Result<std::shared_ptr<arrow::ArrayData>> Finish();

   private:
    arrow::Status Read(int64_t count, const uint8_t** from);
    arrow::Status ReadValidity(int64_t count, const uint8_t** from);
    arrow::Status ReadBits(int64_t count, const uint8_t** from);
    // Lengths, as offsets. What they add up to.
    template <typename Offset>
    arrow::Result<int64_t> ReadLengths(int64_t count, const uint8_t** from);
    arrow::Result<int64_t> ReadLengths(int64_t count, const uint8_t** from);

    const NestedCodec& codec_;
    int64_t length_ = 0;
    int64_t nulls_ = 0;
    int64_t end_ = 0;  // the last offset
    arrow::TypedBufferBuilder<bool> validity_;
    arrow::TypedBufferBuilder<bool> bits_;
    arrow::BufferBuilder values_;  // or offsets
    arrow::BufferBuilder bytes_;   // of strings
    std::vector<Reader> children_;
  };

 private:
  enum class Kind { kBits, kFixed, kBytes, kList, kFixedList, kStruct };

  int64_t OffsetAt(const arrow::ArrayData& array, int64_t i) const;
  bool large() const { return width_ == 8; }

  std::shared_ptr<arrow::DataType> type_;
  Kind kind_ = Kind::kFixed;
  int64_t width_ = 0;  // of a value; of an offset, where there are any; items of a list
  std::vector<NestedCodec> children_;
};

}  // namespace flightbridge::deal
