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

// The rows of one bucket, findable by their place.
class BucketIndex {
 public:
  // `bytes` are packed rows with headers, in any order; `rows` of them.
  void Build(const RowCodec& codec, std::span<const uint8_t> bytes, int64_t rows);
  const uint8_t* RowAt(int64_t place_in_bucket) const { return rows_[place_in_bucket]; }

 private:
  std::vector<const uint8_t*> rows_;
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

  // `starts`: where in the space each bucket begins, and where the last one ends. Empty: every row
  // lies at its own place, without a header, in memory. `stage_limit`: bytes, of what gathers for
  // buckets on disk before it is written.
  Buckets(BucketCut cut, std::shared_ptr<const RowCodec> codec, std::shared_ptr<Space> space,
          std::vector<int64_t> starts, int64_t stage_limit);

  const BucketCut& cut() const { return cut_; }
  const RowCodec& codec() const { return *codec_; }
  const std::shared_ptr<Space>& space() const { return space_; }
  bool in_place() const { return starts_.empty(); }

  // Packs rows [first, first + places.size()) of a stored record batch into their buckets. `sizes`
  // where rows vary in size. Blocks on the disk.
  arrow::Status Add(const feed::PickColumn* columns, int64_t first, std::span<const int64_t> places,
                    std::span<const uint32_t> sizes, Room* room);
  // Behind the last row.
  arrow::Status Finish();

  // A bucket's packed rows, in `buffer` where they are on disk. DATA_LOSS where they were damaged
  // there.
  arrow::Result<std::span<const uint8_t>> Load(int64_t bucket, std::vector<uint8_t>* buffer) const;
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

  const BucketCut cut_;
  const std::shared_ptr<const RowCodec> codec_;
  const std::shared_ptr<Space> space_;
  const std::vector<int64_t> starts_;
  std::vector<std::atomic<int64_t>> ends_;  // of what is there, by bucket in memory
  std::optional<Stages> stages_;            // on disk
  NullFlags nulls_;                         // of what was added
};

}  // namespace flightbridge::deal
