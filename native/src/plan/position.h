// Positions: from which row a reader continues, and whether a saved one may be used here.
#pragma once

#include <cstdint>
#include <string>

#include <arrow/status.h>

#include "flightbridge/export.h"
#include "flightbridge/proto/commands.h"
#include "plan/order.h"
#include "plan/shard.h"

namespace flightbridge::plan {

// Format 1 had no policy: its positions are of STATIC shards, joined. Format 2 had no shard_rows
// and nothing of a plan with other shards.
inline constexpr uint32_t kPositionFormat = 3;

// What a position is checked against.
struct PositionContext {
  std::string feed;
  uint64_t fingerprint = 0;
  uint64_t schema_hash = 0;
  int64_t generation = 0;  // the last one that is read, of a feed that grows
  OrderSpec order;
  ShardPolicy policy = ShardPolicy::kStatic;
  UnevenShards uneven = UnevenShards::kJoin;
  int64_t split_rows = 0;  // DYNAMIC
  int64_t epochs = 1;      // -1: without end
  int64_t shard_rows = 0;
};

FB_EXPORT proto::Position MakePosition(const PositionContext& context, int64_t epoch,
                                       int64_t cursor);

// POSITION_MISMATCH names the first field that differs, both values, and the remedy.
FB_EXPORT arrow::Status VerifyPosition(const proto::Position& position,
                                       const PositionContext& context);

}  // namespace flightbridge::plan
