#include "deal/deal.h"

#include <algorithm>
#include <exception>
#include <thread>
#include <utility>

#include "common/thread.h"
#include "flightbridge/error.h"

namespace flightbridge::deal {
namespace {

// Buckets in memory fit the cache of a core.
constexpr int64_t kBucketBytes = 1 << 20;
constexpr int64_t kMostInMemory = 1 << 16;
// On disk they are what a reader holds at once, and as few as let each write be a whole block.
constexpr int64_t kMostBucketBytes = 4 << 20;
constexpr int64_t kMostOnDisk = 1 << 12;
// Rows that a thread takes at a time.
constexpr int64_t kPiece = 1 << 14;

struct Piece {
  FeedRows::Message message;
  int64_t begin = 0;  // in the message
  int64_t end = 0;
};

std::vector<Piece> Cut(const std::vector<FeedRows::Message>& messages) {
  std::vector<Piece> pieces;
  for (const auto& message : messages) {
    for (int64_t begin = 0; begin < message.rows; begin += kPiece) {
      pieces.push_back({message, begin, std::min(begin + kPiece, message.rows)});
    }
  }
  return pieces;
}

arrow::Status GivenUp() {
  return Error(Code::kCancelled, "the rows dealt for a full shuffle were given up");
}

}  // namespace

void Deal::Run() {
  arrow::Status status;
  try {
    status = DealRows();
  } catch (const std::exception& e) {
    status = Error(Code::kResourceExhausted, "dealing rows for a full shuffle stopped: ", e.what());
  }
  const std::shared_ptr<const FeedRows> rows = std::move(spec_.rows);  // released outside the lock
  const std::lock_guard lock(mutex_);
  over_ = true;
  status_ = std::move(status);
  if (!status_.ok() || revoked_) {
    buckets_ = nullptr;
    bytes_ = 0;
  }
  changed_.notify_all();
}

void Deal::Revoke() {
  revoked_ = true;
  std::shared_ptr<Buckets> last;  // released outside the lock
  const std::lock_guard lock(mutex_);
  if (!over_) return;
  last = std::move(buckets_);
  bytes_ = 0;
}

bool Deal::WaitUntilOver(std::chrono::milliseconds patience) const {
  std::unique_lock lock(mutex_);
  return changed_.wait_for(lock, patience, [&] { return over_; });
}

bool Deal::WaitUntilFree(std::chrono::milliseconds patience) const {
  std::unique_lock lock(mutex_);
  return changed_.wait_for(lock, patience, [&] { return over_ && pins_ == 0; });
}

arrow::Result<Deal::Pin> Deal::Get() const {
  const std::lock_guard lock(mutex_);
  if (revoked_) return Pin();
  ARROW_RETURN_NOT_OK(status_);
  ++pins_;
  return Pin(this, buckets_);
}

void Deal::Unpin(std::shared_ptr<const Buckets> buckets) const {
  buckets.reset();  // the last one frees the space
  const std::lock_guard lock(mutex_);
  --pins_;
  changed_.notify_all();
}

std::shared_ptr<Space> Deal::TakeSpace() {
  revoked_ = true;
  std::shared_ptr<Buckets> last;  // released outside the lock
  const std::lock_guard lock(mutex_);
  if (!over_ || buckets_ == nullptr) return nullptr;
  last = std::move(buckets_);
  bytes_ = 0;
  return pins_ == 0 ? last->space() : nullptr;
}

arrow::Status Deal::DealRows() {
  places_ = std::make_unique<plan::InversePermutation>(*spec_.order);
  ARROW_RETURN_NOT_OK(MakeBuckets());
  Buckets& buckets = *buckets_;
  const RowCodec& codec = buckets.codec();
  const auto make_work = [&]() -> Work {
    struct Hands {
      std::vector<int64_t> places = std::vector<int64_t>(kPiece);
      std::vector<uint32_t> sizes;
      Buckets::Room room;
    };
    const auto hands = std::make_shared<Hands>();
    if (!codec.fixed()) hands->sizes.resize(kPiece);
    return [&, hands](const feed::PickColumn* columns, int64_t first, int64_t begin, int64_t end) {
      const auto rows = static_cast<size_t>(end - begin);
      const std::span places = std::span(hands->places).first(rows);
      const std::span sizes = std::span(hands->sizes).first(codec.fixed() ? 0 : rows);
      places_->PlacesOf(first, places);
      if (!codec.fixed()) ARROW_RETURN_NOT_OK(codec.Sizes(columns, begin, sizes));
      ARROW_RETURN_NOT_OK(buckets.Add(columns, begin, places, sizes, &hands->room));
      bytes_.store(buckets.space()->bytes(), std::memory_order_relaxed);
      dealt_rows_.fetch_add(end - begin, std::memory_order_relaxed);
      return arrow::Status::OK();
    };
  };
  ARROW_RETURN_NOT_OK(ForEachPiece(make_work, spec_.threads));
  const auto status = buckets.Finish();
  bytes_ = buckets.space()->bytes();
  return status;
}

// Looks at each record batch of a feed in memory, and at nothing but the schema of another one.
arrow::Result<Deal::Outline> Deal::OutlineRows() const {
  Outline outline;
  outline.nulls.resize(spec_.columns.size());
  if (!spec_.resident) {
    for (size_t c = 0; c < outline.nulls.size(); ++c) {
      outline.nulls[c] = spec_.schema->field(static_cast<int>(c))->nullable();
    }
    outline.varying_bytes = spec_.rows->varying_bytes();
    outline.exact =
        RowCodec::CountVarying(*spec_.schema) == RowCodec::CountVarying(spec_.rows->schema());
    return outline;
  }
  for (const auto& message : spec_.rows->All()) {
    ARROW_ASSIGN_OR_RAISE(const feed::PickColumn* columns,
                          message.partition->index->Columns(*message.partition, message.index));
    for (size_t c = 0; c < outline.nulls.size(); ++c) {
      const feed::PickColumn& column = columns[spec_.columns[c]];
      outline.nulls[c] = outline.nulls[c] || column.validity != nullptr;
      outline.varying_bytes += RowCodec::VaryingBytes(
          *spec_.schema->field(static_cast<int>(c))->type(), column, message.rows);
    }
  }
  return outline;
}

arrow::Status Deal::MakeBuckets() {
  ARROW_ASSIGN_OR_RAISE(const Outline outline, OutlineRows());
  auto codec =
      std::make_shared<RowCodec>(spec_.schema, spec_.columns, outline.nulls, /*headers=*/false);
  const int64_t average = std::max(codec->row_bytes(), spec_.rows->bytes() / rows_);
  const int64_t least = rows_ * codec->row_bytes();
  const int64_t most =
      codec->fixed() ? least : rows_ * codec->MostRowBytes() + outline.varying_bytes;
  BucketCut cut = BucketCut::Of(rows_, average, kBucketBytes, kMostInMemory);
  std::shared_ptr<Space> space =
      spec_.take_memory(codec->fixed() ? most : Piles::MostBytes(most, cut.count()));
  Buckets::OnDisk on_disk;
  if (space == nullptr) {
    const int64_t blocks = std::max<int64_t>(1, spec_.stage_bytes / Stages::kBlock);
    const int64_t largest = std::clamp(spec_.stage_bytes / 8, kBucketBytes, kMostBucketBytes);
    const int64_t bucket_bytes = std::clamp(rows_ * average / blocks, kBucketBytes, largest);
    cut = BucketCut::Of(rows_, average, bucket_bytes, kMostOnDisk);
    if (codec->fixed()) {
      codec =
          std::make_shared<RowCodec>(spec_.schema, spec_.columns, outline.nulls, /*headers=*/true);
    }
    // What is not known to be needed is taken when it is.
    const int64_t expected = codec->fixed()  ? rows_ * codec->row_bytes()
                             : outline.exact ? most
                                             : least;
    ARROW_ASSIGN_OR_RAISE(space, spec_.take_disk(expected));
    on_disk = {
        spec_.stage_bytes, expected / cut.count(),
        [this, grown = space.get()](int64_t bytes) { return spec_.grow_disk(grown, bytes); }};
  }
  in_memory_ = space->in_memory();
  bytes_ = space->bytes();
  auto buckets = std::make_shared<Buckets>(cut, std::move(codec), std::move(space), on_disk);
  const std::lock_guard lock(mutex_);
  buckets_ = std::move(buckets);
  return {};
}

// Calls work(columns, first row in the feed, begin, end in the record batch) for all rows.
arrow::Status Deal::ForEachPiece(const std::function<Work()>& make_work, int threads) {
  const std::vector<Piece> pieces = Cut(spec_.rows->All());
  std::atomic<size_t> next{0};
  std::mutex mutex;
  arrow::Status failure;
  const auto run = [&] {
    arrow::Status status;
    try {
      const Work work = make_work();
      while (status.ok()) {
        const size_t i = next.fetch_add(1);
        if (i >= pieces.size()) return;
        if (revoked_) {
          status = GivenUp();
          break;
        }
        const Piece& piece = pieces[i];
        const feed::Partition& partition = *piece.message.partition;
        const auto columns = partition.index->Columns(partition, piece.message.index);
        status = columns.ok()
                     ? work(*columns, piece.message.first_row + piece.begin, piece.begin, piece.end)
                     : columns.status();
      }
    } catch (const std::exception& e) {
      status =
          Error(Code::kResourceExhausted, "dealing rows for a full shuffle stopped: ", e.what());
    }
    next = pieces.size();
    const std::lock_guard lock(mutex);
    if (failure.ok()) failure = std::move(status);
  };
  std::vector<std::thread> helpers;
  const auto most = std::min<size_t>(threads, pieces.size());
  for (size_t i = 1; i < most; ++i) helpers.push_back(StartThread(run));
  run();
  for (std::thread& helper : helpers) helper.join();
  return failure;
}

}  // namespace flightbridge::deal
