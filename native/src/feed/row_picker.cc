#include "feed/row_picker.h"

#include <algorithm>
#include <utility>

#include "flightbridge/error.h"

namespace flightbridge::feed {
namespace {

constexpr int64_t kBatchBytes = 2 << 20;
// Keeps every fixed-width buffer and bitmap a multiple of 64 bytes.
constexpr int64_t kRowMultiple = 512;

}  // namespace

arrow::Result<PickedRows> ResolvePicks(std::shared_ptr<const Partition> partition,
                                       const proto::RowPicks& picks) {
  PickedRows picked;
  picked.rows.reserve(picks.steps.size());
  int64_t row = 0;
  for (const int64_t step : picks.steps) {
    if (__builtin_add_overflow(row, step, &row) || row < 0 || row >= partition->rows) {
      return Error(Code::kInvalidArgument, "a picked row is outside partition ",
                   partition->partition, " of feed '", partition->feed, "', which has ",
                   partition->rows, " rows");
    }
    picked.rows.push_back(row);
  }
  if (picked.rows.empty()) {
    return Error(Code::kInvalidArgument, "the picks of partition ", partition->partition,
                 " of feed '", partition->feed, "' are empty: leave the partition out");
  }
  picked.partition = std::move(partition);
  return picked;
}

RowPicker::RowPicker(std::shared_ptr<arrow::Schema> schema, std::vector<int> columns,
                     std::vector<PickedRows> picks)
    : picks_(std::move(picks)), gather_(std::move(schema), std::move(columns)) {}

arrow::Result<std::shared_ptr<arrow::RecordBatch>> RowPicker::Next() {
  if (pick_ == picks_.size()) return nullptr;
  ARROW_RETURN_NOT_OK(Locate());
  return gather_.Gather();
}

// Fills in the next rows, and the messages that they lie in.
arrow::Status RowPicker::Locate() {
  auto& places = gather_.places();
  auto& slots = gather_.slots();
  places.clear();
  slots.clear();
  int64_t limit = 0;
  while (pick_ < picks_.size()) {
    const PickedRows& pick = picks_[pick_];
    const Partition& partition = *pick.partition;
    if (limit == 0) {  // from the rows of the first partition that the batch has
      const int64_t rows = kBatchBytes / std::max<int64_t>(1, partition.bytes / partition.rows);
      limit = std::max(kRowMultiple, rows - rows % kRowMultiple);
    }
    int64_t begin = 0;
    int64_t end = 0;
    for (; next_ < pick.rows.size(); ++next_) {
      if (static_cast<int64_t>(places.size()) == limit) return {};
      const int64_t row = pick.rows[next_];
      if (row < begin || row >= end) {
        const size_t i = partition.FindBatch(row);
        ARROW_ASSIGN_OR_RAISE(const PickColumn* columns, partition.index->Columns(partition, i));
        slots.push_back(columns);
        begin = partition.messages[i].row_begin;
        end = begin + partition.messages[i].rows;
      }
      places.push_back(
          {static_cast<uint32_t>(slots.size() - 1), static_cast<uint32_t>(row - begin)});
    }
    ++pick_;
    next_ = 0;
  }
  return {};
}

}  // namespace flightbridge::feed
