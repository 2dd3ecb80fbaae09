#include "plan/position.h"

#include <cinttypes>
#include <cstdio>

#include "flightbridge/error.h"
#include "plan/remainder.h"

namespace flightbridge::plan {
namespace {

std::string Hex(uint64_t value) {
  char text[32];
  std::snprintf(text, sizeof(text), "%016" PRIx64, value);
  return text;
}

template <typename T>
arrow::Status Differs(const char* field, const T& saved, const T& here, const char* remedy) {
  return Error(Code::kPositionMismatch, "position has ", field, "=", saved, ", this reader has ",
               field, "=", here, ": ", remedy);
}

}  // namespace

proto::Position MakePosition(const PositionContext& context, int64_t epoch, int64_t cursor) {
  proto::Position position;
  position.format = kPositionFormat;
  position.feed = context.feed;
  position.fingerprint = context.fingerprint;
  position.schema_hash = context.schema_hash;
  position.generation = context.generation;
  position.shard = context.order.shard;
  position.num_shards = context.order.num_shards;
  position.shuffle_window = context.order.window;
  position.seed = context.order.seed;
  position.epoch = epoch;
  position.cursor = cursor;
  position.policy = context.policy;
  position.uneven = context.uneven;
  if (context.policy != ShardPolicy::kDynamic) position.shard_rows = context.shard_rows;
  return position;
}

arrow::Status VerifyPosition(const proto::Position& position, const PositionContext& context) {
  const OrderSpec& order = context.order;
  if (position.format < 1 || position.format > kPositionFormat) {
    return Differs("format", position.format, kPositionFormat,
                   "it was saved by another version of flightbridge; restore it with that version");
  }
  if (position.feed != context.feed) {
    return Differs("feed", position.feed, context.feed, "read the feed that the position is of");
  }
  if (position.schema_hash != context.schema_hash) {
    return Differs("schema_hash", Hex(position.schema_hash), Hex(context.schema_hash),
                   "the feed was written again with another schema; start from the beginning");
  }
  if (position.follow) {
    return Differs("follow", 1, 0, "restore it in a reader with follow");
  }
  if (position.fingerprint != context.fingerprint && position.generation != context.generation &&
      position.generation > 0) {
    return Differs("generation", position.generation, context.generation,
                   "read the generations that the position was saved with");
  }
  if (position.fingerprint != context.fingerprint) {
    return Differs("fingerprint", Hex(position.fingerprint), Hex(context.fingerprint),
                   "the feed was written again with other rows; start from the beginning, or "
                   "write the old rows again");
  }
  const bool old = position.format == 1;
  const ShardPolicy policy = old ? ShardPolicy::kStatic : position.policy;
  const UnevenShards uneven = old ? UnevenShards::kJoin : position.uneven;
  if (policy != context.policy) {
    return Differs("policy", std::string(NameOf(policy)), std::string(NameOf(context.policy)),
                   "read with the policy that the position was saved with");
  }
  if (uneven != context.uneven) {
    return Differs("uneven", std::string(NameOf(uneven)), std::string(NameOf(context.uneven)),
                   "read with the setting that the position was saved with");
  }
  if (policy == ShardPolicy::kDynamic && position.split_rows != context.split_rows) {
    return Differs("split_rows", position.split_rows, context.split_rows,
                   "read with split_rows as it was when the position was saved");
  }
  if (position.num_shards != order.num_shards) {
    return Differs("num_shards", position.num_shards, order.num_shards,
                   "read with the shard count that the position was saved with, or give the "
                   "positions of all shards to flightbridge.reshard");
  }
  if (position.shard != order.shard) {
    return Differs("shard", position.shard, order.shard,
                   "restore each shard from its own position");
  }
  if (position.shuffle_window != order.window) {
    return Differs("shuffle_window", position.shuffle_window, order.window,
                   "read with the shuffle window that the position was saved with");
  }
  if (order.shuffled() && position.seed != order.seed) {
    return Differs("seed", position.seed, order.seed,
                   "read with the seed that the position was saved with");
  }
  if (position.epoch < 0 || (context.epochs >= 0 && position.epoch >= context.epochs)) {
    return Error(Code::kPositionMismatch, "position has epoch=", position.epoch,
                 ", this reader has epochs=", context.epochs,
                 ": give at least epochs=", position.epoch + 1, " to continue from it");
  }
  const bool resharded = position.epoch < position.plan_until;
  const int64_t rows = resharded ? RemainingRows(position, position.epoch) : context.shard_rows;
  if (position.cursor < 0 || position.cursor > rows) {
    return Error(Code::kPositionMismatch, "position has cursor=", position.cursor,
                 ", this reader's shard has ", rows,
                 " rows: the position is damaged; start from the beginning");
  }
  return arrow::Status::OK();
}

}  // namespace flightbridge::plan
