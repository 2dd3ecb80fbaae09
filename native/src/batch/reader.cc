#include "batch/reader.h"

#include <algorithm>
#include <map>
#include <utility>

#include "batch/follower.h"
#include "batch/generation_view.h"
#include "common/format.h"
#include "feed/row_gather.h"
#include "flightbridge/error.h"

namespace flightbridge::batch {
namespace {

constexpr int64_t kDefaultPrefetchBytes = 64 << 20;
constexpr int64_t kDefaultConnections = 2;
constexpr int64_t kDefaultSlabs = 8;
constexpr int64_t kMaxConnections = 64;
constexpr int64_t kMaxSlabs = 1024;
constexpr int64_t kMaxPartShards = 1 << 20;
constexpr int64_t kMostAtOnce = 64;
constexpr int64_t kMostPicks = int64_t{1} << 19;
constexpr int64_t kMaxBatchRows = int64_t{1} << 30;

int64_t OrDefault(int64_t value, int64_t fallback) { return value == 0 ? fallback : value; }

arrow::Status OutOfRange(const char* name, int64_t value, const char* remedy) {
  return Error(Code::kInvalidArgument, name, "=", value, " is out of range: ", remedy);
}

arrow::Status CheckLeaseSpec(const proto::ReaderSpec& spec) {
  if (spec.policy != proto::ShardPolicy::kDynamic) {
    if (spec.group.empty()) return arrow::Status::OK();
    return Error(Code::kInvalidArgument, "group='", spec.group,
                 "' is for policy dynamic: readers "
                 "with shards of their own share nothing");
  }
  if (spec.group.empty() || spec.group.size() > 200) {
    return Error(Code::kInvalidArgument, "group='", spec.group.substr(0, 40),
                 "' is not a group's name: policy dynamic needs one of 1 to 200 bytes, the same "
                 "for all readers that share the feed and another for every run");
  }
  if (spec.num_shards != 1) {
    return OutOfRange("num_shards", spec.num_shards,
                      "under policy dynamic no reader has a shard: leave it out");
  }
  if (spec.uneven == proto::UnevenShards::kPad || spec.uneven == proto::UnevenShards::kDrop) {
    return Error(Code::kInvalidArgument, "uneven is '", plan::NameOf(spec.uneven),
                 "': under policy dynamic a reader's rows are known only when the epoch is over; "
                 "use a static policy");
  }
  if (spec.split_rows < 0 || spec.split_rows > plan::kMaxWindowRows / 2) {
    return OutOfRange("split_rows", spec.split_rows, "give 1 to 2147483647 rows");
  }
  if (spec.lease_timeout_s != 0 &&
      !(spec.lease_timeout_s >= 0.1 && spec.lease_timeout_s <= 86400)) {
    return Error(Code::kInvalidArgument, "lease_timeout_s=", spec.lease_timeout_s,
                 " is out of range: give 0.1 to 86400 seconds");
  }
  return arrow::Status::OK();
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
  if (spec.generation < 0) {
    return OutOfRange("generation", spec.generation, "give 1 or more, or 0 for all that are there");
  }
  return CheckLeaseSpec(spec);
}

// An epoch beyond those that the feed is kept for would fail in its middle.
arrow::Status CheckRetention(const proto::ReaderSpec& spec, const proto::FeedInfo& feed) {
  const int64_t kept = feed.retention ? feed.retention->epochs : 0;
  if (kept == 0 || (spec.epochs >= 0 && spec.first_epoch + spec.epochs <= kept)) return {};
  return Error(Code::kInvalidArgument, "epochs=", spec.epochs,
               spec.first_epoch > 0 ? " from epoch " + std::to_string(spec.first_epoch) : "",
               " is more than feed '", spec.feed, "' is kept for: it was written with retention=",
               kept == 1 ? "once" : "epochs=" + std::to_string(kept),
               "; read fewer, or write it with retention=keep");
}

// The first column whose rows a server does not put into order; nullptr where it does with all.
const ColumnLayout* FindUnordered(const std::vector<ColumnLayout>& layouts) {
  const auto found = std::ranges::find_if(
      layouts, [](const ColumnLayout& layout) { return !feed::IsDealt(*layout.type); });
  return found == layouts.end() ? nullptr : &*found;
}

// Each piece of a full order has rows from everywhere: picked from disk it would read the feed once
// a piece.
arrow::Status CheckFullShuffle(const proto::ReaderSpec& spec, const proto::FeedInfo& feed,
                               const std::vector<ColumnLayout>& layouts) {
  if (spec.shuffle_window != plan::kWholeShard || feed.memory_limit_bytes == 0) return {};
  const ColumnLayout* const unordered = FindUnordered(layouts);
  const bool own = spec.policy == proto::ShardPolicy::kStaticPartition;
  if (feed.deals && unordered == nullptr && !own) return {};
  std::map<uint32_t, int64_t> bytes;  // by server
  for (const auto& partition : feed.partitions) bytes[partition.server] += partition.bytes;
  int64_t most = 0;
  for (const auto& [server, held] : bytes) most = std::max(most, held);
  if (most <= feed.memory_limit_bytes) return {};
  std::string why;
  if (feed.deals && own) why = " under policy static_partition";
  if (feed.deals && unordered != nullptr) {
    why = " with column '" + unordered->column + "', a " + unordered->type->ToString() + ",";
  }
  return Error(Code::kFailedPrecondition, "shuffle='full' of feed '", spec.feed, "'", why,
               " needs its ", FormatBytes(most), " in the server's memory, which is limited to ",
               FormatBytes(feed.memory_limit_bytes),
               ": raise the server's --memory-limit, let the feed span more servers, or shuffle by "
               "a window such as shuffle=1000000");
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
                                                    ConnectFn connect, bool local,
                                                    ConnectFn connect_leases) {
  ARROW_RETURN_NOT_OK(CheckSpec(spec));
  if (connect_leases == nullptr) connect_leases = connect;
  std::unique_ptr<Reader> reader(
      new Reader(spec, std::move(connect), local, std::move(connect_leases)));
  if (spec.follow) {
    ARROW_ASSIGN_OR_RAISE(reader->follower_, Follower::Open(spec, reader->connect_, local));
    reader->layouts_ = reader->follower_->layouts();
    return reader;
  }
  ARROW_RETURN_NOT_OK(reader->Describe());
  return reader;
}

Reader::Reader(const proto::ReaderSpec& spec, ConnectFn connect, bool local,
               ConnectFn connect_leases)
    : spec_(spec),
      connect_(std::move(connect)),
      connect_leases_(std::move(connect_leases)),
      // Without a socket there is nothing to wait for that a second thread could hide, but for the
      // memory that single rows are picked from.
      connections_(OrDefault(spec.connections, local && spec.shuffle_window != plan::kWholeShard
                                                   ? 1
                                                   : kDefaultConnections)),
      prefetch_bytes_(OrDefault(spec.prefetch_bytes, kDefaultPrefetchBytes)),
      slabs_(OrDefault(spec.slabs, kDefaultSlabs)),
      pool_(std::make_shared<SlabPool>(slabs_ + 2 + kMostAtOnce)) {}

Reader::~Reader() { Cancel(); }

arrow::Status Reader::Describe() {
  ARROW_ASSIGN_OR_RAISE(source_, connect_());
  ARROW_ASSIGN_OR_RAISE(feed_, source_->DescribeFeed());
  ARROW_RETURN_NOT_OK(PickGeneration());
  if (feed_.state != proto::FeedState::kCommitted) {
    return Error(Code::kFailedPrecondition, "feed '", spec_.feed,
                 "' is not committed yet: wait until its write job ends");
  }
  if (spec_.fingerprint != 0 && spec_.fingerprint != feed_.fingerprint) {
    return Error(Code::kFailedPrecondition, "feed '", spec_.feed,
                 "' changed since the dataset was made: make the dataset again");
  }
  ARROW_RETURN_NOT_OK(CheckRetention(spec_, feed_));
  ARROW_ASSIGN_OR_RAISE(const auto schema, source_->GetSchema());
  ARROW_ASSIGN_OR_RAISE(layouts_, LayoutsFor(*schema, spec_));

  std::vector<plan::PartitionRows> partitions;
  partitions.reserve(feed_.partitions.size());
  for (const auto& p : feed_.partitions) partitions.push_back({p.partition, p.rows});
  rows_ = std::make_shared<const plan::FeedRows>(std::move(partitions));
  if (leased()) return DescribeSplits();
  ARROW_RETURN_NOT_OK(CheckFullShuffle(spec_, feed_, layouts_));
  const plan::OrderSpec order = OrderOf(spec_);
  const plan::ShardSpec shard = ShardOf(spec_);
  shard_ = std::make_shared<const plan::ShardRows>(rows_, shard);
  const int64_t shard_rows = shard_->rows();
  if (shard_rows > plan::kMaxWindowRows && order.window > plan::kMaxWindowRows / 2) {
    return OutOfRange("shuffle_window", order.window,
                      "a window of this shard holds at most 2147483647 rows");
  }
  context_ = {.feed = spec_.feed,
              .fingerprint = feed_.fingerprint,
              .schema_hash = feed_.schema_hash,
              .generation = feed_.generations.empty() ? 0 : feed_.generations.back().generation,
              .order = order,
              .policy = shard.policy,
              .uneven = shard.uneven,
              .epochs = spec_.epochs < 0 ? -1 : spec_.first_epoch + spec_.epochs,
              .shard_rows = shard_rows};
  epoch_ = spec_.first_epoch;
  return arrow::Status::OK();
}

// What there is of a feed that grows, or the part of it that was asked for, by its number or its
// fingerprint.
arrow::Status Reader::PickGeneration() {
  int64_t last = spec_.generation;
  if (last == 0) {
    const auto& all = feed_.generations;
    const auto known =
        spec_.fingerprint == 0 || spec_.fingerprint == feed_.fingerprint
            ? all.end()
            : std::ranges::find(all, spec_.fingerprint, &proto::GenerationInfo::fingerprint);
    if (known != all.end()) {
      last = known->generation;
    } else if (feed_.state == proto::FeedState::kOpen && !all.empty()) {
      last = all.back().generation;
    } else {
      return {};
    }
  }
  if (leased()) {
    return Error(Code::kFailedPrecondition, "policy dynamic of generations up to ", last,
                 " of feed '", spec_.feed,
                 "': leases are of whole feeds; end the feed, or use a static policy");
  }
  connect_ = ViewOf(connect_, spec_.feed, {.first = 0, .last = last});
  ARROW_ASSIGN_OR_RAISE(source_, connect_());
  ARROW_ASSIGN_OR_RAISE(feed_, source_->DescribeFeed());
  return {};
}

arrow::Status Reader::Seek(const proto::Position& position) {
  if (follower_ != nullptr) return follower_->Seek(position);
  ARROW_RETURN_NOT_OK(plan::VerifyPosition(position, context_));
  if (leased()) return SeekLeased(position);
  const std::lock_guard lock(mutex_);
  if (started_) {
    return Error(Code::kFailedPrecondition,
                 "the reader has begun: seek before the first batch, or open another reader");
  }
  ARROW_RETURN_NOT_OK(plan::CheckRanges(position, rows_));
  for (const proto::OrderRange& range : position.remaining) {
    const int64_t rows = plan::ShardOfRange(range, rows_, ShardOf(spec_)).rows();
    if (range.end > rows) {
      return Error(Code::kPositionMismatch, "position has remaining rows up to ", range.end,
                   " of shard ", range.shard, " of ", range.num_shards, ", which has ", rows,
                   " rows: the position is damaged; start from the beginning");
    }
  }
  epoch_ = position.epoch;
  cursor_ = position.cursor;
  plan_until_ = position.plan_until;
  remaining_ = position.remaining;
  return arrow::Status::OK();
}

proto::Position Reader::position() const {
  if (follower_ != nullptr) return follower_->position();
  const std::lock_guard lock(mutex_);
  proto::Position position = plan::MakePosition(context_, epoch_, cursor_);
  if (leased()) DescribeProgress(&position);
  if (epoch_ < plan_until_) {
    position.plan_until = plan_until_;
    for (const proto::OrderRange& range : remaining_) {
      if (range.epoch >= epoch_) position.remaining.push_back(range);
    }
  }
  return position;
}

int64_t Reader::RowsOfEpoch(int64_t epoch) const {
  if (epoch >= plan_until_) return context_.shard_rows;
  int64_t rows = 0;
  for (const proto::OrderRange& range : remaining_) {
    if (range.epoch == epoch) rows += range.end - range.begin;
  }
  return rows;
}

arrow::Result<int64_t> Reader::Skip(int64_t batches) {
  if (follower_ != nullptr) return follower_->Skip(batches);
  if (batches < 0) return OutOfRange("batches", batches, "give 0 or more");
  if (!leased()) {
    const std::lock_guard lock(mutex_);
    if (!started_) return SkipUnread(batches);
  }
  int64_t skipped = 0;
  for (; skipped < batches; ++skipped) {
    ARROW_ASSIGN_OR_RAISE(const BatchPtr batch, Next());
    if (batch == nullptr) break;
  }
  return skipped;
}

// To where reading these batches would have led.
int64_t Reader::SkipUnread(int64_t batches) {
  const auto in_epoch = [&](int64_t epoch, int64_t cursor) {
    const int64_t rows = RowsOfEpoch(epoch) - cursor;
    return rows / spec_.batch_size +
           (rows % spec_.batch_size != 0 && !spec_.drop_remainder ? 1 : 0);
  };
  const int64_t last = context_.epochs < 0 ? INT64_MAX : context_.epochs - 1;
  int64_t left = batches;
  while (left > 0) {
    const int64_t here = in_epoch(epoch_, cursor_);
    if (left <= here) {
      cursor_ += std::min(left * spec_.batch_size, RowsOfEpoch(epoch_) - cursor_);
      return batches;
    }
    left -= here;
    if (epoch_ >= last) break;
    ++epoch_;
    cursor_ = 0;
    const int64_t each = in_epoch(epoch_, 0);
    if (epoch_ < plan_until_) continue;
    if (each == 0) {  // so are all that follow
      if (context_.epochs >= 0) epoch_ = last;
      break;
    }
    const int64_t whole = std::min((left - 1) / each, last - epoch_);
    epoch_ += whole;
    left -= whole * each;
  }
  if (context_.epochs >= 0) cursor_ = RowsOfEpoch(epoch_);
  return batches - left;
}

ReaderStats Reader::stats() const {
  if (follower_ != nullptr) return follower_->stats();
  if (leased()) {
    const std::lock_guard lock(mutex_);
    ReaderStats stats = lease_stats_;
    if (pipeline_ != nullptr) stats.reported_splits += pipeline_->leases()->reported();
    return stats;
  }
  return {.feed_rows = rows_->rows(),
          .own_rows = shard_->own_rows(),
          .padded_rows = shard_->padded_rows(),
          .dropped_rows = shard_->dropped_rows()};
}

arrow::Status Reader::Confirm(const proto::Position& position) {
  if (follower_ != nullptr) return follower_->Confirm(position);
  ARROW_RETURN_NOT_OK(plan::VerifyPosition(position, context_));
  if (!feed_.retention) return arrow::Status::OK();
  ARROW_ASSIGN_OR_RAISE(const auto source, connect_());
  proto::ConfirmPosition request;
  request.position = position;
  return source
      ->Act("ConfirmPosition", request.Encode(),
            "confirming a position of feed '" + spec_.feed + "'")
      .status();
}

void Reader::Cancel() {
  if (follower_ != nullptr) return follower_->Cancel();
  const std::lock_guard lock(mutex_);
  cancelled_ = true;
  if (pipeline_ != nullptr) pipeline_->Cancel();
}

std::shared_ptr<Pipeline> Reader::pipeline() const {
  const std::lock_guard lock(mutex_);
  return pipeline_;
}

arrow::Result<BatchPtr> Reader::Next() {
  if (follower_ != nullptr) return follower_->Next();
  Start();
  if (pipeline_ == nullptr) return Cancelled();
  if (leased()) return NextLeased();
  ARROW_ASSIGN_OR_RAISE(std::optional<ReadyBatch> ready, pipeline_->queue().Pop());
  const std::lock_guard lock(mutex_);
  if (!ready) {
    if (context_.epochs > 0) {
      epoch_ = context_.epochs - 1;
      cursor_ = RowsOfEpoch(epoch_);
    }
    return nullptr;
  }
  epoch_ = ready->epoch;
  cursor_ = ready->cursor;
  return std::move(ready->batch);
}

bool Reader::WaitFor(std::chrono::milliseconds timeout) {
  if (follower_ != nullptr) return follower_->WaitFor(timeout);
  Start();
  if (pipeline_ == nullptr) return true;
  if (leased()) return PrepareLeased(Clock::now() + timeout);
  return pipeline_->queue().WaitFor(timeout);
}

void Reader::Start() {
  const std::lock_guard lock(mutex_);
  if (started_ || cancelled_) return;
  started_ = true;
  pipeline_ = MakePipeline(first_join_);
}

std::shared_ptr<Pipeline> Reader::MakePipeline(JoinKind kind) {
  std::unique_ptr<UnitSource> units;
  SplitLeases* leases = nullptr;
  if (leased()) {
    auto made =
        std::make_unique<SplitLeases>(connect_leases_, MakeLeaseSettings(), rows_, progress_, kind);
    leases = made.get();
    units = std::move(made);
  } else {
    const plan::ScheduleSpec schedule = MakeScheduleSpec();
    std::optional<plan::RemainderSchedule> remainder;
    if (epoch_ < plan_until_) {
      remainder.emplace(schedule, rows_, ShardOf(spec_), remaining_, plan_until_, epoch_, cursor_);
    }
    units = std::make_unique<PlannedUnits>(
        std::move(remainder), plan::Schedule(schedule, shard_, std::max(epoch_, plan_until_),
                                             epoch_ < plan_until_ ? 0 : cursor_));
  }
  auto fetcher = std::make_unique<Fetcher>(
      connect_, std::move(source_), feed_, layouts_, rows_, std::move(units),
      FetchOptions{.connections = connections_,
                   .prefetch_bytes = prefetch_bytes_,
                   .orders = feed_.orders && FindUnordered(layouts_) == nullptr});
  return std::make_shared<Pipeline>(std::move(fetcher), leases, layouts_, pool_, slabs_,
                                    AssembleOptions{.batch_size = spec_.batch_size,
                                                    .drop_short = leased() && spec_.drop_remainder,
                                                    .at_once = BatchesAtOnce()},
                                    epoch_, cursor_);
}

// Together about a window's worth, if it is a small one; never many large ones.
int64_t Reader::BatchesAtOnce() const {
  constexpr int64_t kBytes = 8 << 20;
  const int64_t batches = kBytes / std::max<int64_t>(1, RowBytes() * spec_.batch_size);
  return std::clamp<int64_t>(batches, 1, kMostAtOnce);
}

int64_t Reader::RowBytes() const {
  return std::max<int64_t>(1, feed_.bytes / std::max<int64_t>(1, feed_.rows));
}

plan::ScheduleSpec Reader::MakeScheduleSpec() const {
  // Units that let every connection be busy within what may be read ahead.
  const int64_t unit_bytes =
      std::clamp<int64_t>(prefetch_bytes_ / (2 * connections_), 1 << 20, 64 << 20);
  int64_t unit_rows = std::max<int64_t>(1, unit_bytes / RowBytes());
  constexpr int64_t kRound = 8192;  // writers like powers of two: fewer batches are cut
  if (unit_rows > kRound) unit_rows -= unit_rows % kRound;
  // A unit of a full order is a ticket of single rows, which must not get too long.
  if (context_.order.window == plan::kWholeShard) unit_rows = std::min(unit_rows, kMostPicks);
  return {.order = context_.order,
          .epochs = context_.epochs,
          .batch_size = spec_.batch_size,
          .drop_remainder = spec_.drop_remainder,
          .unit_rows = unit_rows,
          .units_per_window = connections_};
}

}  // namespace flightbridge::batch
