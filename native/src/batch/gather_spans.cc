// Rows of varying length that are copied as they are: strings, lists of values of fixed width.
#include <algorithm>
#include <array>
#include <cstring>

#include "batch/gather.h"

namespace flightbridge::batch {
namespace {

// Rows that are looked up together, so that their memory is on its way while others are copied.
constexpr int64_t kBlock = 64;
// Short rows are copied in steps of this, past their end where there is room: what lies behind is
// written by the next row. Asking how long each is would cost more, as it cannot be foreseen.
constexpr int64_t kStep = 32;
constexpr int64_t kShort = 8 * kStep;

struct Span {
  const uint8_t* from;
  int64_t bytes;
  int64_t readable;  // from `from` on
};

class Writer {
 public:
  Writer(int64_t unit, int64_t* ends, const ColumnOutput& out)
      : unit_(unit), ends_(ends), to_(out.data), end_(out.data + out.data_bytes) {
    *ends_++ = 0;
  }

  void Append(const Part& part, const Spans* spans) {
    if (part.rows == nullptr) {
      AppendRun(spans[0], part.first, part.first + part.count);
      return;
    }
    PrefetchOffsets(spans, part.rows, std::min(kBlock, part.count));
    for (int64_t done = 0; done < part.count; done += kBlock) {
      const RowRef* rows = part.rows + done;
      const int64_t left = part.count - done;
      if (left > kBlock) PrefetchOffsets(spans, rows + kBlock, std::min(kBlock, left - kBlock));
      AppendBlock(spans, rows, std::min(kBlock, left));
    }
  }

 private:
  static void PrefetchOffsets(const Spans* spans, const RowRef* rows, int64_t count) {
    for (int64_t i = 0; i < count; ++i) {
      const Spans& s = spans[rows[i].chunk];
      if (s.offsets32 != nullptr) {
        __builtin_prefetch(s.offsets32 + rows[i].row);
      } else {
        __builtin_prefetch(s.offsets64 + rows[i].row);
      }
    }
  }

  void AppendRun(const Spans& spans, int64_t first, int64_t last) {
    const int64_t begin = spans.Begin(first);
    const int64_t shift = at_ - begin;
    if (spans.offsets32 != nullptr) {
      for (int64_t row = first; row < last; ++row)
        *ends_++ = Load(spans.offsets32 + row + 1) + shift;
    } else {
      for (int64_t row = first; row < last; ++row)
        *ends_++ = Load(spans.offsets64 + row + 1) + shift;
    }
    const int64_t units = spans.Begin(last) - begin;
    if (units > 0) std::memcpy(to_, spans.data + begin * unit_, units * unit_);
    to_ += units * unit_;
    at_ += units;
  }

  void AppendBlock(const Spans* spans, const RowRef* rows, int64_t count) {
    std::array<Span, kBlock> block;
    for (int64_t i = 0; i < count; ++i) {
      const Spans& s = spans[rows[i].chunk];
      const int64_t begin = s.Begin(rows[i].row);
      const int64_t units = s.Begin(rows[i].row + int64_t{1}) - begin;
      block[i] = {s.data + begin * unit_, units * unit_, s.data_bytes - begin * unit_};
      __builtin_prefetch(block[i].from);
      __builtin_prefetch(block[i].from + std::max<int64_t>(block[i].bytes - 1, 0));
      *ends_++ = at_ += units;
    }
    for (int64_t i = 0; i < count; ++i) Copy(block[i]);
  }

  void Copy(const Span& span) {
    const int64_t reach = (span.bytes + kStep - 1) / kStep * kStep;
    if (span.bytes <= kShort && reach <= span.readable && reach <= end_ - to_) {
      for (int64_t at = 0; at < reach; at += kStep) std::memcpy(to_ + at, span.from + at, kStep);
    } else if (span.bytes > 0) {
      std::memcpy(to_, span.from, span.bytes);
    }
    to_ += span.bytes;
  }

  const int64_t unit_;
  int64_t* ends_;
  uint8_t* to_;
  uint8_t* const end_;
  int64_t at_ = 0;
};

int64_t MeasurePart(const Part& part, const Spans* spans) {
  if (part.rows == nullptr) {
    return spans[0].Begin(part.first + part.count) - spans[0].Begin(part.first);
  }
  int64_t units = 0;
  for (int64_t i = 0; i < part.count; ++i) {
    const Spans& s = spans[part.rows[i].chunk];
    const int64_t row = part.rows[i].row;
    units += s.Begin(row + 1) - s.Begin(row);
  }
  return units;
}

}  // namespace

bool AreSpans(const ColumnLayout& layout, size_t column, std::span<const Part> parts) {
  if (layout.form != ColumnLayout::Form::kValues || layout.pad_to > 0 ||
      layout.conversion.function != nullptr || layout.levels != (layout.bytes() ? 0 : 1) ||
      (layout.bytes() && layout.width > 0)) {
    return false;
  }
  return std::ranges::all_of(
      parts, [&](const Part& part) { return part.table->spans(column) != nullptr; });
}

int64_t MeasureSpans(size_t column, std::span<const Part> parts) {
  int64_t units = 0;
  for (const Part& part : parts) units += MeasurePart(part, part.table->spans(column));
  return units;
}

void GatherSpans(const ColumnLayout& layout, size_t column, std::span<const Part> parts,
                 const ColumnOutput& out) {
  const int64_t unit = layout.bytes() ? 1 : layout.entry_values() * ItemBytes(layout.dtype);
  Writer writer(unit, layout.bytes() ? out.offsets : out.row_splits[0], out);
  for (const Part& part : parts) writer.Append(part, part.table->spans(column));
}

}  // namespace flightbridge::batch
