#include "feed/pick_index.h"

#include <arrow/record_batch.h>
#include <arrow/type.h>

#include "feed/partition.h"
#include "feed/row_gather.h"

namespace flightbridge::feed {
namespace {

bool LiesIn(const arrow::Buffer& whole, const std::shared_ptr<arrow::Buffer>& part) {
  return part == nullptr || part->size() == 0 ||
         (part->data() >= whole.data() &&
          part->data() + part->size() <= whole.data() + whole.size());
}

PickColumn ColumnOf(const std::shared_ptr<arrow::ArrayData>& array, const StoredMessage& message) {
  PickColumn column;
  bool plain = array->offset == 0 && PickKindOf(*array->type) != PickKind::kArrays;
  for (const auto& buffer : array->buffers) plain = plain && LiesIn(*message.body, buffer);
  if (!plain) column.array = array;
  if (PickKindOf(*array->type) == PickKind::kArrays) return column;
  const auto data = [&](size_t i) {
    return i < array->buffers.size() && array->buffers[i] != nullptr ? array->buffers[i]->data()
                                                                     : nullptr;
  };
  if (array->GetNullCount() > 0) column.validity = data(0);
  column.values = data(1);
  column.bytes = data(2);
  return column;
}

}  // namespace

arrow::Result<const PickColumn*> PickIndex::Columns(const Partition& partition, size_t i) {
  if (filled_[i].load(std::memory_order_acquire)) {
    ARROW_RETURN_NOT_OK(partition.Verify(i));
    return columns_[i].get();
  }
  ARROW_ASSIGN_OR_RAISE(const auto batch, partition.Decode(i));
  auto columns = std::make_unique<PickColumn[]>(batch->num_columns());
  for (int c = 0; c < batch->num_columns(); ++c) {
    columns[c] = ColumnOf(batch->column_data(c), partition.messages[i]);
  }
  const std::lock_guard lock(mutex_);
  if (!filled_[i].load(std::memory_order_relaxed)) {
    columns_[i] = std::move(columns);
    filled_[i].store(true, std::memory_order_release);
  }
  return columns_[i].get();
}

}  // namespace flightbridge::feed
