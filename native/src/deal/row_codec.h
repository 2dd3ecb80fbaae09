// Rows packed into bytes, one behind the other, and back into columns: what a row needs lies
// together, so that moving it to anywhere touches a cache line or two, whatever its columns are.
#pragma once

#include <atomic>
#include <cstdint>
#include <cstring>
#include <memory>
#include <span>
#include <vector>

#include <arrow/record_batch.h>
#include <arrow/result.h>
#include <arrow/type.h>

#include "deal/nested_codec.h"
#include "feed/row_gather.h"

namespace flightbridge::deal {

// What precedes a row that does not lie at its place. Rows of one size have the place only.
struct RowHeader {
  uint32_t place = 0;  // within its bucket
  uint32_t bytes = 0;  // of the row, this header included
};

// Which columns have nulls at all, as far as anybody saw. Each may be set by any thread.
using NullFlags = std::vector<std::atomic<bool>>;

// How rows are packed. Immutable, thread-safe.
//
// A packed row: [header] the values of fixed width, widest first | a byte for each boolean | a bit
// for each column that may be null, set where it is | the lengths of strings and of packed nested
// values, 4 bytes each | their bytes; all of it padded to a multiple of 4.
//
// Columns are of types that feed::IsDealt() says.
class RowCodec {
 public:
  // How many columns vary in size.
  static int64_t CountVarying(const arrow::Schema& schema);
  // Of the values of the first rows of a column that vary in size.
  static int64_t VaryingBytes(const arrow::DataType& type, const feed::PickColumn& column,
                              int64_t rows);

  // `schema` is of what comes out; `columns` its columns' places in the feed. `nulls`: which of
  // them may be null. `headers`: rows are preceded by one; implied where rows vary in size.
  RowCodec(std::shared_ptr<arrow::Schema> schema, std::vector<int> columns, std::vector<bool> nulls,
           bool headers);

  const std::shared_ptr<arrow::Schema>& schema() const { return schema_; }
  // All packed rows have row_bytes(); else that is the least.
  bool fixed() const { return fixed_; }
  bool headers() const { return header_bytes_ > 0; }
  int64_t row_bytes() const { return row_bytes_; }
  // Beside the values that vary in size.
  int64_t MostRowBytes() const;

  // Rows at a time.
  static constexpr int64_t kBlock = 128;
  // Packed sizes of rows [first, first + sizes.size()) of a stored record batch.
  arrow::Status Sizes(const feed::PickColumn* columns, int64_t first,
                      std::span<uint32_t> sizes) const;
  // Packs rows [first, first + to.size()), at most kBlock, each to where `to` says. `places` go
  // into the headers. `tile`: kBlock * row_bytes() bytes to work in.
  void Pack(const feed::PickColumn* columns, int64_t first, std::span<uint8_t* const> to,
            const uint32_t* places, uint8_t* tile) const;
  // Of a packed row with a header.
  RowHeader HeaderOf(const uint8_t* row) const {
    RowHeader header{0, static_cast<uint32_t>(row_bytes_)};
    std::memcpy(&header, row, header_bytes_);
    return header;
  }
  // Packed rows as a record batch, in this order; nulls only where `nulls`, by column of the
  // schema, has any. RESOURCE_EXHAUSTED without memory.
  arrow::Result<std::shared_ptr<arrow::RecordBatch>> Unpack(std::span<const uint8_t* const> rows,
                                                            const NullFlags& nulls) const;
  // Marks the columns that have nulls in this stored record batch.
  void MarkNulls(const feed::PickColumn* columns, NullFlags* nulls) const;

 private:
  struct Column {
    feed::PickKind kind = feed::PickKind::kFixed;
    int64_t width = 0;   // in the packed row
    int64_t offset = 0;  // of its value, or of its length
    int index = 0;       // in the feed
    int null_bit = -1;   // none: no nulls, or in the nested value
    std::shared_ptr<const NestedCodec> nested;
  };

  void PackFixed(const Column& column, const feed::PickColumn& from, int64_t first, size_t rows,
                 uint8_t* tile) const;
  arrow::Result<std::shared_ptr<arrow::ArrayData>> UnpackVarying(
      const Column& column, std::span<const uint8_t* const> rows,
      std::vector<uint32_t>* tails) const;
  template <typename Offset>
  arrow::Result<std::shared_ptr<arrow::ArrayData>> UnpackBytes(const Column& column,
                                                               std::span<const uint8_t* const> rows,
                                                               std::vector<uint32_t>* tails) const;
  arrow::Result<std::shared_ptr<arrow::Buffer>> UnpackValidity(const Column& column,
                                                               std::span<const uint8_t* const> rows,
                                                               int64_t* null_count) const;

  const std::shared_ptr<arrow::Schema> schema_;
  std::vector<Column> columns_;  // as in the schema
  std::vector<size_t> varying_;  // of them, those that vary in size
  bool fixed_ = true;
  int64_t header_bytes_ = 0;
  int64_t nulls_at_ = 0;
  int64_t null_bytes_ = 0;
  int64_t row_bytes_ = 0;
};

}  // namespace flightbridge::deal
