#include "deal/buckets.h"

#include <algorithm>
#include <cstring>
#include <numeric>
#include <utility>

#include "flightbridge/error.h"
#include "segment/checksum.h"

namespace flightbridge::deal {
namespace {

// Of rows that are sorted by bucket at a time.
constexpr int64_t kStagedBytes = 1 << 20;

}  // namespace

BucketCut BucketCut::Of(int64_t rows, int64_t row_bytes, int64_t bucket_bytes, int64_t most) {
  BucketCut cut{.rows = rows};
  while ((int64_t{1} << cut.shift) * std::max<int64_t>(row_bytes, 1) < bucket_bytes ||
         cut.count() > most) {
    ++cut.shift;
    if (cut.count() <= 1) break;
  }
  return cut;
}

int64_t BucketIndex::Add(const RowCodec& codec, std::span<const uint8_t> bytes) {
  int64_t rows = 0;
  for (const uint8_t* at = bytes.data(); at < bytes.data() + bytes.size(); ++rows) {
    const RowHeader header = codec.HeaderOf(at);
    rows_[header.place] = at;
    at += header.bytes;
  }
  return rows;
}

Buckets::Buckets(BucketCut cut, std::shared_ptr<const RowCodec> codec, std::shared_ptr<Space> space,
                 const OnDisk& on_disk)
    : cut_(cut),
      codec_(std::move(codec)),
      space_(std::move(space)),
      nulls_(codec_->schema()->num_fields()) {
  if (space_->in_memory()) {
    if (!codec_->fixed()) piles_.emplace(space_, cut_.count());
  } else if (codec_->fixed()) {
    std::vector<int64_t> starts;
    for (int64_t b = 0; b < cut_.count(); ++b) {
      starts.push_back(cut_.begin(b) * codec_->row_bytes());
    }
    starts.push_back(cut_.rows * codec_->row_bytes());
    stages_.emplace(space_, starts, on_disk.stage_limit);
  } else {
    stages_.emplace(space_, cut_.count(), on_disk.bucket_bytes, on_disk.stage_limit, on_disk.grow);
  }
}

arrow::Status Buckets::Add(const feed::PickColumn* columns, int64_t first,
                           std::span<const int64_t> places, std::span<const uint32_t> sizes,
                           Room* room) {
  codec_->MarkNulls(columns, &nulls_);
  if (stages_) {
    while (!places.empty()) {
      size_t rows = 0;
      for (int64_t bytes = 0; rows < places.size() && bytes < kStagedBytes; ++rows) {
        bytes += SizeOf(sizes, rows);
      }
      const auto now = sizes.empty() ? sizes : sizes.first(rows);
      ARROW_RETURN_NOT_OK(AddStaged(columns, first, places.first(rows), now, room));
      first += static_cast<int64_t>(rows);
      places = places.subspan(rows);
      if (!sizes.empty()) sizes = sizes.subspan(rows);
    }
    return {};
  }
  room->to_.resize(places.size());
  if (in_place()) {
    for (size_t i = 0; i < places.size(); ++i) {
      room->to_[i] = space_->data() + places[i] * codec_->row_bytes();
    }
  } else {
    const int64_t mask = (int64_t{1} << cut_.shift) - 1;
    room->in_bucket_.resize(places.size());
    for (size_t i = 0; i < places.size(); ++i) {
      room->in_bucket_[i] = static_cast<uint32_t>(places[i] & mask);
      room->to_[i] = piles_->Take(places[i] >> cut_.shift, sizes[i]);
      if (room->to_[i] != nullptr) continue;
      return Error(Code::kResourceExhausted, "rows dealt for a full shuffle take more than the ",
                   space_->bytes(), " bytes that were reserved for them");
    }
  }
  Pack(columns, first, room);
  return {};
}

// Sorted by bucket in a room that fits the cache, and from there to the stages a bucket at a time.
arrow::Status Buckets::AddStaged(const feed::PickColumn* columns, int64_t first,
                                 std::span<const int64_t> places, std::span<const uint32_t> sizes,
                                 Room* room) {
  std::vector<int64_t>& ends = room->ends_;
  ends.assign(cut_.count() + 1, 0);
  for (size_t i = 0; i < places.size(); ++i) {
    ends[(places[i] >> cut_.shift) + 1] += SizeOf(sizes, i);
  }
  std::partial_sum(ends.begin(), ends.end(), ends.begin());
  if (std::ssize(room->packed_) < ends.back()) room->packed_.resize(ends.back());
  const int64_t mask = (int64_t{1} << cut_.shift) - 1;
  room->to_.resize(places.size());
  room->in_bucket_.resize(places.size());
  for (size_t i = 0; i < places.size(); ++i) {
    room->in_bucket_[i] = static_cast<uint32_t>(places[i] & mask);
    int64_t& at = ends[places[i] >> cut_.shift];  // begins there, ends where the next one began
    room->to_[i] = room->packed_.data() + at;
    at += SizeOf(sizes, i);
  }
  Pack(columns, first, room);
  int64_t begin = 0;
  for (int64_t b = 0; b < cut_.count(); begin = ends[b++]) {
    if (ends[b] == begin) continue;
    ARROW_RETURN_NOT_OK(stages_->Append(
        b, std::span<const uint8_t>(room->packed_).subspan(begin, ends[b] - begin)));
  }
  return {};
}

void Buckets::Pack(const feed::PickColumn* columns, int64_t first, Room* room) const {
  room->tile_.resize(RowCodec::kBlock * codec_->row_bytes());
  const uint32_t* const in_bucket = in_place() ? nullptr : room->in_bucket_.data();
  for (size_t i = 0; i < room->to_.size(); i += RowCodec::kBlock) {
    const size_t rows = std::min<size_t>(RowCodec::kBlock, room->to_.size() - i);
    codec_->Pack(columns, first + static_cast<int64_t>(i), {room->to_.data() + i, rows},
                 in_bucket == nullptr ? nullptr : in_bucket + i, room->tile_.data());
  }
}

arrow::Status Buckets::Finish() {
  if (piles_) piles_->Finish();
  return stages_ ? stages_->Finish() : arrow::Status::OK();
}

arrow::Status Buckets::Load(int64_t bucket, BucketIndex* index) const {
  const int64_t rows = cut_.end(bucket) - cut_.begin(bucket);
  index->rows_.assign(rows, nullptr);
  int64_t found = 0;
  if (stages_) {
    ARROW_RETURN_NOT_OK(ReadBack(bucket, &index->buffer_));
    found = index->Add(*codec_, index->buffer_);
  } else {
    for (const Extent& run : piles_->runs(bucket)) {
      found += index->Add(*codec_, {space_->data() + run.at, static_cast<size_t>(run.bytes)});
    }
  }
  if (found == rows) return {};
  return Error(Code::kInternal, "bucket ", bucket, " of a full shuffle has ", found,
               " rows instead of ", rows);
}

arrow::Status Buckets::ReadBack(int64_t bucket, std::vector<uint8_t>* buffer) const {
  // The next one is what the same reader asks for next.
  if (bucket + 1 < cut_.count()) {
    for (const Extent& extent : stages_->extents(bucket + 1)) {
      space_->ReadAhead(extent.bytes, extent.at);
    }
  }
  const std::vector<Extent>& extents = stages_->extents(bucket);
  int64_t bytes = 0;
  for (const Extent& extent : extents) bytes += extent.bytes;
  buffer->resize(bytes);
  uint8_t* to = buffer->data();
  for (const Extent& extent : extents) {
    ARROW_RETURN_NOT_OK(space_->Read(to, extent.bytes, extent.at));
    to += extent.bytes;
  }
  if (segment::Crc32c(0, buffer->data(), bytes) == stages_->crc32c(bucket)) return {};
  return Error(Code::kDataLoss, "rows dealt for a full shuffle were damaged on disk: read again");
}

}  // namespace flightbridge::deal
