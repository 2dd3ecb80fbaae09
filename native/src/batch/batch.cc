#include "batch/batch.h"

#include <algorithm>
#include <array>
#include <map>
#include <utility>

#include "batch/gather.h"
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
  int64_t tstrings = kNone;
  int64_t data = 0;
  int64_t data_bytes = 0;
  int64_t mask = kNone;
  int64_t indices = kNone;
};

Placement Place(const ColumnLayout& layout, const ColumnSize& size, Regions* regions) {
  constexpr int64_t kIndex = sizeof(int64_t);
  Placement place{.size = size};
  for (int i = 0; i < layout.levels; ++i) {
    place.row_splits[i] = regions->Take((size.lists[i] + 1) * kIndex);
  }
  if (layout.bytes() && !layout.tstrings) {
    place.offsets = regions->Take((size.values + 1) * kIndex);
  }
  if (layout.mask) place.mask = regions->Take(size.values);
  if (layout.form == ColumnLayout::Form::kSparse) {
    place.indices = regions->Take(2 * size.values * kIndex);
  }
  place.data_bytes = size.bytes;
  if (layout.tstrings) {
    place.tstrings = regions->Take(size.values * static_cast<int64_t>(sizeof(TString)));
    place.data_bytes =
        size.longest <= TString::kMostInside ? 0 : size.bytes + size.values + kTStringSlack;
  }
  place.data = regions->Take(place.data_bytes);
  return place;
}

fb_column MakeColumn(const ColumnLayout& layout, const Placement& place, uint8_t* slab,
                     ColumnOutput* out) {
  const auto int64s = [&](int64_t at) {
    return at == kNone ? nullptr : reinterpret_cast<int64_t*>(slab + at);
  };
  out->data = slab + place.data;
  out->data_bytes = place.data_bytes;
  if (place.tstrings != kNone) out->tstrings = reinterpret_cast<TString*>(slab + place.tstrings);
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
  column.tstrings = out->tstrings;
  column.mask = out->mask;
  column.indices = out->indices;
  for (int i = 0; i < layout.levels; ++i) {
    column.row_splits[i] = out->row_splits[i] = int64s(place.row_splits[i]);
    column.row_splits_length[i] = place.size.lists[i] + 1;
  }
  return column;
}

// A batch on its way.
struct Building {
  std::span<const Part> parts;
  int64_t rows = 0;
  std::vector<Placement> places;
  std::unique_ptr<Slab> slab;
  std::vector<fb_column> columns;
};

// Tables of which these batches pick most rows.
std::vector<const ChunkTable*> PickedWhole(std::span<const std::vector<Part>> batches) {
  std::map<const ChunkTable*, int64_t> picked;
  for (const std::vector<Part>& parts : batches) {
    for (const Part& part : parts) {
      if (part.rows != nullptr) picked[part.table.get()] += part.count;
    }
  }
  std::vector<const ChunkTable*> whole;
  for (const auto& [table, rows] : picked) {
    if (rows > table->rows() / 2) whole.push_back(table);
  }
  return whole;
}

arrow::Result<Building> Begin(const std::vector<ColumnLayout>& layouts, std::span<const Part> parts,
                              SlabPool* pool) {
  Building batch{.parts = parts};
  for (const Part& part : parts) batch.rows += part.count;
  Regions regions;
  batch.places.reserve(layouts.size());
  for (size_t c = 0; c < layouts.size(); ++c) {
    ARROW_RETURN_NOT_OK(CheckRows(layouts[c], c, parts));
    batch.places.push_back(Place(layouts[c], Measure(layouts[c], c, parts), &regions));
  }
  ARROW_ASSIGN_OR_RAISE(batch.slab, pool->Get(std::max<int64_t>(regions.total(), 1)));
  batch.columns.reserve(layouts.size());
  return batch;
}

}  // namespace

arrow::Status Assemble(const std::vector<ColumnLayout>& layouts,
                       std::span<const std::vector<Part>> batches,
                       const std::shared_ptr<SlabPool>& pool, std::vector<BatchPtr>* out) {
  const std::vector<const ChunkTable*> whole = PickedWhole(batches);
  for (const ChunkTable* table : whole) {
    for (size_t c = 0; c < layouts.size(); ++c) BringOffsetsNear(*table, c);
  }
  std::vector<Building> building;
  building.reserve(batches.size());
  arrow::Status status;
  for (const std::vector<Part>& parts : batches) {
    auto begun = Begin(layouts, parts, pool.get());
    if (!begun.ok()) {
      status = begun.status();
      break;
    }
    building.push_back(*std::move(begun));
  }
  for (size_t c = 0; c < layouts.size(); ++c) {
    for (const ChunkTable* table : whole) BringValuesNear(*table, c);
    for (size_t i = 0; i < building.size(); ++i) {
      Building& batch = building[i];
      ColumnOutput to;
      batch.columns.push_back(MakeColumn(layouts[c], batch.places[c], batch.slab->data(), &to));
      if (auto gathered = Gather(layouts[c], c, batch.parts, to); !gathered.ok()) {
        status = std::move(gathered);
        for (size_t k = i; k < building.size(); ++k) pool->Put(std::move(building[k].slab));
        building.resize(i);
      }
    }
  }
  for (Building& batch : building) {
    out->push_back(
        BatchPtr(new Batch(pool, std::move(batch.slab), batch.rows, std::move(batch.columns))));
  }
  return status;
}

arrow::Result<BatchPtr> Assemble(const std::vector<ColumnLayout>& layouts,
                                 std::span<const Part> parts,
                                 const std::shared_ptr<SlabPool>& pool) {
  const std::vector<std::vector<Part>> one = {{parts.begin(), parts.end()}};
  std::vector<BatchPtr> batches;
  ARROW_RETURN_NOT_OK(Assemble(layouts, one, pool, &batches));
  return std::move(batches.front());
}

}  // namespace flightbridge::batch
