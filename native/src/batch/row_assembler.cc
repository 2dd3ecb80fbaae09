#include "batch/row_assembler.h"

#include <utility>

#include "batch/chunk.h"

namespace flightbridge::batch {
namespace {

constexpr size_t kIdleSlabs = 2;

}  // namespace

RowAssembler::RowAssembler(std::vector<ColumnLayout> layouts)
    : layouts_(std::move(layouts)), pool_(std::make_shared<SlabPool>(kIdleSlabs)) {}

arrow::Result<std::unique_ptr<RowAssembler>> RowAssembler::Make(
    const arrow::Schema& schema, const std::vector<std::string>& columns,
    const std::vector<proto::ColumnOptions>& options) {
  ARROW_ASSIGN_OR_RAISE(std::vector<ColumnLayout> layouts, LayoutsOf(schema, columns, options));
  return std::unique_ptr<RowAssembler>(new RowAssembler(std::move(layouts)));
}

arrow::Result<BatchPtr> RowAssembler::Assemble(
    const std::vector<std::shared_ptr<arrow::RecordBatch>>& batches) const {
  std::vector<Part> parts;
  parts.reserve(batches.size());
  int64_t row = 0;
  for (const auto& batch : batches) {
    std::vector<std::unique_ptr<Chunk>> chunks;
    ARROW_ASSIGN_OR_RAISE(chunks.emplace_back(), MakeChunk(*batch, layouts_));
    chunks.front()->global = {{.begin = row, .end = row + batch->num_rows()}};
    row += batch->num_rows();
    Part part;
    part.count = batch->num_rows();
    part.table = std::make_shared<const ChunkTable>(std::move(chunks), layouts_.size());
    parts.push_back(std::move(part));
  }
  return batch::Assemble(layouts_, parts, pool_);
}

}  // namespace flightbridge::batch
