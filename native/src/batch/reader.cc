#include "batch/reader.h"

#include <algorithm>
#include <exception>
#include <utility>

#include "flightbridge/error.h"

namespace flightbridge::batch {
namespace {

constexpr int64_t kDefaultPrefetchBytes = 64 << 20;
constexpr int64_t kDefaultConnections = 2;
constexpr int64_t kDefaultSlabs = 8;
constexpr int64_t kMaxConnections = 64;
constexpr int64_t kMaxSlabs = 1024;
constexpr int64_t kMaxPartShards = 1 << 20;
constexpr int64_t kMaxBatchRows = int64_t{1} << 30;

int64_t OrDefault(int64_t value, int64_t fallback) { return value == 0 ? fallback : value; }

arrow::Status OutOfRange(const char* name, int64_t value, const char* remedy) {
  return Error(Code::kInvalidArgument, name, "=", value, " is out of range: ", remedy);
}

arrow::Status CheckSpec(const proto::ReaderSpec& spec) {
  if (spec.feed.empty()) return Error(Code::kInvalidArgument, "feed='' is empty: name a feed");
  if (spec.batch_size < 1 || spec.batch_size > kMaxBatchRows) {
    return OutOfRange("batch_size", spec.batch_size, "give 1 to 1073741824 rows");
  }
  if (spec.epochs < 1 && spec.epochs != -1) {
    return OutOfRange("epochs", spec.epochs, "give at least 1, or -1 to read without end");
  }
  if (spec.first_epoch < 0 || spec.first_epoch > INT64_MAX - std::max<int64_t>(0, spec.epochs)) {
    return OutOfRange("first_epoch", spec.first_epoch, "give 0 or more");
  }
  if (spec.num_shards < 1) return OutOfRange("num_shards", spec.num_shards, "give at least 1");
  if (spec.shard < 0 || spec.shard >= spec.num_shards) {
    return OutOfRange("shard", spec.shard, "shards are numbered from 0 to num_shards - 1");
  }
  if (spec.policy < proto::ShardPolicy::kUnspecified ||
      spec.policy > proto::ShardPolicy::kDynamic) {
    return OutOfRange("policy", static_cast<int>(spec.policy),
                      "this version knows off, static, static_partition and dynamic");
  }
  if (spec.uneven < proto::UnevenShards::kUnspecified || spec.uneven > proto::UnevenShards::kDrop) {
    return OutOfRange("uneven", static_cast<int>(spec.uneven),
                      "this version knows join, pad and drop");
  }
  if (spec.policy == proto::ShardPolicy::kStaticPartition && spec.num_shards > kMaxPartShards) {
    return OutOfRange("num_shards", spec.num_shards,
                      "policy static_partition takes at most 1048576 shards");
  }
  if (spec.shuffle_window < plan::kWholeShard) {
    return OutOfRange("shuffle_window", spec.shuffle_window,
                      "give a number of rows, 0 for the feed's order or -1 for the whole shard");
  }
  if (spec.prefetch_bytes < 0) {
    return OutOfRange("prefetch_bytes", spec.prefetch_bytes, "give bytes above 0");
  }
  if (spec.connections < 0 || spec.connections > kMaxConnections) {
    return OutOfRange("connections", spec.connections, "give 1 to 64");
  }
  if (spec.slabs < 0 || spec.slabs > kMaxSlabs) {
    return OutOfRange("slabs", spec.slabs, "give 1 to 1024");
  }
  return arrow::Status::OK();
}

plan::ShardSpec ShardOf(const proto::ReaderSpec& spec) {
  plan::ShardSpec shard{.shard = spec.shard, .num_shards = spec.num_shards};
  if (spec.policy != proto::ShardPolicy::kUnspecified) shard.policy = spec.policy;
  if (spec.uneven != proto::UnevenShards::kUnspecified) shard.uneven = spec.uneven;
  return shard;
}

plan::OrderSpec OrderOf(const proto::ReaderSpec& spec) {
  return {.shard = spec.shard,
          .num_shards = spec.num_shards,
          .window = spec.shuffle_window,
          .seed = spec.seed};
}

arrow::Status Cancelled() { return Error(Code::kCancelled, "the reader was cancelled"); }

}  // namespace

arrow::Result<std::unique_ptr<Reader>> Reader::Open(const proto::ReaderSpec& spec,
                                                    ConnectFn connect, bool local) {
  ARROW_RETURN_NOT_OK(CheckSpec(spec));
  std::unique_ptr<Reader> reader(new Reader(spec, std::move(connect), local));
  ARROW_RETURN_NOT_OK(reader->Describe());
  return reader;
}

Reader::Reader(const proto::ReaderSpec& spec, ConnectFn connect, bool local)
    : spec_(spec),
      connect_(std::move(connect)),
      // Without a socket there is nothing to wait for that a second thread could hide.
      connections_(OrDefault(spec.connections, local ? 1 : kDefaultConnections)),
      prefetch_bytes_(OrDefault(spec.prefetch_bytes, kDefaultPrefetchBytes)),
      slabs_(OrDefault(spec.slabs, kDefaultSlabs)),
      pool_(std::make_shared<SlabPool>(slabs_ + 2)),
      queue_(slabs_) {}

Reader::~Reader() {
  Cancel();
  if (assembler_.joinable()) assembler_.join();
}

arrow::Status Reader::Describe() {
  ARROW_ASSIGN_OR_RAISE(source_, connect_());
  ARROW_ASSIGN_OR_RAISE(feed_, source_->DescribeFeed());
  if (feed_.state != proto::FeedState::kCommitted) {
    return Error(Code::kFailedPrecondition, "feed '", spec_.feed,
                 "' is not committed yet: wait until its write job ends");
  }
  if (spec_.fingerprint != 0 && spec_.fingerprint != feed_.fingerprint) {
    return Error(Code::kFailedPrecondition, "feed '", spec_.feed,
                 "' changed since the dataset was made: make the dataset again");
  }
  ARROW_ASSIGN_OR_RAISE(const auto schema, source_->GetSchema());
  ARROW_ASSIGN_OR_RAISE(layouts_, LayoutsOf(*schema, spec_.columns));

  std::vector<plan::PartitionRows> partitions;
  partitions.reserve(feed_.partitions.size());
  for (const auto& p : feed_.partitions) partitions.push_back({p.partition, p.rows});
  rows_ = std::make_shared<const plan::FeedRows>(std::move(partitions));
  const plan::OrderSpec order = OrderOf(spec_);
  const plan::ShardSpec shard = ShardOf(spec_);
  shard_ = std::make_shared<const plan::ShardRows>(rows_, shard);
  const int64_t shard_rows = shard_->rows();
  if (order.shuffled() && shard_rows > plan::kMaxWindowRows &&
      (order.window < 0 || order.window > plan::kMaxWindowRows / 2)) {
    return OutOfRange("shuffle_window", order.window,
                      "a window of this shard holds at most 2147483647 rows");
  }
  context_ = {.feed = spec_.feed,
              .fingerprint = feed_.fingerprint,
              .schema_hash = feed_.schema_hash,
              .order = order,
              .policy = shard.policy,
              .uneven = shard.uneven,
              .epochs = spec_.epochs < 0 ? -1 : spec_.first_epoch + spec_.epochs,
              .shard_rows = shard_rows};
  epoch_ = spec_.first_epoch;
  return arrow::Status::OK();
}

arrow::Status Reader::Seek(const proto::Position& position) {
  ARROW_RETURN_NOT_OK(plan::VerifyPosition(position, context_));
  const std::lock_guard lock(mutex_);
  if (started_) {
    return Error(Code::kFailedPrecondition,
                 "the reader has begun: seek before the first batch, or open another reader");
  }
  epoch_ = position.epoch;
  cursor_ = position.cursor;
  return arrow::Status::OK();
}

proto::Position Reader::position() const {
  const std::lock_guard lock(mutex_);
  return plan::MakePosition(context_, epoch_, cursor_);
}

ReaderStats Reader::stats() const {
  return {.feed_rows = rows_->rows(),
          .own_rows = shard_->own_rows(),
          .padded_rows = shard_->padded_rows(),
          .dropped_rows = shard_->dropped_rows()};
}

void Reader::Cancel() {
  const std::lock_guard lock(mutex_);
  cancelled_ = true;
  if (fetcher_ != nullptr) fetcher_->Cancel();
  queue_.Cancel(Cancelled());
}

arrow::Result<BatchPtr> Reader::Next() {
  Start();
  ARROW_ASSIGN_OR_RAISE(std::optional<ReadyBatch> ready, queue_.Pop());
  const std::lock_guard lock(mutex_);
  if (!ready) {
    if (context_.epochs > 0) {
      epoch_ = context_.epochs - 1;
      cursor_ = context_.shard_rows;
    }
    return nullptr;
  }
  epoch_ = ready->epoch;
  cursor_ = ready->cursor;
  return std::move(ready->batch);
}

bool Reader::WaitFor(std::chrono::milliseconds timeout) {
  Start();
  return queue_.WaitFor(timeout);
}

void Reader::Start() {
  const std::lock_guard lock(mutex_);
  if (started_ || cancelled_) return;
  started_ = true;
  fetcher_ = std::make_unique<Fetcher>(
      connect_, std::move(source_), feed_, layouts_, rows_,
      plan::Schedule(MakeScheduleSpec(), shard_, epoch_, cursor_),
      FetchOptions{.connections = connections_, .prefetch_bytes = prefetch_bytes_});
  assembler_ = std::thread(&Reader::Run, this);
}

plan::ScheduleSpec Reader::MakeScheduleSpec() const {
  // Units that let every connection be busy within what may be read ahead.
  const int64_t unit_bytes =
      std::clamp<int64_t>(prefetch_bytes_ / (2 * connections_), 1 << 20, 64 << 20);
  const int64_t row_bytes = std::max<int64_t>(1, feed_.bytes / std::max<int64_t>(1, feed_.rows));
  int64_t unit_rows = std::max<int64_t>(1, unit_bytes / row_bytes);
  constexpr int64_t kRound = 8192;  // writers like powers of two: fewer batches are cut
  if (unit_rows > kRound) unit_rows -= unit_rows % kRound;
  return {.order = context_.order,
          .epochs = context_.epochs,
          .batch_size = spec_.batch_size,
          .drop_remainder = spec_.drop_remainder,
          .unit_rows = unit_rows,
          .units_per_window = connections_};
}

void Reader::Run() {
  try {
    queue_.Finish(AssembleAll());
  } catch (const std::exception& e) {
    queue_.Finish(Error(Code::kResourceExhausted, "the reader stopped: ", e.what()));
  }
}

arrow::Status Reader::AssembleAll() {
  batch_epoch_ = epoch_;
  batch_cursor_ = cursor_;
  for (;;) {
    ARROW_ASSIGN_OR_RAISE(const plan::Unit* unit, fetcher_->NextUnit());
    if (unit == nullptr) return Emit();
    if (unit->epoch != batch_epoch_) {
      ARROW_RETURN_NOT_OK(Emit());
      batch_epoch_ = unit->epoch;
      batch_cursor_ = unit->cursor;
    }
    ARROW_RETURN_NOT_OK(TakeUnit(*unit));
  }
}

arrow::Status Reader::TakeUnit(const plan::Unit& unit) {
  for (;;) {
    ARROW_ASSIGN_OR_RAISE(std::unique_ptr<Chunk> chunk, fetcher_->NextChunk());
    if (chunk == nullptr) break;
    window_.push_back(std::move(chunk));
    if (unit.shuffle) continue;
    Part part;
    part.table = std::make_shared<const ChunkTable>(std::exchange(window_, {}), layouts_.size());
    part.count = part.table->rows();
    ARROW_RETURN_NOT_OK(Add(std::move(part)));
  }
  if (!unit.shuffle || !unit.group_end) return arrow::Status::OK();
  auto table = std::make_shared<ChunkTable>(std::exchange(window_, {}), layouts_.size());
  table->Shuffle(*unit.shuffle);
  Part part;
  part.rows = table->order().data();
  part.first = unit.skip;
  part.count = unit.take;
  part.table = std::move(table);
  return Add(std::move(part));
}

// Adds rows to the batch being filled, and hands out every batch that gets full.
arrow::Status Reader::Add(Part part) {
  while (part.count > 0) {
    Part taken = part;
    taken.count = std::min(part.count, spec_.batch_size - filled_rows_);
    if (part.rows != nullptr) taken.rows = part.rows + part.first;
    part.first += taken.count;
    part.count -= taken.count;
    filled_rows_ += taken.count;
    parts_.push_back(std::move(taken));
    if (filled_rows_ == spec_.batch_size) ARROW_RETURN_NOT_OK(Emit());
  }
  return arrow::Status::OK();
}

arrow::Status Reader::Emit() {
  if (filled_rows_ == 0) return arrow::Status::OK();
  ARROW_ASSIGN_OR_RAISE(BatchPtr batch, Assemble(layouts_, parts_, pool_));
  batch_cursor_ += filled_rows_;
  filled_rows_ = 0;
  parts_.clear();
  if (!queue_.Push({std::move(batch), batch_epoch_, batch_cursor_})) return Cancelled();
  return arrow::Status::OK();
}

}  // namespace flightbridge::batch
