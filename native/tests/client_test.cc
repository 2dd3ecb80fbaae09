// The client against a real server in this process: one suite, run over the socket and without it.
#include "flightbridge/client.h"

#include <gtest/gtest.h>

#include <thread>

#include <arrow/array/builder_binary.h>
#include <arrow/array/builder_primitive.h>
#include <arrow/record_batch.h>
#include <arrow/scalar.h>
#include <arrow/table.h>

#include "flightbridge/error.h"
#include "flightbridge/proto/commands.h"
#include "flightbridge/server.h"
#include "plan/full_order.h"
#include "testing/jobs.h"

namespace flightbridge {
namespace {

using flightbridge::testing::JobOf;
using proto::WriteMode;

std::shared_ptr<arrow::Schema> TestSchema() {
  return arrow::schema({arrow::field("id", arrow::int64()), arrow::field("name", arrow::utf8()),
                        arrow::field("score", arrow::float32())});
}

// Rows [begin, begin + rows): every third name is null.
std::shared_ptr<arrow::RecordBatch> TestBatch(int64_t begin, int64_t rows) {
  arrow::Int64Builder ids;
  arrow::StringBuilder names;
  arrow::FloatBuilder scores;
  for (int64_t i = begin; i < begin + rows; ++i) {
    EXPECT_TRUE(ids.Append(i).ok());
    EXPECT_TRUE((i % 3 == 0 ? names.AppendNull() : names.Append("n" + std::to_string(i))).ok());
    EXPECT_TRUE(scores.Append(static_cast<float>(i) / 2).ok());
  }
  return arrow::RecordBatch::Make(TestSchema(), rows,
                                  {*ids.Finish(), *names.Finish(), *scores.Finish()});
}

#define ASSERT_OK(expression)                   \
  do {                                          \
    const arrow::Status status_ = (expression); \
    ASSERT_TRUE(status_.ok()) << status_;       \
  } while (false)

template <typename T>
T Value(arrow::Result<T> result) {
  EXPECT_TRUE(result.ok()) << result.status();
  return std::move(result).ValueOrDie();
}

template <typename T>
Code ErrorOf(const arrow::Result<T>& result) {
  return CodeOf(result.status());
}

class ClientTest : public ::testing::TestWithParam<const char*> {
 protected:
  void SetUp() override { Start({}); }

  void Start(ServerOptions options) {
    server_ = Value(Server::Start(options));
    client_ = Connect();
  }

  std::unique_ptr<Client> Connect() {
    ClientOptions options;
    options.uri = server_->uri();
    options.timeout_s = 3;
    options.transport = GetParam();
    return Value(Client::Connect(options));
  }

  proto::AttemptRef Put(const std::string& feed, const std::string& job, int64_t partition,
                        const std::vector<std::shared_ptr<arrow::RecordBatch>>& batches,
                        int64_t attempt = 0) {
    auto put = Value(client_->OpenPut(feed, job, partition, attempt, TestSchema()));
    for (const auto& batch : batches) {
      const auto status = put->Write(*batch);
      EXPECT_TRUE(status.ok()) << status;
    }
    const auto result = Value(put->Finish());
    return {partition, attempt, result.rows, result.batches, result.crc32c};
  }

  // A feed of two partitions: rows [0, 100) and [100, 250).
  proto::FeedInfo WriteFeed(const std::string& feed, WriteMode mode = WriteMode::kErrorIfExists) {
    const std::string job = feed + std::to_string(++jobs_);
    EXPECT_TRUE(client_->BeginWrite(JobOf(feed, job, mode, TestSchema())).ok());
    const auto first = Put(feed, job, 0, {TestBatch(0, 60), TestBatch(60, 40)}, 10);
    const auto second = Put(feed, job, 1, {TestBatch(100, 150)}, 11);
    auto result = Value(client_->CommitWrite(feed, job, {first, second}));
    return result.feed.value();
  }

  static arrow::Result<std::shared_ptr<arrow::RecordBatchReader>> OpenReader(
      Client& client, const proto::GetTicket& ticket) {
    ARROW_ASSIGN_OR_RAISE(auto stream, client.OpenGet(ticket));
    return MakeBatchReader(std::move(stream));
  }

  std::shared_ptr<arrow::Table> Get(const proto::GetTicket& ticket) {
    auto reader = Value(OpenReader(*client_, ticket));
    auto table = Value(reader->ToTable());
    EXPECT_TRUE(table->ValidateFull().ok());
    return table;
  }
  std::shared_ptr<arrow::Table> Get(const std::string& feed) {
    proto::GetTicket ticket;
    ticket.feed = feed;
    return Get(ticket);
  }

  static void ExpectRows(const arrow::Table& table, int64_t begin, int64_t rows) {
    const auto expected = Value(arrow::Table::FromRecordBatches({TestBatch(begin, rows)}));
    EXPECT_TRUE(table.Equals(*expected)) << table.ToString();
  }

  std::unique_ptr<Server> server_;
  std::unique_ptr<Client> client_;
  int jobs_ = 0;
};

INSTANTIATE_TEST_SUITE_P(Transport, ClientTest,
                         ::testing::Values("local", "mapped", "channel", "flight"),
                         [](const auto& param) { return std::string(param.param); });

TEST_P(ClientTest, WrittenRowsComeBackInOrder) {
  const auto info = WriteFeed("f");
  EXPECT_EQ(info.rows, 250);
  ASSERT_EQ(info.partitions.size(), 2u);
  EXPECT_EQ(info.partitions[0].rows, 100);
  ExpectRows(*Get("f"), 0, 250);
  EXPECT_TRUE(Value(client_->GetSchema("f"))->Equals(*TestSchema()));
  EXPECT_EQ(Value(client_->DescribeFeed("f")), info);
  EXPECT_EQ(Value(client_->ListFeeds()), (std::vector<proto::FeedInfo>{info}));
  EXPECT_EQ(Value(client_->Status()).feeds, 1);
}

TEST_P(ClientTest, RangesAndColumnsSelectRows) {
  WriteFeed("f");
  proto::GetTicket ticket;
  ticket.feed = "f";
  ticket.ranges = {{1, 50, 0}, {0, 59, 61}, {0, 7, 7}};
  ticket.columns = {"score", "id"};
  const auto table = Get(ticket);
  ASSERT_EQ(table->num_rows(), 102);
  const auto names = table->schema()->field_names();
  EXPECT_EQ(names, (std::vector<std::string>{"score", "id"}));
  const auto id = [&](int64_t row) {
    return std::static_pointer_cast<arrow::Int64Scalar>(Value(table->column(1)->GetScalar(row)))
        ->value;
  };
  EXPECT_EQ(id(0), 150);
  EXPECT_EQ(id(99), 249);
  EXPECT_EQ(id(100), 59);
  EXPECT_EQ(id(101), 60);
}

TEST_P(ClientTest, PickedRowsComeInTheOrderOfThePicks) {
  WriteFeed("f");
  proto::GetTicket ticket;
  ticket.feed = "f";
  ticket.columns = {"score", "name"};
  ticket.picks = {{1, {149, -149, 50}}, {0, {0, 60, 1}}};
  const auto table = Get(ticket);
  const auto whole = Value(arrow::Table::FromRecordBatches({TestBatch(0, 250)}));
  ASSERT_EQ(table->num_rows(), 6);
  const std::vector<int64_t> rows = {249, 100, 150, 0, 60, 61};
  for (size_t i = 0; i < rows.size(); ++i) {
    const auto one = Value(whole->Slice(rows[i], 1)->SelectColumns({2, 1}));
    EXPECT_TRUE(table->Slice(static_cast<int64_t>(i), 1)->Equals(*one)) << i;
  }
  ticket.picks = {{0, {99, 1}}};
  EXPECT_EQ(ErrorOf(OpenReader(*client_, ticket)), Code::kInvalidArgument);
  ticket.picks = {{0, {1, -2}}};
  EXPECT_EQ(ErrorOf(OpenReader(*client_, ticket)), Code::kInvalidArgument);
  ticket.picks = {{7, {1}}};
  EXPECT_EQ(ErrorOf(OpenReader(*client_, ticket)), Code::kNotFound);
  ticket.picks = {{0, {1}}};
  ticket.ranges = {{0, 0, 5}};
  EXPECT_EQ(ErrorOf(OpenReader(*client_, ticket)), Code::kInvalidArgument);
}

// Both of a feed that is picked from, small as it is, and of one that is dealt.
TEST_P(ClientTest, PartsOfAFullOrderComeInIt) {
  WriteFeed("f");
  proto::GetTicket ticket;
  ticket.feed = "f";
  ticket.columns = {"name", "id"};
  ticket.order = proto::RowOrder{.seed = 3, .epoch = 2, .begin = 10, .end = 240};
  const plan::Permutation order = plan::PermutationOf(*ticket.order, 250);
  const auto table = Get(ticket);
  ASSERT_EQ(table->num_rows(), 230);
  const auto whole = Value(arrow::Table::FromRecordBatches({TestBatch(0, 250)}));
  for (int64_t i = 0; i < table->num_rows(); ++i) {
    const auto one = Value(whole->Slice(order.At(10 + i), 1)->SelectColumns({1, 0}));
    ASSERT_TRUE(table->Slice(i, 1)->Equals(*one)) << i;
  }
  ticket.order->end = 251;
  EXPECT_EQ(ErrorOf(OpenReader(*client_, ticket)), Code::kInvalidArgument);
  ticket.order->end = 20;
  ticket.picks = {{0, {1}}};
  EXPECT_EQ(ErrorOf(OpenReader(*client_, ticket)), Code::kInvalidArgument);
}

TEST_P(ClientTest, ALargeFeedIsDealt) {
  constexpr int64_t kRows = 600'000;  // 10 MB of ids and scores
  ASSERT_TRUE(client_->BeginWrite(JobOf("f", "job", WriteMode::kErrorIfExists, TestSchema())).ok());
  std::vector<std::shared_ptr<arrow::RecordBatch>> batches;
  for (int64_t row = 0; row < kRows; row += 50'000) batches.push_back(TestBatch(row, 50'000));
  Value(client_->CommitWrite("f", "job", {Put("f", "job", 0, batches)}));
  EXPECT_TRUE(Value(client_->DescribeFeed("f")).orders);
  proto::GetTicket ticket;
  ticket.feed = "f";
  ticket.columns = {"id", "name"};
  for (int64_t epoch = 0; epoch < 3; ++epoch) {
    ticket.order = proto::RowOrder{.seed = 3, .epoch = epoch, .begin = 0, .end = kRows};
    const plan::Permutation order = plan::PermutationOf(*ticket.order, kRows);
    const auto table = Value(Get(ticket)->CombineChunks());
    ASSERT_EQ(table->num_rows(), kRows);
    const auto& ids = static_cast<const arrow::Int64Array&>(*table->column(0)->chunk(0));
    for (int64_t i = 0; i < kRows; ++i) ASSERT_EQ(ids.Value(i), order.At(i)) << epoch;
    EXPECT_GE(Value(client_->Status()).dealt_bytes, kRows * 8);
  }
}

TEST_P(ClientTest, AGetOfNoRowsHasTheSchema) {
  WriteFeed("f");
  proto::GetTicket ticket;
  ticket.feed = "f";
  ticket.ranges = {{0, 5, 5}};
  ticket.columns = {"name"};
  const auto table = Get(ticket);
  EXPECT_EQ(table->num_rows(), 0);
  EXPECT_TRUE(table->schema()->Equals(*arrow::schema({arrow::field("name", arrow::utf8())})));
}

TEST_P(ClientTest, WhatIsNotThereIsNotFoundByName) {
  WriteFeed("f");
  EXPECT_EQ(ErrorOf(client_->DescribeFeed("g")), Code::kNotFound);
  EXPECT_EQ(ErrorOf(client_->GetSchema("g")), Code::kNotFound);
  EXPECT_EQ(CodeOf(client_->DropFeed("g", false)), Code::kNotFound);
  ASSERT_OK(client_->DropFeed("g", true));
  proto::GetTicket ticket;
  ticket.feed = "f";
  ticket.columns = {"nope"};
  const auto column = OpenReader(*client_, ticket);
  EXPECT_EQ(ErrorOf(column), Code::kNotFound);
  EXPECT_NE(column.status().message().find("nope"), std::string::npos) << column.status();
  EXPECT_NE(column.status().message().find("score"), std::string::npos) << column.status();
  ticket.columns.clear();
  ticket.ranges = {{5, 0, 0}};
  EXPECT_EQ(ErrorOf(client_->OpenGet(ticket)), Code::kNotFound);
  ticket.ranges = {{0, 0, 1000}};
  EXPECT_EQ(ErrorOf(client_->OpenGet(ticket)), Code::kInvalidArgument);
}

TEST_P(ClientTest, ModesDecideAboutAFeedThatExists) {
  const auto first = WriteFeed("f");
  EXPECT_EQ(ErrorOf(client_->BeginWrite(JobOf("f", "a", WriteMode::kErrorIfExists, TestSchema()))),
            Code::kAlreadyExists);
  EXPECT_TRUE(Value(client_->BeginWrite(JobOf("f", "b", WriteMode::kIgnore, TestSchema()))).skip);
  EXPECT_FALSE(Value(client_->BeginWrite(JobOf("g", "c", WriteMode::kIgnore, TestSchema()))).skip);
  EXPECT_EQ(WriteFeed("f", WriteMode::kAppend).rows, 500);
  const auto replaced = WriteFeed("f", WriteMode::kOverwrite);
  EXPECT_EQ(replaced.rows, 250);
  EXPECT_NE(replaced.feed_id, first.feed_id);
  EXPECT_EQ(replaced.fingerprint, first.fingerprint);
  const auto other = arrow::schema({arrow::field("id", arrow::int32())});
  EXPECT_EQ(ErrorOf(client_->BeginWrite(JobOf("f", "d", WriteMode::kAppend, other))),
            Code::kSchemaMismatch);
}

TEST_P(ClientTest, ATicketForReplacedContentIsRefused) {
  proto::GetTicket ticket;
  ticket.feed = "f";
  ticket.feed_id = WriteFeed("f").feed_id;
  ticket.ranges = {{0, 0, 10}};
  ASSERT_EQ(Get(ticket)->num_rows(), 10);
  WriteFeed("f", WriteMode::kOverwrite);
  EXPECT_EQ(ErrorOf(OpenReader(*client_, ticket)), Code::kFailedPrecondition);
}

TEST_P(ClientTest, NothingIsVisibleBeforeTheCommitAndTheCommitIsIdempotent) {
  ASSERT_OK(client_->BeginWrite(JobOf("f", "j", WriteMode::kErrorIfExists, TestSchema())).status());
  const auto loser = Put("f", "j", 0, {TestBatch(0, 10)}, 1);
  const auto winner = Put("f", "j", 0, {TestBatch(0, 10)}, 2);
  EXPECT_EQ(ErrorOf(client_->GetSchema("f")), Code::kNotFound);
  proto::GetTicket ticket;
  ticket.feed = "f";
  EXPECT_EQ(ErrorOf(client_->OpenGet(ticket)), Code::kNotFound);
  EXPECT_TRUE(Value(client_->ListFeeds()).empty());
  const auto once = Value(client_->CommitWrite("f", "j", {winner}));
  EXPECT_FALSE(once.already_committed);
  const auto again = Value(client_->CommitWrite("f", "j", {winner}));
  EXPECT_TRUE(again.already_committed);
  EXPECT_EQ(Get("f")->num_rows(), 10);
  EXPECT_EQ(loser.crc32c, winner.crc32c);
}

TEST_P(ClientTest, AnAbortedOrDroppedPutCannotBeCommitted) {
  ASSERT_OK(client_->BeginWrite(JobOf("f", "j", WriteMode::kErrorIfExists, TestSchema())).status());
  {
    auto dropped = Value(client_->OpenPut("f", "j", 0, 1, TestSchema()));
    ASSERT_OK(dropped->Write(*TestBatch(0, 10)));
    auto aborted = Value(client_->OpenPut("f", "j", 0, 2, TestSchema()));
    ASSERT_OK(aborted->Write(*TestBatch(0, 10)));
    aborted->Abort();
    EXPECT_EQ(CodeOf(aborted->Write(*TestBatch(0, 10))), Code::kFailedPrecondition);
    EXPECT_EQ(ErrorOf(aborted->Finish()), Code::kFailedPrecondition);
  }
  EXPECT_FALSE(client_->CommitWrite("f", "j", {{0, 1, 10, 1, 0}}).ok());
  EXPECT_FALSE(client_->CommitWrite("f", "j", {{0, 2, 10, 1, 0}}).ok());
  ASSERT_OK(client_->AbortWrite("f", "j"));
}

TEST_P(ClientTest, AFinishedPutIsOver) {
  ASSERT_OK(client_->BeginWrite(JobOf("f", "j", WriteMode::kErrorIfExists, TestSchema())).status());
  auto put = Value(client_->OpenPut("f", "j", 0, 1, TestSchema()));
  const auto result = Value(put->Finish());
  EXPECT_EQ(result.rows, 0);
  EXPECT_EQ(ErrorOf(put->Finish()), Code::kFailedPrecondition);
  EXPECT_EQ(CodeOf(put->Write(*TestBatch(0, 1))), Code::kFailedPrecondition);
}

TEST_P(ClientTest, BatchesWithoutRowsAreNotCounted) {
  ASSERT_OK(client_->BeginWrite(JobOf("f", "j", WriteMode::kErrorIfExists, TestSchema())).status());
  const auto ref = Put("f", "j", 0, {TestBatch(0, 0), TestBatch(0, 5), TestBatch(5, 0)});
  EXPECT_EQ(ref.batches, 1);
  ASSERT_OK(client_->CommitWrite("f", "j", {ref}).status());
  ExpectRows(*Get("f"), 0, 5);
}

TEST_P(ClientTest, ABatchOfAnotherSchemaIsRefusedAndTheStreamGoesOn) {
  ASSERT_OK(client_->BeginWrite(JobOf("f", "j", WriteMode::kErrorIfExists, TestSchema())).status());
  auto put = Value(client_->OpenPut("f", "j", 0, 0, TestSchema()));
  const auto selected = Value(TestBatch(0, 5)->SelectColumns({0, 2}));
  EXPECT_EQ(CodeOf(put->Write(*selected)), Code::kSchemaMismatch);
  ASSERT_OK(put->Write(*TestBatch(0, 5)));
  EXPECT_EQ(Value(put->Finish()).rows, 5);
}

TEST_P(ClientTest, LargeBatchesTravelInPiecesAndSlicesWithoutTheirParents) {
  ASSERT_OK(client_->BeginWrite(JobOf("f", "j", WriteMode::kErrorIfExists, TestSchema())).status());
  const auto large = TestBatch(0, 1'000'000);
  const auto whole = Put("f", "j", 0, {large});
  EXPECT_GE(whole.batches, 3);
  const auto tail = Put("f", "j", 1, {large->Slice(999'001)});
  EXPECT_EQ(tail.batches, 1);
  const auto info = Value(client_->CommitWrite("f", "j", {whole, tail})).feed.value();
  EXPECT_LT(info.partitions[1].bytes, 64 << 10);
  proto::GetTicket ticket;
  ticket.feed = "f";
  ticket.ranges = {{0, 0, 0}};
  ExpectRows(*Get(ticket), 0, 1'000'000);
  ticket.ranges = {{1, 0, 0}};
  ExpectRows(*Get(ticket), 999'001, 999);
}

TEST_P(ClientTest, ACancelledGetSaysSo) {
  WriteFeed("f");
  proto::GetTicket ticket;
  ticket.feed = "f";
  auto get = Value(client_->OpenGet(ticket));
  ASSERT_OK(get->Next().status());
  std::thread([&] { get->Cancel(); }).join();
  arrow::Status status;
  for (int i = 0; i < 10 && status.ok(); ++i) status = get->Next().status();
  EXPECT_EQ(CodeOf(status), Code::kCancelled) << status;
  EXPECT_EQ(ErrorOf(get->Next()), Code::kCancelled);
}

TEST_P(ClientTest, RowsOutliveADropWhileTheyAreRead) {
  WriteFeed("f");
  proto::GetTicket ticket;
  ticket.feed = "f";
  auto get = Value(client_->OpenGet(ticket));
  const auto first = Value(get->Next());
  ASSERT_OK(client_->DropFeed("f", false));
  get.reset();
  EXPECT_TRUE(first->Equals(*TestBatch(0, first->num_rows())));
}

TEST_P(ClientTest, AStoppedServerIsUnavailableByNameAndRemedy) {
  WriteFeed("f");
  const std::string uri = server_->uri();
  ASSERT_OK(server_->Stop(std::chrono::milliseconds(1000)));
  for (const auto& status :
       {client_->DescribeFeed("f").status(), client_->DropFeed("f", true),
        client_->OpenPut("f", "j", 0, 0, TestSchema()).status(), client_->Status().status()}) {
    EXPECT_EQ(CodeOf(status), Code::kUnavailable) << status;
    EXPECT_NE(status.message().find(uri), std::string::npos) << status;
    EXPECT_NE(status.message().find("flightbridge.Server()"), std::string::npos) << status;
  }
}

TEST_P(ClientTest, AFullServerIsResourceExhaustedInTheMiddleOfAPut) {
  client_.reset();
  server_.reset();
  ServerOptions options;
  options.put_wait = std::chrono::milliseconds(0);
  options.memory_limit_bytes = 24 << 20;
  Start(options);
  ASSERT_OK(client_->BeginWrite(JobOf("f", "j", WriteMode::kErrorIfExists, TestSchema())).status());
  auto put = Value(client_->OpenPut("f", "j", 0, 0, TestSchema()));
  const auto batch = TestBatch(0, 200'000);
  arrow::Status status;
  for (int i = 0; i < 50 && status.ok(); ++i) status = put->Write(*batch);
  EXPECT_EQ(CodeOf(status), Code::kResourceExhausted) << status;
  EXPECT_EQ(ErrorOf(put->Finish()), Code::kResourceExhausted);
  put.reset();
  ASSERT_OK(client_->AbortWrite("f", "j"));
  WriteFeed("small");  // the server goes on
}

TEST_P(ClientTest, ClientsWorkSideBySide) {
  std::vector<std::thread> threads;
  std::atomic<int> good = 0;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([this, t, &good] {
      const std::string feed = "f" + std::to_string(t);
      const auto client = Connect();
      if (!client->BeginWrite(JobOf(feed, feed, WriteMode::kErrorIfExists, TestSchema())).ok())
        return;
      auto put = client->OpenPut(feed, feed, 0, t, TestSchema());
      if (!put.ok()) return;
      for (int i = 0; i < 20; ++i) {
        if (!(*put)->Write(*TestBatch(i * 100, 100)).ok()) return;
      }
      const auto result = (*put)->Finish();
      if (!result.ok()) return;
      if (!client->CommitWrite(feed, feed, {{0, t, result->rows, result->batches, result->crc32c}})
               .ok())
        return;
      proto::GetTicket ticket;
      ticket.feed = feed;
      const auto reader = OpenReader(*client, ticket);
      if (!reader.ok()) return;
      const auto table = (*reader)->ToTable();
      if (table.ok() && (*table)->num_rows() == 2000) ++good;
    });
  }
  for (auto& thread : threads) thread.join();
  EXPECT_EQ(good, 4);
}

}  // namespace
}  // namespace flightbridge
