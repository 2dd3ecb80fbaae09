#include "batch/nulls.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include <arrow/array/concatenate.h>
#include <arrow/array/util.h>
#include <arrow/util/bit_util.h>
#include <arrow/util/bitmap_ops.h>

namespace flightbridge::batch {
namespace {

using arrow::Type;
using arrow::bit_util::GetBit;

// Entry ranges of lists, whatever their kind.
template <typename Visit>
void ForEachList(const arrow::Array& lists, Visit&& visit) {
  const auto walk = [&](const auto& typed) {
    for (int64_t i = 0; i < typed.length(); ++i) {
      visit(i, typed.value_offset(i), typed.value_offset(i) + typed.value_length(i));
    }
  };
  switch (lists.type_id()) {
    case Type::LARGE_LIST: walk(static_cast<const arrow::LargeListArray&>(lists)); return;
    case Type::FIXED_SIZE_LIST: {
      // The values on the path are cut to the lists.
      const auto& fixed = static_cast<const arrow::FixedSizeListArray&>(lists);
      const int64_t width = fixed.list_type()->list_size();
      for (int64_t i = 0; i < fixed.length(); ++i) visit(i, i * width, (i + 1) * width);
      return;
    }
    default: walk(static_cast<const arrow::ListArray&>(lists));
  }
}

bool IsList(Type::type id) {
  return id == Type::LIST || id == Type::LARGE_LIST || id == Type::MAP ||
         id == Type::FIXED_SIZE_LIST;
}

// The same lists, where those that are not valid are empty.
template <typename Lists>
arrow::Result<std::shared_ptr<arrow::Array>> Visible(const Lists& lists, const Bitmap& valid) {
  using Offset = Lists::offset_type;
  ARROW_ASSIGN_OR_RAISE(std::shared_ptr<arrow::Buffer> buffer,
                        arrow::AllocateBuffer((lists.length() + 1) * sizeof(Offset)));
  auto* offsets = reinterpret_cast<Offset*>(buffer->mutable_data());
  offsets[0] = 0;
  std::vector<std::pair<int64_t, int64_t>> ranges;
  for (int64_t i = 0; i < lists.length(); ++i) {
    offsets[i + 1] = offsets[i];
    if (!GetBit(valid.bits->data(), valid.offset + i)) continue;
    const int64_t begin = lists.value_offset(i);
    const int64_t end = lists.value_offset(i + 1);
    offsets[i + 1] += static_cast<Offset>(end - begin);
    if (!ranges.empty() && ranges.back().second == begin) {
      ranges.back().second = end;
    } else if (end > begin) {
      ranges.emplace_back(begin, end);
    }
  }
  std::vector<std::shared_ptr<arrow::Array>> slices = {lists.values()->Slice(0, 0)};
  for (const auto& [begin, end] : ranges) {
    slices.push_back(lists.values()->Slice(begin, end - begin));
  }
  ARROW_ASSIGN_OR_RAISE(const auto values, arrow::Concatenate(slices));
  return arrow::MakeArray(arrow::ArrayData::Make(lists.type(), lists.length(),
                                                 {nullptr, std::move(buffer)}, {values->data()}));
}

}  // namespace

arrow::Status NullsOnTheWay::Enter(const arrow::Array& array) {
  if (array.null_count() == 0 || array.null_bitmap() == nullptr) return arrow::Status::OK();
  if (valid_.bits == nullptr) {
    valid_ = {array.null_bitmap(), array.offset()};
    return arrow::Status::OK();
  }
  ARROW_ASSIGN_OR_RAISE(
      auto both,
      arrow::internal::BitmapAnd(arrow::default_memory_pool(), valid_.bits->data(), valid_.offset,
                                 array.null_bitmap_data(), array.offset(), array.length(), 0));
  valid_ = {std::move(both), 0};
  return arrow::Status::OK();
}

arrow::Status NullsOnTheWay::EnterFixedList(const arrow::Array& array, int64_t width) {
  ARROW_RETURN_NOT_OK(Enter(array));
  if (valid_.bits == nullptr) return arrow::Status::OK();
  ARROW_ASSIGN_OR_RAISE(auto wide, arrow::AllocateEmptyBitmap(array.length() * width));
  for (int64_t i = 0; i < array.length(); ++i) {
    if (GetBit(valid_.bits->data(), valid_.offset + i)) {
      arrow::bit_util::SetBitsTo(wide->mutable_data(), i * width, width, true);
    }
  }
  valid_ = {std::move(wide), 0};
  return arrow::Status::OK();
}

arrow::Result<std::shared_ptr<arrow::Array>> NullsOnTheWay::EnterList(
    std::shared_ptr<arrow::Array> lists) {
  ARROW_RETURN_NOT_OK(Enter(*lists));
  const Bitmap valid = std::exchange(valid_, {});
  if (valid.bits == nullptr) return lists;
  bool hidden = false;
  ForEachList(*lists, [&](int64_t i, int64_t begin, int64_t end) {
    hidden |= end > begin && !GetBit(valid.bits->data(), valid.offset + i);
  });
  if (!hidden) return lists;
  // Arrow lets a null list hide values. What the others hold is brought together.
  return lists->type_id() == Type::LARGE_LIST
             ? Visible(static_cast<const arrow::LargeListArray&>(*lists), valid)
             : Visible(static_cast<const arrow::ListArray&>(*lists), valid);
}

arrow::Result<Bitmap> WholeRows(const std::vector<std::shared_ptr<arrow::Array>>& path,
                                int64_t rows) {
  const bool none = std::all_of(path.begin(), path.end(),
                                [](const auto& array) { return array->null_count() == 0; });
  if (none) return Bitmap{};
  // Upwards: which entries of an array, or of what is in them, are null.
  std::vector<bool> below;
  for (auto at = path.rbegin(); at != path.rend(); ++at) {
    const arrow::Array& array = **at;
    std::vector<bool> here(array.length(), false);
    if (IsList(array.type_id())) {
      ForEachList(array, [&](int64_t i, int64_t begin, int64_t end) {
        here[i] = std::any_of(below.begin() + begin, below.begin() + end, [](bool b) { return b; });
      });
    } else if (at != path.rbegin()) {
      here = std::move(below);
    }
    for (int64_t i = 0; i < array.length(); ++i) {
      if (array.IsNull(i)) here[i] = true;
    }
    below = std::move(here);
  }
  const auto wrong = static_cast<int64_t>(std::count(below.begin(), below.end(), true));
  if (wrong == 0) return Bitmap{};  // they are in no row
  ARROW_ASSIGN_OR_RAISE(auto bits, arrow::AllocateEmptyBitmap(rows));
  for (int64_t i = 0; i < rows; ++i) arrow::bit_util::SetBitTo(bits->mutable_data(), i, !below[i]);
  return Bitmap{std::move(bits), 0};
}

}  // namespace flightbridge::batch
