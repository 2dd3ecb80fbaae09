// Strings and binary as TensorFlow's strings: their characters, and what says where these are.
#include <algorithm>
#include <array>
#include <cstring>
#include <string_view>

#include "batch/gather.h"
#include "batch/runs.h"

namespace flightbridge::batch {
namespace {

// Rows that are looked up together, so that their memory is on its way while others are copied.
constexpr int64_t kBlock = 64;
// Copied at a time where so much may be read and written, which takes neither a call nor a choice
// that nobody can foresee.
constexpr int64_t kStep = kTStringSlack;

struct Bytes {
  const uint8_t* from;
  int64_t size;
  int64_t readable;  // from `from` on
};

Bytes RowOf(const Spans& spans, int64_t row) {
  const int64_t begin = spans.Begin(row);
  return {spans.data + begin, spans.Begin(row + 1) - begin, spans.data_bytes - begin};
}

// Whether all strings of a column hold their characters themselves. It is one choice for a column:
// one for each value would cost whoever reads them a branch that nobody can foresee.
template <bool Inside>
class Writer {
 public:
  explicit Writer(const ColumnOutput& out)
      : string_(out.tstrings), to_(out.data), end_(out.data + out.data_bytes) {}

  void Append(const Bytes& value) {
    if constexpr (Inside) {
      string_++->Hold(value.from, value.size, value.readable >= TString::kMostInside);
      return;
    }
    string_++->PointTo(to_, value.size);
    if (value.size <= kStep && value.readable >= kStep && end_ - to_ >= kStep) {
      std::memcpy(to_, value.from, kStep);  // the next value is written over what is too much
    } else if (value.size > 0) {
      std::memcpy(to_, value.from, static_cast<size_t>(value.size));
    }
    to_[value.size] = 0;
    to_ += value.size + 1;
  }

  // A copy does the work: where it is, nothing that is written can be taken for a part of it, and
  // it stays in registers.
  void AppendRows(const Part& part, const Spans* spans) {
    Writer writer = *this;
    if (part.rows == nullptr) {
      writer.AppendRun(spans[0], part.first, part.count);
    } else {
      writer.AppendPicks(part, spans);
    }
    *this = writer;
  }

 private:
  void AppendRun(const Spans& spans, int64_t first, int64_t count) {
    const Spans s = spans;
    for (int64_t row = first; row < first + count; ++row) Append(RowOf(s, row));
  }

  void AppendPicks(const Part& part, const Spans* spans) {
    std::array<Bytes, kBlock> block;
    for (int64_t done = 0; done < part.count; done += kBlock) {
      const int64_t count = std::min(kBlock, part.count - done);
      for (int64_t i = 0; i < count; ++i) {
        const RowRef& at = part.rows[done + i];
        block[i] = RowOf(spans[at.chunk], at.row);
        __builtin_prefetch(block[i].from);
        __builtin_prefetch(block[i].from + std::max<int64_t>(block[i].size - 1, 0));
      }
      for (int64_t i = 0; i < count; ++i) Append(block[i]);
    }
  }

  TString* string_;
  uint8_t* to_;
  uint8_t* end_;
};

Bytes Fill(const ColumnLayout& layout) {
  const auto size = static_cast<int64_t>(layout.fill_bytes.size());
  return {reinterpret_cast<const uint8_t*>(layout.fill_bytes.data()), size, size};
}

// Calls visit(bytes) for each value, those of nulls and padding included.
template <typename Visit>
void ForEachValue(const ColumnLayout& layout, size_t column, const Part& part, Visit&& visit) {
  const Bytes fill = Fill(layout);
  ForEachRun(layout, part, column,
             [&](const ChunkColumn& c, int64_t begin, int64_t end, int64_t padding) {
               for (int64_t i = begin; i < end; ++i) {
                 if (IsNull(c.valid, i)) {
                   visit(fill);
                   continue;
                 }
                 const std::string_view value = BytesAt(c.values, i);
                 const auto size = static_cast<int64_t>(value.size());
                 visit(Bytes{reinterpret_cast<const uint8_t*>(value.data()), size, size});
               }
               for (; padding > 0; --padding) visit(fill);
             });
}

template <bool Inside>
void GatherAll(const ColumnLayout& layout, size_t column, std::span<const Part> parts,
               const ColumnOutput& out) {
  Writer<Inside> writer(out);
  const bool spans = AreSpans(layout, column, parts);
  for (const Part& part : parts) {
    if (spans) {
      writer.AppendRows(part, part.table->spans(column));
    } else {
      ForEachValue(layout, column, part, [&](const Bytes& value) { writer.Append(value); });
    }
  }
}

// Of values that lie one behind the other.
template <typename Offset>
int64_t Longest(const Offset* offsets, int64_t count) {
  Offset longest = 0;
  for (int64_t i = 0; i < count; ++i) {
    longest = std::max<Offset>(longest, Load(offsets + i + 1) - Load(offsets + i));
  }
  return longest;
}

}  // namespace

void MeasureTStrings(const ColumnLayout& layout, size_t column, std::span<const Part> parts,
                     ColumnSize* size) {
  const auto add = [&](int64_t bytes) {
    size->bytes += bytes;
    size->longest = std::max(size->longest, bytes);
  };
  if (!AreSpans(layout, column, parts)) {
    for (const Part& part : parts) {
      ForEachValue(layout, column, part, [&](const Bytes& value) { add(value.size); });
    }
    return;
  }
  for (const Part& part : parts) {
    const Spans* const spans = part.table->spans(column);
    if (part.rows == nullptr) {
      const Spans& s = spans[0];
      size->bytes += s.Begin(part.first + part.count) - s.Begin(part.first);
      const int64_t longest = s.offsets32 != nullptr
                                  ? Longest(s.offsets32 + part.first, part.count)
                                  : Longest(s.offsets64 + part.first, part.count);
      size->longest = std::max(size->longest, longest);
      continue;
    }
    for (int64_t i = 0; i < part.count; ++i)
      add(RowOf(spans[part.rows[i].chunk], part.rows[i].row).size);
  }
}

void GatherTStrings(const ColumnLayout& layout, size_t column, std::span<const Part> parts,
                    const ColumnOutput& out) {
  if (out.data_bytes == 0) {
    GatherAll<true>(layout, column, parts, out);
  } else {
    GatherAll<false>(layout, column, parts, out);
  }
}

}  // namespace flightbridge::batch
