#include "batch/chunk.h"

#include <limits>
#include <utility>

#include "batch/leaf.h"
#include "flightbridge/error.h"

namespace flightbridge::batch {

int64_t Chunk::GlobalRow(int64_t row) const {
  if (picks != nullptr) return picks->rows[first_pick + row];
  if (order != nullptr) return order->RowAt(first_cursor + row);
  for (const plan::Interval& rows_here : global) {
    if (row < rows_here.rows()) return rows_here.begin + row;
    row -= rows_here.rows();
  }
  return -1;
}

std::optional<Spans> ChunkColumn::AsSpans() const {
  if (valid.bits != nullptr || vectors.kinds != nullptr) return {};
  Spans spans{.data = values.data, .data_bytes = values.data_bytes};
  if (levels.size() == 1 && values.kind == Values::Kind::kFixed) {
    spans.offsets32 = levels[0].offsets32;
    spans.offsets64 = levels[0].offsets64;
  } else if (levels.empty() && width == 1) {
    spans.offsets32 = values.offsets32;
    spans.offsets64 = values.offsets64;
  }
  if (spans.offsets32 == nullptr && spans.offsets64 == nullptr) return {};
  return spans;
}

arrow::Result<std::unique_ptr<Chunk>> MakeChunk(const arrow::RecordBatch& batch,
                                                const std::vector<ColumnLayout>& layouts) {
  if (batch.num_rows() > std::numeric_limits<uint32_t>::max()) {
    return Error(Code::kResourceExhausted, "a record batch of ", batch.num_rows(),
                 " rows is too large to read: write batches of at most 4294967295 rows");
  }
  auto chunk = std::make_unique<Chunk>();
  chunk->rows = batch.num_rows();
  chunk->columns.resize(layouts.size());
  for (size_t i = 0; i < layouts.size(); ++i) {
    const int index = batch.schema()->GetFieldIndex(layouts[i].column);
    if (index < 0) {
      return Error(Code::kSchemaMismatch, "the server sent batches without column '",
                   layouts[i].column, "'");
    }
    const arrow::DataType& type = *batch.schema()->field(index)->type();
    if (!type.Equals(*layouts[i].type)) {
      return Error(Code::kSchemaMismatch, "the server sent column '", layouts[i].column, "' as ",
                   type.ToString(), ", another type than it described");
    }
    ARROW_RETURN_NOT_OK(ResolveLeaf(layouts[i], batch.column(index), chunk.get(), i));
  }
  return chunk;
}

ChunkTable::ChunkTable(std::vector<std::unique_ptr<Chunk>> chunks, size_t num_columns)
    : chunks_(std::move(chunks)), columns_(num_columns) {
  for (const auto& chunk : chunks_) rows_ += chunk->rows;
  for (size_t c = 0; c < num_columns; ++c) {
    columns_[c].bases.reserve(chunks_.size());
    for (const auto& chunk : chunks_) {
      columns_[c].bases.push_back(chunk->columns[c].values.data);
      columns_[c].nulls |= chunk->columns[c].whole_rows.bits != nullptr;
    }
    for (const auto& chunk : chunks_) {
      const std::optional<Spans> spans = chunk->columns[c].AsSpans();
      if (!spans) {
        columns_[c].spans.clear();
        break;
      }
      columns_[c].spans.push_back(*spans);
    }
  }
}

void ChunkTable::Arrange(std::span<const uint32_t> order) {
  std::vector<RowRef> rows;
  rows.reserve(rows_);
  AppendRows(&rows);
  order_.reserve(order.size());
  for (const uint32_t row : order) order_.push_back(rows[row]);
}

void ChunkTable::Shuffle(plan::Random random) {
  order_.reserve(rows_);
  AppendRows(&order_);
  plan::Shuffle(std::span(order_), random);
}

void ChunkTable::AppendRows(std::vector<RowRef>* out) const {
  for (uint32_t c = 0; c < chunks_.size(); ++c) {
    const auto rows = static_cast<uint32_t>(chunks_[c]->rows);
    for (uint32_t row = 0; row < rows; ++row) out->push_back({c, row});
  }
}

}  // namespace flightbridge::batch
