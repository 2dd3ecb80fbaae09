#include <cstdint>

#include "batch/gather.h"

namespace flightbridge::batch {
namespace {

void Touch(const void* data, int64_t bytes) {
  constexpr int64_t kCacheLine = 64;
  const auto* at = static_cast<const uint8_t*>(data);
  uint8_t sum = 0;
  for (int64_t i = 0; i < bytes; i += kCacheLine) sum ^= at[i];
  asm volatile("" : : "r"(sum));  // so that it is not left out
}

}  // namespace

void BringOffsetsNear(const ChunkTable& table, size_t column) {
  const Spans* spans = table.spans(column);
  if (spans == nullptr) return;
  for (size_t i = 0; i < table.size(); ++i) {
    const int64_t offsets = table.chunk(i).rows + 1;
    if (spans[i].offsets32 != nullptr) Touch(spans[i].offsets32, offsets * sizeof(int32_t));
    if (spans[i].offsets64 != nullptr) Touch(spans[i].offsets64, offsets * sizeof(int64_t));
  }
}

void BringValuesNear(const ChunkTable& table, size_t column) {
  for (size_t i = 0; i < table.size(); ++i) {
    const Chunk& chunk = table.chunk(i);
    const ChunkColumn& c = chunk.columns[column];
    const auto kind = c.values.kind;
    if (kind == Values::Kind::kBits || kind == Values::Kind::kViews) continue;
    if (chunk.rows == 0 || c.vectors.kinds != nullptr) continue;
    const int64_t begin = c.values.ByteBegin(c.ValueBegin(0));
    Touch(c.values.data + begin, c.values.ByteBegin(c.ValueBegin(chunk.rows)) - begin);
  }
}

}  // namespace flightbridge::batch
