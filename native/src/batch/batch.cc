#include "batch/batch.h"

#include <algorithm>
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

struct Placement {
  ColumnSize size;
  int64_t row_splits = -1;  // offset in the slab; -1: none
  int64_t offsets = -1;
  int64_t data = 0;
};

Placement Place(const ColumnLayout& layout, int64_t rows, const ColumnSize& size,
                Regions* regions) {
  Placement place{.size = size};
  if (layout.ragged) place.row_splits = regions->Take((rows + 1) * sizeof(int64_t));
  if (layout.bytes()) place.offsets = regions->Take((size.values + 1) * sizeof(int64_t));
  place.data = regions->Take(size.bytes);
  return place;
}

fb_column MakeColumn(const ColumnLayout& layout, const Placement& place, uint8_t* slab,
                     ColumnOutput* out) {
  const auto int64s = [&](int64_t at) {
    return at < 0 ? nullptr : reinterpret_cast<int64_t*>(slab + at);
  };
  *out = {slab + place.data, int64s(place.offsets), int64s(place.row_splits)};
  fb_column column{};
  column.dtype = layout.dtype;
  column.width = layout.width;
  column.length = place.size.values;
  column.data = out->data;
  column.data_bytes = place.size.bytes;
  column.offsets = out->offsets;
  column.row_splits = out->row_splits;
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
    ARROW_RETURN_NOT_OK(CheckNoNulls(layouts[c], c, parts));
    places.push_back(Place(layouts[c], rows, Measure(layouts[c], c, parts), &regions));
  }
  ARROW_ASSIGN_OR_RAISE(std::unique_ptr<Slab> slab,
                        pool->Get(std::max<int64_t>(regions.total(), 1)));

  std::vector<fb_column> columns;
  columns.reserve(layouts.size());
  for (size_t c = 0; c < layouts.size(); ++c) {
    ColumnOutput out;
    columns.push_back(MakeColumn(layouts[c], places[c], slab->data(), &out));
    Gather(layouts[c], c, parts, out);
  }
  return BatchPtr(new Batch(pool, std::move(slab), rows, std::move(columns)));
}

}  // namespace flightbridge::batch
