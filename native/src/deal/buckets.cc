#include "deal/buckets.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <utility>

#include "flightbridge/error.h"
#include "segment/checksum.h"

namespace flightbridge::deal {

BucketCut BucketCut::Of(int64_t rows, int64_t row_bytes, int64_t bucket_bytes, int64_t most) {
  BucketCut cut{.rows = rows};
  while ((int64_t{1} << cut.shift) * std::max<int64_t>(row_bytes, 1) < bucket_bytes ||
         cut.count() > most) {
    ++cut.shift;
    if (cut.count() <= 1) break;
  }
  return cut;
}

void BucketIndex::Build(std::span<const uint8_t> bytes, int64_t rows) {
  rows_.assign(rows, nullptr);
  for (const uint8_t* at = bytes.data(); at < bytes.data() + bytes.size();) {
    RowHeader header;
    std::memcpy(&header, at, sizeof(header));
    rows_[header.place] = at;
    at += header.bytes;
  }
}

Buckets::Buckets(BucketCut cut, std::shared_ptr<const RowCodec> codec, std::shared_ptr<Space> space,
                 std::vector<int64_t> starts)
    : cut_(cut),
      codec_(std::move(codec)),
      space_(std::move(space)),
      starts_(std::move(starts)),
      ends_(starts_.empty() ? 0 : starts_.size() - 1) {
  for (size_t i = 0; i < ends_.size(); ++i) {
    ends_[i].store(starts_[i], std::memory_order_relaxed);
  }
}

void Buckets::MakeStages(int64_t limit) {
  constexpr int64_t kMost = 256 << 10;
  constexpr int64_t kPage = 4096;
  staged_bytes_ = std::clamp(limit / cut_.count() / kPage * kPage, kPage, kMost);
  stages_.resize(cut_.count());
}

arrow::Status Buckets::Add(const feed::PickColumn* columns, int64_t first,
                           std::span<const int64_t> places, std::span<const uint32_t> sizes,
                           uint8_t* tile) {
  std::array<uint8_t*, RowCodec::kBlock> to;
  std::array<uint32_t, RowCodec::kBlock> in_bucket;
  const int64_t row_bytes = codec_->row_bytes();
  const int64_t mask = (int64_t{1} << cut_.shift) - 1;
  const size_t rows = places.size();
  const auto size_of = [&](size_t i) -> int64_t { return sizes.empty() ? row_bytes : sizes[i]; };
  if (in_place()) {
    for (size_t i = 0; i < rows; ++i) to[i] = space_->data() + places[i] * row_bytes;
    codec_->Pack(columns, first, {to.data(), rows}, nullptr, tile);
    return {};
  }
  int64_t total = 0;
  if (!space_->in_memory()) {
    for (size_t i = 0; i < rows; ++i) total += size_of(i);
    if (std::ssize(room_) < total) room_.resize(total);
    total = 0;
  }
  for (size_t i = 0; i < rows; ++i) {
    in_bucket[i] = static_cast<uint32_t>(places[i] & mask);
    if (space_->in_memory()) {
      to[i] = space_->data() +
              ends_[places[i] >> cut_.shift].fetch_add(size_of(i), std::memory_order_relaxed);
    } else {
      to[i] = room_.data() + total;
      total += size_of(i);
    }
  }
  codec_->Pack(columns, first, {to.data(), rows}, in_bucket.data(), tile);
  if (space_->in_memory()) return {};
  for (size_t i = 0; i < rows; ++i) {
    ARROW_RETURN_NOT_OK(Append(places[i] >> cut_.shift, to[i], size_of(i)));
  }
  return {};
}

arrow::Status Buckets::Append(int64_t bucket, const uint8_t* row, int64_t bytes) {
  Stage& stage = stages_[bucket];
  if (stage.bytes == nullptr)
    stage.bytes = std::make_unique_for_overwrite<uint8_t[]>(staged_bytes_);
  while (bytes > 0) {
    const int64_t taken = std::min(bytes, staged_bytes_ - stage.used);
    std::memcpy(stage.bytes.get() + stage.used, row, taken);
    stage.used += taken;
    row += taken;
    bytes -= taken;
    if (stage.used == staged_bytes_) ARROW_RETURN_NOT_OK(Flush(bucket));
  }
  return {};
}

arrow::Status Buckets::Flush(int64_t bucket) {
  Stage& stage = stages_[bucket];
  if (stage.used == 0) return {};
  const int64_t at = ends_[bucket].fetch_add(stage.used, std::memory_order_relaxed);
  stage.crc32c = segment::Crc32c(stage.crc32c, stage.bytes.get(), stage.used);
  ARROW_RETURN_NOT_OK(space_->Write(stage.bytes.get(), stage.used, at));
  stage.used = 0;
  return {};
}

arrow::Status Buckets::Finish() {
  for (size_t i = 0; i < stages_.size(); ++i) {
    ARROW_RETURN_NOT_OK(Flush(static_cast<int64_t>(i)));
    stages_[i].bytes = nullptr;
  }
  staged_bytes_ = 0;
  room_ = {};
  for (size_t i = 0; i < ends_.size(); ++i) {
    if (ends_[i].load(std::memory_order_relaxed) == starts_[i + 1]) continue;
    return Error(Code::kInternal, "bucket ", i, " of a full shuffle has ",
                 ends_[i].load(std::memory_order_relaxed) - starts_[i], " bytes where ",
                 starts_[i + 1] - starts_[i], " were counted");
  }
  return {};
}

arrow::Result<std::span<const uint8_t>> Buckets::Load(int64_t bucket,
                                                      std::vector<uint8_t>* buffer) const {
  const int64_t begin = starts_[bucket];
  const int64_t bytes = starts_[bucket + 1] - begin;
  if (space_->in_memory()) {
    return std::span<const uint8_t>(space_->data() + begin, static_cast<size_t>(bytes));
  }
  buffer->resize(bytes);
  ARROW_RETURN_NOT_OK(space_->Read(buffer->data(), bytes, begin));
  if (segment::Crc32c(0, buffer->data(), bytes) != stages_[bucket].crc32c) {
    return Error(Code::kDataLoss, "rows dealt for a full shuffle were damaged on disk: read again");
  }
  return std::span<const uint8_t>(*buffer);
}

}  // namespace flightbridge::deal
