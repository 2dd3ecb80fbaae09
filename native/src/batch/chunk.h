// Record batches made ready for the gather kernels: types resolved, pointers taken, once per batch.
#pragma once

#include <cstdint>
#include <cstring>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include <arrow/buffer.h>
#include <arrow/record_batch.h>
#include <arrow/result.h>
#include <arrow/type.h>

#include "batch/layout.h"
#include "plan/full_order.h"
#include "plan/random.h"
#include "plan/rows.h"

namespace flightbridge::batch {

// What is at `from`, which need not be aligned: what came through gRPC lies wherever its message
// was cut.
template <typename T>
T Load(const T* from) {
  T value;
  std::memcpy(&value, from, sizeof(value));
  return value;
}

// A validity bitmap; `bits` is nullptr where nothing is null.
struct Validity {
  const uint8_t* bits = nullptr;
  int64_t offset = 0;
};

// The values of an array without nesting. Pointers are shifted: value 0 is the array's first.
struct Values {
  enum class Kind { kBits, kFixed, kBytes32, kBytes64, kFixedBytes, kViews };
  Kind kind = Kind::kFixed;
  int64_t item_bytes = 0;         // kFixed, kFixedBytes
  const uint8_t* data = nullptr;  // kBits: the bitmap, not shifted
  int64_t data_bytes = 0;         // that may be read at `data`; kBits, kViews: not set
  int64_t bit_offset = 0;         // kBits
  const int32_t* offsets32 = nullptr;
  const int64_t* offsets64 = nullptr;
  const arrow::BinaryViewType::c_type* views = nullptr;
  const std::shared_ptr<arrow::Buffer>* view_buffers = nullptr;

  // First byte of value i in `data`; i may be one past the last. For all kinds but kViews, kBits.
  int64_t ByteBegin(int64_t i) const {
    switch (kind) {
      case Kind::kBytes32: return Load(offsets32 + i);
      case Kind::kBytes64: return Load(offsets64 + i);
      default: return i * item_bytes;
    }
  }
};

// Where the entries of lists begin: entry i of the lists has entries [Begin(i), Begin(i + 1))
// below.
struct Level {
  const int32_t* offsets32 = nullptr;
  const int64_t* offsets64 = nullptr;
  int64_t width = 1;  // of fixed-size lists

  int64_t Begin(int64_t i) const {
    if (offsets32 != nullptr) return Load(offsets32 + i);
    if (offsets64 != nullptr) return Load(offsets64 + i);
    return i * width;
  }
};

// The parts of MLlib vectors besides their values, which are in ChunkColumn::values.
struct VectorParts {
  const int8_t* kinds = nullptr;  // of a row: 1 dense, 0 sparse
  const int32_t* sizes = nullptr;
  Level indices;
  const int32_t* index_values = nullptr;
};

// A column of strings, or of lists of values of fixed width, that has no nulls to fill: row r is
// the bytes [Begin(r) * unit, Begin(r + 1) * unit) of `data`, where `unit` is the same for all
// rows.
struct Spans {
  const int32_t* offsets32 = nullptr;  // one of the two
  const int64_t* offsets64 = nullptr;
  const uint8_t* data = nullptr;
  int64_t data_bytes = 0;

  int64_t Begin(int64_t row) const {
    return offsets32 != nullptr ? Load(offsets32 + row) : Load(offsets64 + row);
  }
};

// One leaf. Row r has the values [ValueBegin(r), ValueBegin(r + 1)).
struct ChunkColumn {
  std::vector<Level> levels;  // the outermost first; fixed-size lists next to the values not
  int64_t width = 1;          // values of an entry of the last level
  Values values;
  // Of values (of rows, where they are vectors), with all above them. Where nulls are filled.
  Validity valid;
  Validity whole_rows;  // rows without any null. Where nulls are errors.
  VectorParts vectors;

  int64_t ValueBegin(int64_t row) const {
    for (const Level& level : levels) row = level.Begin(row);
    return row * width;
  }
  // nullopt: its rows are no spans.
  std::optional<Spans> AsSpans() const;
};

struct Chunk {
  std::vector<std::shared_ptr<arrow::Array>> owners;
  std::vector<std::shared_ptr<arrow::Buffer>> bitmaps;
  std::vector<ChunkColumn> columns;
  int64_t rows = 0;
  std::vector<plan::Interval>
      global;  // where its rows lie in the feed; or, where they were picked:
  std::shared_ptr<const plan::Picks> picks;
  int64_t first_pick = 0;
  std::shared_ptr<const plan::FullOrder> order;  // or where they came in this order already
  int64_t first_cursor = 0;

  int64_t GlobalRow(int64_t row) const;
};

// Takes the columns of `layouts` from `batch` by name. SCHEMA_MISMATCH where a column is missing
// or has another type than the layout was made from.
arrow::Result<std::unique_ptr<Chunk>> MakeChunk(const arrow::RecordBatch& batch,
                                                const std::vector<ColumnLayout>& layouts);

struct RowRef {
  uint32_t chunk = 0;
  uint32_t row = 0;
};

// Chunks that rows are picked from together: a shuffle window, or a single chunk. Immutable once
// shared.
class ChunkTable {
 public:
  ChunkTable(std::vector<std::unique_ptr<Chunk>> chunks, size_t num_columns);

  // Permutes all rows of all chunks into order().
  void Shuffle(plan::Random random);
  // Puts the rows into this order: of each the number that counts all chunks' rows.
  void Arrange(std::span<const uint32_t> order);
  // Every row once; empty before Shuffle() or Arrange().
  const std::vector<RowRef>& order() const { return order_; }

  const Chunk& chunk(size_t i) const { return *chunks_[i]; }
  size_t size() const { return chunks_.size(); }
  int64_t rows() const { return rows_; }
  bool may_have_nulls(size_t column) const { return columns_[column].nulls; }
  // data pointers of a column, by chunk.
  const uint8_t* const* bases(size_t column) const { return columns_[column].bases.data(); }
  // Spans of a column, by chunk; nullptr where the rows of a chunk are none.
  const Spans* spans(size_t column) const {
    return columns_[column].spans.empty() ? nullptr : columns_[column].spans.data();
  }

 private:
  void AppendRows(std::vector<RowRef>* out) const;

  struct Column {
    bool nulls = false;
    std::vector<const uint8_t*> bases;
    std::vector<Spans> spans;
  };
  std::vector<std::unique_ptr<Chunk>> chunks_;
  std::vector<Column> columns_;
  std::vector<RowRef> order_;
  int64_t rows_ = 0;
};

// Some rows of a table, in the order they go into a batch.
struct Part {
  std::shared_ptr<const ChunkTable> table;
  const RowRef* rows = nullptr;  // nullptr: rows [first, first + count) of chunk 0
  int64_t first = 0;
  int64_t count = 0;
};

}  // namespace flightbridge::batch
