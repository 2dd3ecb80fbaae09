// Strings and binary: bytes and where each value ends.
#include <cassert>
#include <cstring>
#include <string_view>

#include <arrow/util/binary_view_util.h>

#include "batch/gather.h"
#include "batch/runs.h"

namespace flightbridge::batch {

std::string_view BytesAt(const Values& values, int64_t i) {
  if (values.kind == Values::Kind::kViews) {
    return arrow::util::FromBinaryView(values.views[i], values.view_buffers);
  }
  const int64_t begin = values.ByteBegin(i);
  return {reinterpret_cast<const char*>(values.data) + begin,
          static_cast<size_t>(values.ByteBegin(i + 1) - begin)};
}

namespace {

// Appends values at the end of what is there.
class Writer {
 public:
  explicit Writer(const ColumnOutput& out) : data_(out.data), offset_(out.offsets) {
    *offset_++ = 0;
  }

  void Append(std::string_view value) {
    if (!value.empty()) std::memcpy(data_ + at_, value.data(), value.size());
    at_ += static_cast<int64_t>(value.size());
    *offset_++ = at_;
  }

  // Values that lie one behind the other.
  void AppendRun(const Values& values, int64_t begin, int64_t end) {
    if (begin == end) return;
    const int64_t first = values.ByteBegin(begin);
    const int64_t shift = at_ - first;
    for (int64_t i = begin; i < end; ++i) *offset_++ = values.ByteBegin(i + 1) + shift;
    const int64_t bytes = values.ByteBegin(end) - first;
    if (bytes > 0) std::memcpy(data_ + at_, values.data + first, bytes);
    at_ += bytes;
  }

 private:
  uint8_t* const data_;
  int64_t* offset_;
  int64_t at_ = 0;
};

}  // namespace

void GatherBytes(const ColumnLayout& layout, size_t column, std::span<const Part> parts,
                 const ColumnOutput& out) {
  Writer writer(out);
  for (const Part& part : parts) {
    ForEachRun(layout, part, column,
               [&](const ChunkColumn& c, int64_t begin, int64_t end, int64_t padding) {
                 if (c.values.kind == Values::Kind::kViews || c.valid.bits != nullptr) {
                   for (int64_t i = begin; i < end; ++i) {
                     writer.Append(IsNull(c.valid, i) ? layout.fill_bytes : BytesAt(c.values, i));
                   }
                 } else {
                   writer.AppendRun(c.values, begin, end);
                 }
                 for (; padding > 0; --padding) writer.Append(layout.fill_bytes);
               });
  }
}

int64_t MeasureBytes(const ColumnLayout& layout, size_t column, const Part& part) {
  const auto fill = static_cast<int64_t>(layout.fill_bytes.size());
  int64_t bytes = 0;
  ForEachRun(
      layout, part, column, [&](const ChunkColumn& c, int64_t begin, int64_t end, int64_t padding) {
        bytes += padding * fill;
        if (c.values.kind == Values::Kind::kViews || c.valid.bits != nullptr) {
          for (int64_t i = begin; i < end; ++i) {
            bytes += IsNull(c.valid, i) ? fill : static_cast<int64_t>(BytesAt(c.values, i).size());
          }
        } else {
          bytes += c.values.ByteBegin(end) - c.values.ByteBegin(begin);
        }
      });
  return bytes;
}

}  // namespace flightbridge::batch
