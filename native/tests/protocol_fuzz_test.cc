// The fuzz targets of native/fuzz over mutations of valid input: what comes from outside is refused
// or served, and never crashes. `make fuzz` runs them for long under sanitizers.
#include <gtest/gtest.h>

#define FB_FUZZ_ENTRY FuzzActions
#include "../fuzz/actions_fuzz.cc"
#undef FB_FUZZ_ENTRY
#define FB_FUZZ_ENTRY FuzzIpc
#include "../fuzz/ipc_fuzz.cc"
#undef FB_FUZZ_ENTRY
#define FB_FUZZ_ENTRY FuzzText
#include "../fuzz/text_fuzz.cc"
#undef FB_FUZZ_ENTRY

#include <arrow/ipc/writer.h>
#include <arrow/util/compression.h>

#include "testing/mutations.h"

namespace flightbridge {
namespace {

std::string Call(size_t call, const std::string& body) {
  return std::string(1, static_cast<char>(call)) + body;
}

TEST(ProtocolFuzz, ActionsTicketsAndDescriptors) {
  const auto batch = fuzz::FeedBatch();
  const std::string schema = *feed::EncodeSchema(*batch->schema());
  proto::GetTicket whole;
  whole.feed = fuzz::kFeed;
  proto::GetTicket part = whole;
  part.columns = {"w"};
  part.ranges.push_back({.partition = 0, .row_begin = 3, .row_end = 77});
  part.ranges.push_back({.partition = 0});
  const proto::BeginWrite begin{"other", "job", proto::WriteMode::kAppend, schema};
  const proto::CommitWrite commit{"other", "job", {{0, 1, 100, 1, 7}}};
  const proto::PutCommand put{"other", "job", 0, 1};
  proto::Position fixed;
  fixed.feed = fuzz::kFeed;
  fixed.fingerprint = fuzz::State()->store->Find(fuzz::kFeed).ValueOrDie()->fingerprint;
  fixed.policy = proto::ShardPolicy::kStatic;
  fixed.uneven = proto::UnevenShards::kDrop;
  fixed.shard = 1;
  fixed.num_shards = 3;
  fixed.shuffle_window = 20;
  fixed.seed = 3;
  fixed.cursor = 9;
  proto::Position leased = fixed;
  leased.policy = proto::ShardPolicy::kDynamic;
  leased.split_rows = 2;
  leased.completed = {0, 3, 2, 1};
  const proto::WriterEpoch epoch{"query", 0};
  proto::BeginWrite grow{"grown", "run", proto::WriteMode::kStream, schema};
  grow.epoch = epoch;
  proto::CommitWrite grown{"grown", "run", {}};
  grown.epoch = epoch;
  const std::vector<std::string> seeds = {
      Call(0, begin.Encode()),
      Call(1, commit.Encode()),
      Call(2, proto::AbortWrite{"other", "job"}.Encode()),
      Call(3, proto::DropFeed{fuzz::kFeed, true}.Encode()),
      Call(4, proto::DescribeFeed{fuzz::kFeed}.Encode()),
      Call(5, ""),
      Call(fuzz::kTicket, whole.Encode()),
      Call(fuzz::kTicket, part.Encode()),
      Call(fuzz::kDescriptor, put.Encode()),
      Call(fuzz::kDescriptor, fuzz::kFeed),
      Call(fuzz::kPosition, fixed.Encode()),
      Call(fuzz::kPosition, leased.Encode()),
      Call(0, grow.Encode()),
      Call(1, grown.Encode()),
      Call(3, proto::DropFeed{"grown", true}.Encode()),
      Call(4, proto::DescribeFeed{.feed = "grown", .after_generation = 1}.Encode()),
      Call(6, proto::EndFeed{"grown"}.Encode()),
      Call(7, proto::RetentionStatus{fuzz::kFeed, 1, "grpc://a:1", 5, 2}.Encode()),
      Call(8, proto::WaitFeed{.feed = "grown", .generation = 1, .after_generation = 1}.Encode()),
      Call(fuzz::kStatistics, proto::FeedStatistics{fuzz::kFeed, 0, {"n", "w"}}.Encode()),
      Call(fuzz::kStatistics, proto::FeedStatistics{fuzz::kFeed, 0, {"w"}, -1, 1 << 20}.Encode()),
  };
  testing::RunMutations(&FuzzActions, seeds, 16'000);
  const auto state = fuzz::State();
  EXPECT_EQ(state->streams.load(), 0);
  EXPECT_EQ(state->open_gets.load(), 0);
  for (size_t i = 0; i < fuzz::actions_served.size(); ++i) {
    EXPECT_GT(fuzz::actions_served[i], 20) << fuzz::kActions[i];
  }
  EXPECT_GT(fuzz::payloads_served, 50);
  EXPECT_GT(fuzz::positions_served, 50);
  EXPECT_GT(fuzz::statistics_served, 50);
}

TEST(ProtocolFuzz, IpcMessagesOfAPut) {
  std::vector<std::string> seeds;
  for (const auto compression : {arrow::Compression::UNCOMPRESSED, arrow::Compression::LZ4_FRAME,
                                 arrow::Compression::ZSTD}) {
    auto options = arrow::ipc::IpcWriteOptions::Defaults();
    if (compression != arrow::Compression::UNCOMPRESSED) {
      options.codec = *arrow::util::Codec::Create(compression);
    }
    arrow::ipc::IpcPayload payload;
    ASSERT_TRUE(arrow::ipc::GetRecordBatchPayload(*fuzz::FeedBatch(), options, &payload).ok());
    const int64_t length = payload.metadata->size();
    std::string input = {static_cast<char>(length & 255), static_cast<char>(length >> 8)};
    input += payload.metadata->ToString();
    for (const auto& buffer : payload.body_buffers) {
      if (buffer == nullptr) continue;
      input += buffer->ToString();
      input.append((8 - buffer->size() % 8) % 8, '\0');
    }
    seeds.push_back(std::move(input));
  }
  testing::RunMutations(&FuzzIpc, seeds, 20'000);
  EXPECT_GT(fuzz::batches_stored, 100);
}

TEST(ProtocolFuzz, TokenFilesAndUris) {
  testing::RunMutations(
      &FuzzText,
      {"# tokens\na-token-0123456789 read:clicks.*,write:a*b*c name\nsha256:" +
           std::string(64, 'a') + " admin:*\n",
       "grpc+tls://[::1]:8815", "grpc://127.0.0.1:8815", "a*b*c*d*aaaabbbbccccdddd"},
      50'000);
}

}  // namespace
}  // namespace flightbridge
