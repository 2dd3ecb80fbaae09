// How the places of an order are cut into buckets, and how packed rows are put into them.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <utility>
#include <vector>

#include <arrow/result.h>
#include <arrow/status.h>

#include "deal/piles.h"
#include "deal/row_codec.h"
#include "deal/space.h"
#include "deal/stages.h"

namespace flightbridge::deal {

// 1 << shift places each; the last may have fewer.
struct BucketCut {
  int64_t rows = 0;
  int shift = 0;

  // Buckets of about `bucket_bytes`, at most `most` of them. `row_bytes`: on average, about.
  static BucketCut Of(int64_t rows, int64_t row_bytes, int64_t bucket_bytes, int64_t most);
  int64_t count() const { return (rows + (int64_t{1} << shift) - 1) >> shift; }
  int64_t begin(int64_t bucket) const { return bucket << shift; }
  int64_t end(int64_t bucket) const { return std::min(rows, (bucket + 1) << shift); }
};

// The rows of one bucket, findable by their place; those of a bucket on disk are in here.
class BucketIndex {
 public:
  const uint8_t* RowAt(int64_t place_in_bucket) const { return rows_[place_in_bucket]; }

 private:
  friend class Buckets;
  // `bytes` are packed rows with headers, in any order. How many.
  int64_t Add(const RowCodec& codec, std::span<const uint8_t> bytes);

  std::vector<const uint8_t*> rows_;
  std::vector<uint8_t> buffer_;
};

// Rows come in the order of the feed and leave bucket by bucket. While they come several threads
// may add, then several may read.
class Buckets {
 public:
  // What a thread that adds works in.
  class Room {
   private:
    friend class Buckets;
    std::vector<uint8_t> tile_;
    std::vector<uint8_t*> to_;
    std::vector<uint32_t> in_bucket_;
    // On disk: rows packed in the order of their buckets, and where each bucket's end.
    std::vector<uint8_t> packed_;
    std::vector<int64_t> ends_;
  };

  // What buckets on disk need.
  struct OnDisk {
    int64_t stage_limit = 0;   // bytes of what gathers before it is written
    int64_t bucket_bytes = 0;  // about, where rows vary in size
    Stages::Grow grow;         // likewise
  };

  // Rows of one size without headers lie each at its own place, in memory. With headers buckets lie
  // one behind the other, on disk. Where rows vary in size, their buckets take what they need.
  Buckets(BucketCut cut, std::shared_ptr<const RowCodec> codec, std::shared_ptr<Space> space,
          const OnDisk& on_disk);

  const BucketCut& cut() const { return cut_; }
  const RowCodec& codec() const { return *codec_; }
  const std::shared_ptr<Space>& space() const { return space_; }
  bool in_place() const { return !stages_ && !piles_; }

  // Packs rows [first, first + places.size()) of a stored record batch into their buckets. `sizes`
  // where rows vary in size. Blocks on the disk. RESOURCE_EXHAUSTED where the space is used up.
  arrow::Status Add(const feed::PickColumn* columns, int64_t first, std::span<const int64_t> places,
                    std::span<const uint32_t> sizes, Room* room);
  // Behind the last row.
  arrow::Status Finish();

  // Finds the rows of a bucket; not where they are in place. DATA_LOSS where they were damaged on
  // disk.
  arrow::Status Load(int64_t bucket, BucketIndex* index) const;
  // As RowCodec::Unpack().
  arrow::Result<std::shared_ptr<arrow::RecordBatch>> Unpack(
      std::span<const uint8_t* const> rows) const {
    return codec_->Unpack(rows, nulls_);
  }

 private:
  int64_t SizeOf(std::span<const uint32_t> sizes, size_t i) const {
    return sizes.empty() ? codec_->row_bytes() : sizes[i];
  }
  void Pack(const feed::PickColumn* columns, int64_t first, Room* room) const;
  arrow::Status AddStaged(const feed::PickColumn* columns, int64_t first,
                          std::span<const int64_t> places, std::span<const uint32_t> sizes,
                          Room* room);
  arrow::Status ReadBack(int64_t bucket, std::vector<uint8_t>* buffer) const;

  const BucketCut cut_;
  const std::shared_ptr<const RowCodec> codec_;
  const std::shared_ptr<Space> space_;
  std::optional<Piles> piles_;    // in memory, of rows that vary in size
  std::optional<Stages> stages_;  // on disk
  NullFlags nulls_;               // of what was added
};

}  // namespace flightbridge::deal
