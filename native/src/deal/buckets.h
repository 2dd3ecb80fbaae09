// How the places of an order are cut into buckets, and how packed rows are put into them.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <span>
#include <utility>
#include <vector>

#include <arrow/result.h>
#include <arrow/status.h>

#include "deal/row_codec.h"
#include "deal/space.h"

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

// The rows of one bucket, findable by their place.
class BucketIndex {
 public:
  // `bytes` are packed rows with headers, in any order; `rows` of them.
  void Build(std::span<const uint8_t> bytes, int64_t rows);
  const uint8_t* RowAt(int64_t place_in_bucket) const { return rows_[place_in_bucket]; }

 private:
  std::vector<const uint8_t*> rows_;
};

// Rows come in the order of the feed and leave bucket by bucket. While they come several threads
// may add (in memory only), then several may read.
class Buckets {
 public:
  // `starts`: where in the space each bucket begins, and where the last one ends. Empty: every row
  // lies at its own place, without a header, in memory.
  Buckets(BucketCut cut, std::shared_ptr<const RowCodec> codec, std::shared_ptr<Space> space,
          std::vector<int64_t> starts);

  const BucketCut& cut() const { return cut_; }
  const RowCodec& codec() const { return *codec_; }
  const std::shared_ptr<Space>& space() const { return space_; }
  bool in_place() const { return starts_.empty(); }

  // Where rows are packed to before they are written, of buckets on disk: bytes that this takes.
  int64_t stage_bytes() const { return staged_bytes_ * cut_.count(); }
  // Before the first row, of buckets on disk. `limit`: of all stages together.
  void MakeStages(int64_t limit);

  // Packs rows [first, first + places.size()), at most RowCodec::kBlock, into their buckets.
  // `sizes` where rows vary in size. `tile`: as for RowCodec::Pack.
  arrow::Status Add(const feed::PickColumn* columns, int64_t first, std::span<const int64_t> places,
                    std::span<const uint32_t> sizes, uint8_t* tile);
  // Behind the last row.
  arrow::Status Finish();

  // A bucket's packed rows, in `buffer` where they are on disk. DATA_LOSS where they were damaged
  // there.
  arrow::Result<std::span<const uint8_t>> Load(int64_t bucket, std::vector<uint8_t>* buffer) const;

 private:
  struct Stage {
    std::unique_ptr<uint8_t[]> bytes;
    int64_t used = 0;
    uint32_t crc32c = 0;  // of what was written so far
  };

  arrow::Status Append(int64_t bucket, const uint8_t* row, int64_t bytes);
  arrow::Status Flush(int64_t bucket);

  const BucketCut cut_;
  const std::shared_ptr<const RowCodec> codec_;
  const std::shared_ptr<Space> space_;
  const std::vector<int64_t> starts_;
  std::vector<std::atomic<int64_t>> ends_;  // of what is there, by bucket
  std::vector<Stage> stages_;
  int64_t staged_bytes_ = 0;   // of one stage
  std::vector<uint8_t> room_;  // rows packed for stages
};

}  // namespace flightbridge::deal
