#include "batch/batch.h"

#include <algorithm>
#include <array>
#include <utility>

#include "batch/kernels.h"

namespace flightbridge::batch {
namespace {

// Deals out 64-byte aligned regions of a slab; the slab itself comes when their total is known.
class Regions {
 public:
  int64_t Take(int64_t bytes) {
    const int64_t at = total_;
    total_ += (bytes + kSlabAlignment - 1) / kSlabAlignment * kSlabAlignment;
    return at;
  }
  int64_t total() const { return total_; }

 private:
  int64_t total_ = 0;
};

constexpr int64_t kNone = -1;

// Offsets in the slab.
struct Placement {
  ColumnSize size;
  std::array<int64_t, FB_MAX_LEVELS> row_splits{};
  int64_t offsets = kNone;
  int64_t data = 0;
  int64_t mask = kNone;
  int64_t indices = kNone;
};

Placement Place(const ColumnLayout& layout, const ColumnSize& size, Regions* regions) {
  constexpr int64_t kIndex = sizeof(int64_t);
  Placement place{.size = size};
  for (int i = 0; i < layout.levels; ++i) {
    place.row_splits[i] = regions->Take((size.lists[i] + 1) * kIndex);
  }
  if (layout.bytes()) place.offsets = regions->Take((size.values + 1) * kIndex);
  if (layout.mask) place.mask = regions->Take(size.values);
  if (layout.form == ColumnLayout::Form::kSparse) {
    place.indices = regions->Take(2 * size.values * kIndex);
  }
  place.data = regions->Take(size.bytes);
  return place;
}

fb_column MakeColumn(const ColumnLayout& layout, const Placement& place, uint8_t* slab,
                     ColumnOutput* out) {
  const auto int64s = [&](int64_t at) {
    return at == kNone ? nullptr : reinterpret_cast<int64_t*>(slab + at);
  };
  out->data = slab + place.data;
  out->offsets = int64s(place.offsets);
  out->indices = int64s(place.indices);
  if (place.mask != kNone) out->mask = slab + place.mask;
  fb_column column{};
  column.dtype = layout.dtype;
  column.num_levels = layout.levels;
  column.width = layout.width;
  column.length = place.size.values;
  column.data = out->data;
  column.data_bytes = place.size.bytes;
  column.offsets = out->offsets;
  column.mask = out->mask;
  column.indices = out->indices;
  for (int i = 0; i < layout.levels; ++i) {
    column.row_splits[i] = out->row_splits[i] = int64s(place.row_splits[i]);
    column.row_splits_length[i] = place.size.lists[i] + 1;
  }
  return column;
}

}  // namespace

arrow::Result<BatchPtr> Assemble(const std::vector<ColumnLayout>& layouts,
                                 std::span<const Part> parts,
                                 const std::shared_ptr<SlabPool>& pool) {
  int64_t rows = 0;
  for (const Part& part : parts) rows += part.count;

  Regions regions;
  std::vector<Placement> places;
  places.reserve(layouts.size());
  for (size_t c = 0; c < layouts.size(); ++c) {
    ARROW_RETURN_NOT_OK(CheckRows(layouts[c], c, parts));
    places.push_back(Place(layouts[c], Measure(layouts[c], c, parts), &regions));
  }
  ARROW_ASSIGN_OR_RAISE(std::unique_ptr<Slab> slab,
                        pool->Get(std::max<int64_t>(regions.total(), 1)));

  std::vector<fb_column> columns;
  columns.reserve(layouts.size());
  for (size_t c = 0; c < layouts.size(); ++c) {
    ColumnOutput out;
    columns.push_back(MakeColumn(layouts[c], places[c], slab->data(), &out));
    ARROW_RETURN_NOT_OK(Gather(layouts[c], c, parts, out));
  }
  return BatchPtr(new Batch(pool, std::move(slab), rows, std::move(columns)));
}

}  // namespace flightbridge::batch
