// The client's pure parts: addresses, slices, what a get must deliver.
#include <gtest/gtest.h>

#include <arrow/array/builder_binary.h>
#include <arrow/array/builder_primitive.h>
#include <arrow/record_batch.h>
#include <arrow/util/byte_size.h>

#include "client/get_plan.h"
#include "client/put_checks.h"
#include "client/slicing.h"
#include "client/uri.h"
#include "flightbridge/error.h"

namespace flightbridge::client {
namespace {

TEST(ClientUri, TakesHostsAddressesAndIpv6) {
  for (const char* uri : {"grpc://localhost:1", "grpc://127.0.0.1:8815", "grpc://[::1]:65535",
                          "grpc://node-1.rack_2.example:9000"}) {
    const auto endpoint = ParseUri(uri);
    ASSERT_TRUE(endpoint.ok()) << endpoint.status();
    EXPECT_EQ(endpoint->ToUri(), uri);
  }
}

TEST(ClientUri, RefusesEverythingElseByShowingTheForm) {
  for (const char* uri :
       {"", "localhost:8815", "http://a:1", "grpc://", "grpc://a", "grpc://:1",
        "grpc://a:", "grpc://a:0", "grpc://a:65536", "grpc://a:1/x", "grpc://a:1x", "grpc://a b:1",
        "grpc://::1:5", "grpc://[]:1", "grpc://[::1]", "grpc://[x]:1", "grpc://u@h:1"}) {
    const auto endpoint = ParseUri(uri);
    ASSERT_FALSE(endpoint.ok()) << uri;
    EXPECT_EQ(CodeOf(endpoint.status()), Code::kInvalidArgument);
    EXPECT_NE(endpoint.status().message().find("grpc://HOST:PORT"), std::string::npos);
  }
}

std::shared_ptr<arrow::RecordBatch> Longs(int64_t rows) {
  arrow::Int64Builder builder;
  for (int64_t i = 0; i < rows; ++i) EXPECT_TRUE(builder.Append(i).ok());
  return arrow::RecordBatch::Make(arrow::schema({arrow::field("x", arrow::int64())}), rows,
                                  {*builder.Finish()});
}

void ExpectCovers(const arrow::RecordBatch& batch,
                  const std::vector<std::shared_ptr<arrow::RecordBatch>>& slices) {
  int64_t row = 0;
  for (const auto& slice : slices) {
    EXPECT_GT(slice->num_rows(), 0);
    EXPECT_TRUE(slice->Equals(*batch.Slice(row, slice->num_rows())));
    row += slice->num_rows();
  }
  EXPECT_EQ(row, batch.num_rows());
}

TEST(ClientSlicing, SmallBatchesGoAsTheyAreAndEmptyOnesNotAtAll) {
  EXPECT_EQ(SliceForSending(*Longs(1000)).ValueOrDie().size(), 1u);
  EXPECT_TRUE(SliceForSending(*Longs(0)).ValueOrDie().empty());
}

TEST(ClientSlicing, LargeBatchesAreCutAtMultiplesOf512Rows) {
  const auto batch = Longs(3'000'001);
  const auto slices = SliceForSending(*batch).ValueOrDie();
  ExpectCovers(*batch, slices);
  ASSERT_GE(slices.size(), 3u);
  for (size_t i = 0; i + 1 < slices.size(); ++i) {
    EXPECT_EQ(slices[i]->num_rows() % kSliceRowMultiple, 0);
    const int64_t bytes = arrow::util::ReferencedBufferSize(*slices[i]).ValueOrDie();
    EXPECT_GE(bytes, 1 << 20);
    EXPECT_LE(bytes, 8 << 20);
  }
}

TEST(ClientSlicing, UnevenRowsStillStayBelowTheLimit) {
  // All the weight lies in the last rows, so that slices by average size are too large.
  arrow::StringBuilder builder;
  for (int i = 0; i < 2000; ++i)
    ASSERT_TRUE(builder.Append(std::string(i < 1990 ? 1 : 5000, 'x')).ok());
  const auto batch = arrow::RecordBatch::Make(arrow::schema({arrow::field("s", arrow::utf8())}),
                                              2000, {*builder.Finish()});
  const SlicingOptions options{.max_message_bytes = 16 << 10, .slice_bytes = 8 << 10};
  const auto slices = SliceForSending(*batch, options).ValueOrDie();
  ExpectCovers(*batch, slices);
  for (const auto& slice : slices)
    EXPECT_LE(arrow::util::ReferencedBufferSize(*slice).ValueOrDie(), options.max_message_bytes);
}

TEST(ClientSlicing, ARowLargerThanTheLimitGoesAlone) {
  arrow::StringBuilder builder;
  for (int i = 0; i < 3; ++i) ASSERT_TRUE(builder.Append(std::string(5000, 'x')).ok());
  const auto batch = arrow::RecordBatch::Make(arrow::schema({arrow::field("s", arrow::utf8())}), 3,
                                              {*builder.Finish()});
  const auto slices =
      SliceForSending(*batch, {.max_message_bytes = 1000, .slice_bytes = 500}).ValueOrDie();
  ExpectCovers(*batch, slices);
  EXPECT_EQ(slices.size(), 3u);
}

proto::FeedInfo TwoPartitions() {
  proto::FeedInfo feed;
  feed.feed = "f";
  feed.feed_id = 7;
  feed.state = proto::FeedState::kCommitted;
  feed.partitions.resize(2);
  feed.partitions[0].partition = 0;
  feed.partitions[0].rows = 10;
  feed.partitions[1].partition = 3;
  feed.partitions[1].rows = 5;
  return feed;
}

proto::GetTicket Ticket(std::vector<proto::RowRange> ranges, uint64_t feed_id = 0) {
  proto::GetTicket ticket;
  ticket.feed = "f";
  ticket.feed_id = feed_id;
  ticket.ranges = std::move(ranges);
  return ticket;
}

TEST(ClientGetPlan, ResolvesWhatATicketLeavesOpen) {
  const auto all = ResolveTicket(Ticket({}), TwoPartitions()).ValueOrDie();
  EXPECT_EQ(all.feed_id, 7u);
  EXPECT_EQ(all.ranges, (std::vector<proto::RowRange>{{0, 0, 10}, {3, 0, 5}}));
  const auto some = ResolveTicket(Ticket({{3, 2, 0}, {0, 4, 4}, {0, 1, 2}}), TwoPartitions());
  EXPECT_EQ(some.ValueOrDie().ranges, (std::vector<proto::RowRange>{{3, 2, 5}, {0, 1, 2}}));
  EXPECT_FALSE(NeedsFeed(Ticket({{0, 0, 5}}, 7)));
  EXPECT_TRUE(NeedsFeed(Ticket({{0, 0, 5}})));
  EXPECT_TRUE(NeedsFeed(Ticket({{0, 0, 0}}, 7)));
  EXPECT_TRUE(NeedsFeed(Ticket({}, 7)));
}

TEST(ClientGetPlan, RefusesWhatIsNotThere) {
  const auto code = [](const proto::GetTicket& ticket) {
    return CodeOf(ResolveTicket(ticket, TwoPartitions()).status());
  };
  EXPECT_EQ(code(Ticket({{1, 0, 0}})), Code::kNotFound);
  EXPECT_EQ(code(Ticket({{0, 0, 11}})), Code::kInvalidArgument);
  EXPECT_EQ(code(Ticket({{0, 6, 5}})), Code::kInvalidArgument);
  EXPECT_EQ(code(Ticket({{0, -1, 5}})), Code::kInvalidArgument);
  EXPECT_EQ(code(Ticket({}, 8)), Code::kFailedPrecondition);
}

TEST(ClientGetPlan, CursorTakesExactlyTheRowsInOrder) {
  RowCursor cursor(Ticket({{0, 2, 6}, {0, 6, 8}, {3, 0, 5}}));
  EXPECT_EQ(CodeOf(cursor.CheckEnd()), Code::kDataLoss);
  EXPECT_TRUE(cursor.Advance(0, 2, 1).ok());
  EXPECT_TRUE(cursor.Advance(0, 3, 5).ok());  // across two adjacent ranges
  EXPECT_TRUE(cursor.Advance(3, 0, 5).ok());
  EXPECT_TRUE(cursor.CheckEnd().ok());
  EXPECT_EQ(CodeOf(cursor.Advance(3, 5, 1)), Code::kDataLoss);
}

TEST(ClientGetPlan, PicksAreCheckedAndGoneOnWithBehindWhatCame) {
  proto::GetTicket ticket = Ticket({}, 7);
  ticket.picks = {{3, {4, -2, 1}}, {0, {}}, {0, {9}}};
  EXPECT_FALSE(NeedsFeed(ticket));
  const auto resolved = ResolveTicket(ticket, TwoPartitions()).ValueOrDie();
  ASSERT_EQ(resolved.picks.size(), 2);
  EXPECT_EQ(CountRows(resolved), 4);
  RowCursor cursor(resolved);
  EXPECT_TRUE(cursor.Advance(0, 0, 1).ok());
  proto::GetTicket rest = cursor.Remaining(resolved);
  EXPECT_EQ(rest.picks, (std::vector<proto::RowPicks>{{3, {2, 1}}, {0, {9}}}));
  EXPECT_EQ(CodeOf(cursor.Advance(0, 1, 1)), Code::kDataLoss);  // a new stream begins at 0
  EXPECT_TRUE(cursor.Advance(0, 0, 2).ok());
  rest = cursor.Remaining(resolved);
  EXPECT_EQ(rest.picks, (std::vector<proto::RowPicks>{{0, {9}}}));
  EXPECT_TRUE(cursor.Advance(0, 0, 1).ok());
  EXPECT_TRUE(cursor.CheckEnd().ok());
  ticket.picks = {{3, {4, 1}}};
  EXPECT_EQ(CodeOf(ResolveTicket(ticket, TwoPartitions()).status()), Code::kInvalidArgument);
}

TEST(ClientGetPlan, CursorNamesAGap) {
  RowCursor skipped(Ticket({{0, 0, 6}}));
  const auto gap = skipped.Advance(0, 1, 1);
  EXPECT_EQ(CodeOf(gap), Code::kDataLoss);
  EXPECT_NE(gap.message().find("partition 0 row 1"), std::string::npos) << gap;
  RowCursor other(Ticket({{0, 0, 6}}));
  EXPECT_EQ(CodeOf(other.Advance(1, 0, 1)), Code::kDataLoss);
  RowCursor early(Ticket({{0, 0, 6}, {3, 0, 4}}));
  ASSERT_TRUE(early.Advance(0, 0, 5).ok());
  EXPECT_NE(early.CheckEnd().message().find("5 rows early"), std::string::npos);
}

TEST(ClientPutChecks, NamesTheColumnThatDiffers) {
  const auto expected =
      arrow::schema({arrow::field("x", arrow::int64()), arrow::field("y", arrow::utf8())});
  const auto one = CheckBatchSchema(*expected, *Longs(1));
  EXPECT_EQ(CodeOf(one), Code::kSchemaMismatch);
  EXPECT_NE(one.message().find("1 columns"), std::string::npos);
  const auto other =
      CheckBatchSchema(*arrow::schema({arrow::field("x", arrow::int32())}), *Longs(1));
  EXPECT_EQ(CodeOf(other), Code::kSchemaMismatch);
  EXPECT_NE(other.message().find("int32"), std::string::npos) << other;
}

}  // namespace
}  // namespace flightbridge::client
