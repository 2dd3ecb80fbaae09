// The whole server through a Flight client in the same process, so that the sanitizers see both.
#include "flightbridge/server.h"

#include <atomic>
#include <thread>

#include <arrow/api.h>
#include <arrow/flight/client.h>
#include <arrow/io/memory.h>
#include <arrow/ipc/api.h>
#include <arrow/util/compression.h>
#include <gtest/gtest.h>

#include "flightbridge/error.h"
#include "flightbridge/proto/commands.h"
#include "segment/checksum.h"
#include "server/ipc_guard_internal.h"

namespace flightbridge {
namespace {

namespace flight = arrow::flight;
using arrow::Status;
using std::chrono::milliseconds;

const proto::WriteMode kOverwrite = proto::WriteMode::kOverwrite;

std::shared_ptr<arrow::RecordBatch> MakeBatch(int64_t begin, int64_t rows) {
  arrow::Int64Builder numbers;
  arrow::StringBuilder words;
  arrow::StringDictionary32Builder kinds;
  for (int64_t i = begin; i < begin + rows; ++i) {
    EXPECT_TRUE(numbers.Append(i).ok());
    EXPECT_TRUE((i % 3 ? words.Append("w" + std::to_string(i)) : words.AppendNull()).ok());
    EXPECT_TRUE(kinds.Append("kind" + std::to_string(i % 5)).ok());
  }
  const auto schema =
      arrow::schema({arrow::field("n", arrow::int64()), arrow::field("w", arrow::utf8()),
                     arrow::field("kind", arrow::dictionary(arrow::int32(), arrow::utf8()))});
  const auto kind = kinds.Finish().ValueOrDie();
  return arrow::RecordBatch::Make(
      schema, rows, {numbers.Finish().ValueOrDie(), words.Finish().ValueOrDie(), kind});
}

flight::FlightCallOptions Timed() {
  flight::FlightCallOptions options;
  options.timeout = flight::TimeoutDuration{30.0};
  return options;
}

class ServerTest : public ::testing::Test {
 protected:
  void SetUp() override {
    ServerOptions options;
    options.memory_limit_bytes = 256 << 20;
    options.max_batch_bytes = 4 << 20;
    server_ = Server::Start(options).ValueOrDie();
    client_ = Connect();
  }
  void TearDown() override {
    if (client_ != nullptr) EXPECT_TRUE(client_->Close().ok());
    EXPECT_TRUE(server_->Stop(milliseconds(2000)).ok());
  }

  std::unique_ptr<flight::FlightClient> Connect() const {
    return flight::FlightClient::Connect(flight::Location::Parse(server_->uri()).ValueOrDie())
        .ValueOrDie();
  }

  static Status PutPath(flight::FlightClient* client, std::vector<std::string> path,
                        const std::vector<std::shared_ptr<arrow::RecordBatch>>& batches) {
    ARROW_ASSIGN_OR_RAISE(auto put, client->DoPut(Timed(), flight::FlightDescriptor::Path(path),
                                                  batches.at(0)->schema()));
    Status status;
    for (const auto& batch : batches) {
      status = put.writer->WriteRecordBatch(*batch);
      if (!status.ok()) break;
    }
    const Status closed = put.writer->Close();
    return FromFlight(closed.ok() ? status : closed);
  }

  // Writes one attempt as our own writers do; `tweak` may spoil the metadata of message i (the end
  // record is the last).
  Status PutCommand(int64_t attempt,
                    const std::vector<std::shared_ptr<arrow::RecordBatch>>& batches,
                    const std::function<void(size_t, proto::PutMetadata*)>& tweak = {},
                    bool with_end = true, proto::PutResult* result = nullptr) {
    const proto::PutCommand command{"jobs", "job", 3, attempt};
    ARROW_ASSIGN_OR_RAISE(
        auto put, client_->DoPut(Timed(), flight::FlightDescriptor::Command(command.Encode()),
                                 batches.at(0)->schema()));
    proto::PutEnd end;
    const auto send = [&]() -> Status {
      for (size_t i = 0; i < batches.size(); ++i) {
        proto::PutMetadata metadata;
        ARROW_ASSIGN_OR_RAISE(const uint32_t crc, segment::BatchChecksum(*batches[i]));
        metadata.batch = proto::BatchMark{i, crc};
        end.rows += batches[i]->num_rows();
        end.batches += 1;
        const uint8_t bytes[4] = {static_cast<uint8_t>(crc), static_cast<uint8_t>(crc >> 8),
                                  static_cast<uint8_t>(crc >> 16), static_cast<uint8_t>(crc >> 24)};
        end.crc32c = segment::Crc32c(end.crc32c, bytes, 4);
        if (tweak) tweak(i, &metadata);
        ARROW_RETURN_NOT_OK(put.writer->WriteWithMetadata(
            *batches[i], arrow::Buffer::FromString(metadata.Encode())));
      }
      if (!with_end) return Status::OK();
      proto::PutMetadata metadata;
      metadata.end = end;
      if (tweak) tweak(batches.size(), &metadata);
      return put.writer->WriteMetadata(arrow::Buffer::FromString(metadata.Encode()));
    };
    const Status sent = send();
    std::shared_ptr<arrow::Buffer> ack;
    Status read;
    if (sent.ok()) read = put.writer->DoneWriting();
    if (sent.ok() && read.ok()) read = put.reader->ReadMetadata(&ack);
    const Status closed = put.writer->Close();
    ARROW_RETURN_NOT_OK(FromFlight(closed));
    ARROW_RETURN_NOT_OK(FromFlight(sent));
    ARROW_RETURN_NOT_OK(FromFlight(read));
    if (ack == nullptr) return Status::Invalid("no ack");
    if (result != nullptr) *result = *proto::Parse<proto::PutResult>(std::string_view(*ack));
    return Status::OK();
  }

  arrow::Result<std::string> Act(const std::string& name, const std::string& body) const {
    auto results = client_->DoAction(
        Timed(), flight::Action("flightbridge.v1." + name, arrow::Buffer::FromString(body)));
    if (!results.ok()) return FromFlight(results.status());
    auto result = (*results)->Next();
    if (!result.ok()) return FromFlight(result.status());
    return *result == nullptr ? "" : (*result)->body->ToString();
  }

  void Begin() const {
    proto::BeginWrite begin{"jobs", "job", kOverwrite, ""};
    begin.schema = arrow::ipc::SerializeSchema(*MakeBatch(0, 1)->schema()).ValueOrDie()->ToString();
    const auto begun = Act("BeginWrite", begin.Encode());
    ASSERT_TRUE(begun.ok()) << begun.status();
  }

  struct Got {
    std::shared_ptr<arrow::Table> table;
    std::vector<proto::GetMetadata> marks;
  };

  // Reads a ticket to its end and holds every batch against its mark.
  static arrow::Result<Got> Get(flight::FlightClient* client, const proto::GetTicket& ticket) {
    auto opened = client->DoGet(Timed(), flight::Ticket(ticket.Encode()));
    if (!opened.ok()) return FromFlight(opened.status());
    auto schema = (*opened)->GetSchema();
    if (!schema.ok()) return FromFlight(schema.status());
    Got got;
    std::vector<std::shared_ptr<arrow::RecordBatch>> batches;
    while (true) {
      auto chunk = (*opened)->Next();
      if (!chunk.ok()) return FromFlight(chunk.status());
      if (chunk->data == nullptr) break;
      got.marks.push_back(
          *proto::Parse<proto::GetMetadata>(std::string_view(*chunk->app_metadata)));
      ARROW_RETURN_NOT_OK(chunk->data->ValidateFull());
      ARROW_ASSIGN_OR_RAISE(const uint32_t crc, segment::BatchChecksum(*chunk->data));
      if (crc != got.marks.back().crc32c) return Status::Invalid("the checksum disagrees");
      batches.push_back(chunk->data);
    }
    ARROW_ASSIGN_OR_RAISE(got.table, arrow::Table::FromRecordBatches(*schema, batches));
    return got;
  }

  std::unique_ptr<Server> server_;
  std::unique_ptr<flight::FlightClient> client_;
};

TEST_F(ServerTest, PathPutComesBackWholeAndCut) {
  const std::vector<std::shared_ptr<arrow::RecordBatch>> batches = {
      MakeBatch(0, 700), MakeBatch(700, 1), MakeBatch(701, 299)};
  ASSERT_TRUE(PutPath(client_.get(), {"f"}, batches).ok());
  const auto all = arrow::Table::FromRecordBatches(batches).ValueOrDie();
  const auto whole = Get(client_.get(), {.feed = "f"});
  ASSERT_TRUE(whole.ok()) << whole.status();
  EXPECT_TRUE(whole->table->Equals(*all));
  for (const auto& [begin, end] : {std::pair{0, 1}, {699, 701}, {13, 997}, {700, 1000}, {9, 9}}) {
    for (const auto& columns : {std::vector<std::string>{}, {"n"}, {"kind", "w"}}) {
      proto::GetTicket ticket{.feed = "f", .columns = columns};
      ticket.ranges.push_back({0, begin, end});
      const auto cut = Get(client_.get(), ticket);
      ASSERT_TRUE(cut.ok()) << cut.status();
      auto expected = all;
      if (columns.size() == 1) expected = all->SelectColumns({0}).ValueOrDie();
      if (columns.size() == 2) expected = all->SelectColumns({2, 1}).ValueOrDie();
      EXPECT_TRUE(cut->table->Equals(*expected->Slice(begin, end - begin)));
      if (begin < end) EXPECT_EQ(cut->marks[0].row_begin, begin);
    }
  }
}

TEST_F(ServerTest, CommandPutIsStagedAckedAndCommitted) {
  Begin();
  proto::PutResult result;
  const Status put = PutCommand(7, {MakeBatch(0, 10), MakeBatch(10, 5)}, {}, true, &result);
  ASSERT_TRUE(put.ok()) << put;
  EXPECT_EQ(result.rows, 15);
  EXPECT_EQ(result.batches, 2);
  EXPECT_EQ(CodeOf(Get(client_.get(), {.feed = "jobs"}).status()), Code::kNotFound);
  proto::CommitWrite commit{"jobs", "job", {{3, 7, result.rows, result.batches, result.crc32c}}};
  const auto committed = Act("CommitWrite", commit.Encode());
  ASSERT_TRUE(committed.ok()) << committed.status();
  EXPECT_EQ(proto::Parse<proto::CommitWriteResult>(*committed)->feed->rows, 15);
  EXPECT_EQ(Get(client_.get(), {.feed = "jobs"})->table->num_rows(), 15);
}

TEST_F(ServerTest, SpoiltCommandPutsAreRefusedAndLeaveNothing) {
  Begin();
  const auto two = {MakeBatch(0, 10), MakeBatch(10, 5)};
  const auto at = [](size_t message, std::function<void(proto::PutMetadata*)> change) {
    return [=](size_t i, proto::PutMetadata* metadata) {
      if (i == message) change(metadata);
    };
  };
  EXPECT_EQ(CodeOf(PutCommand(1, two, {}, /*with_end=*/false)), Code::kDataLoss);
  EXPECT_EQ(CodeOf(PutCommand(2, two, at(1, [](auto* m) { m->batch->sequence = 2; }))),
            Code::kDataLoss);
  EXPECT_EQ(CodeOf(PutCommand(3, two, at(1, [](auto* m) { m->batch->crc32c ^= 1; }))),
            Code::kDataLoss);
  EXPECT_EQ(CodeOf(PutCommand(4, two, at(2, [](auto* m) { m->end->rows += 1; }))), Code::kDataLoss);
  EXPECT_EQ(CodeOf(PutCommand(5, two, at(2, [](auto* m) { m->end->crc32c ^= 1; }))),
            Code::kDataLoss);
  EXPECT_EQ(CodeOf(PutCommand(6, two, at(0, [](auto* m) { m->batch.reset(); }))),
            Code::kInvalidArgument);
  EXPECT_EQ(CodeOf(PutCommand(8, two, at(2, [](auto* m) { m->batch = proto::BatchMark{}; }))),
            Code::kInvalidArgument);
  for (int64_t attempt = 1; attempt <= 8; ++attempt) {
    proto::CommitWrite commit{"jobs", "job", {{3, attempt, 15, 2, 0}}};
    EXPECT_EQ(CodeOf(Act("CommitWrite", commit.Encode()).status()), Code::kFailedPrecondition);
  }
  EXPECT_EQ(server_->status().open_puts, 0);
}

TEST_F(ServerTest, OversizedBatchesAreRefused) {
  const Status put = PutPath(client_.get(), {"big"}, {MakeBatch(0, 400'000)});
  EXPECT_EQ(CodeOf(put), Code::kResourceExhausted) << put;
  EXPECT_EQ(server_->status().feeds, 0);
}

TEST_F(ServerTest, PutsGetsReplacementsAndDropsAtOnce) {
  std::atomic<int> rows_read = 0;
  std::vector<std::thread> threads;
  for (int i = 0; i < 3; ++i) {
    threads.emplace_back([&, i] {
      const auto client = Connect();
      for (int round = 0; round < 10; ++round) {
        const Status put = PutPath(client.get(), {"shared", i == 0 ? "append" : "overwrite"},
                                   {MakeBatch(0, 200), MakeBatch(200, 100)});
        // Jobs that meet may be refused, but never for a reason of the server's own.
        EXPECT_NE(CodeOf(put), Code::kInternal) << put;
        (void)server_->status();
        (void)server_->feeds();
      }
    });
    threads.emplace_back([&] {
      const auto client = Connect();
      for (int round = 0; round < 20; ++round) {
        proto::GetTicket ticket{.feed = "shared", .columns = {"w", "kind"}};
        if (round % 2 == 0) ticket.ranges.push_back({0, 150, 250});
        const auto got = Get(client.get(), ticket);
        if (got.ok()) {
          rows_read += static_cast<int>(got->table->num_rows());
        } else {
          EXPECT_EQ(CodeOf(got.status()), Code::kNotFound) << got.status();
        }
      }
    });
  }
  for (auto& thread : threads) thread.join();
  EXPECT_GT(rows_read, 0);
  ASSERT_TRUE(Act("DropFeed", proto::DropFeed{"shared", false}.Encode()).ok());
  EXPECT_EQ(server_->status().feeds, 0);
}

TEST_F(ServerTest, StopCancelsOpenStreamsFromAnyThread) {
  auto put =
      client_->DoPut(Timed(), flight::FlightDescriptor::Path({"open"}), MakeBatch(0, 1)->schema())
          .ValueOrDie();
  ASSERT_TRUE(put.writer->WriteRecordBatch(*MakeBatch(0, 10)).ok());
  ASSERT_TRUE(PutPath(client_.get(), {"f"}, {MakeBatch(0, 10)}).ok());
  std::vector<std::thread> stoppers;
  for (int i = 0; i < 3; ++i) {
    stoppers.emplace_back([this] { EXPECT_TRUE(server_->Stop(milliseconds(100)).ok()); });
  }
  for (auto& thread : stoppers) thread.join();
  EXPECT_FALSE(put.writer->Close().ok());
  EXPECT_EQ(server_->status().open_puts, 0);
  EXPECT_EQ(server_->status().feeds, 1);  // as it was when it stopped
  EXPECT_TRUE(server_->feeds().empty());
}

TEST(Server, RefusesBadSettingsByName) {
  const auto code_of = [](const ServerOptions& options) {
    return CodeOf(Server::Start(options).status());
  };
  EXPECT_EQ(code_of({.port = 70000}), Code::kInvalidArgument);
  EXPECT_EQ(code_of({.memory_limit_bytes = 0}), Code::kInvalidArgument);
  EXPECT_EQ(code_of({.max_batch_bytes = int64_t{4} << 30}), Code::kInvalidArgument);
  EXPECT_EQ(code_of({.host = "0.0.0.0"}), Code::kPermissionDenied);
  EXPECT_EQ(code_of({.host = "no such host"}), Code::kInvalidArgument);
  const auto server = Server::Start({}).ValueOrDie();
  const auto second = Server::Start({.port = server->port()});
  EXPECT_EQ(CodeOf(second.status()), Code::kFailedPrecondition);
  EXPECT_NE(second.status().message().find("--port 0"), std::string::npos);
}

// ---- the guard before Arrow's decoder --------------------------------------------------------

// The second message (the record batch) of a stream with this batch.
std::unique_ptr<arrow::ipc::Message> Encoded(const std::shared_ptr<arrow::RecordBatch>& batch,
                                             arrow::Compression::type compression) {
  auto options = arrow::ipc::IpcWriteOptions::Defaults();
  if (compression != arrow::Compression::UNCOMPRESSED) {
    options.codec = arrow::util::Codec::Create(compression).ValueOrDie();
  }
  auto sink = arrow::io::BufferOutputStream::Create().ValueOrDie();
  auto writer = arrow::ipc::MakeStreamWriter(sink, batch->schema(), options).ValueOrDie();
  EXPECT_TRUE(writer->WriteRecordBatch(*batch).ok());
  EXPECT_TRUE(writer->Close().ok());
  arrow::io::BufferReader input(sink->Finish().ValueOrDie());
  auto reader = arrow::ipc::MessageReader::Open(&input);
  EXPECT_TRUE(reader->ReadNextMessage().ok());
  return reader->ReadNextMessage().ValueOrDie();
}

TEST(IpcGuard, IsInThePlaceItIsMadeFor) { EXPECT_TRUE(server::InstallIpcGuard()); }

TEST(IpcGuard, CountsWhatCompressedBodiesClaim) {
  const int64_t rows = 1 << 20;
  const auto zeros = arrow::RecordBatch::Make(
      arrow::schema({arrow::field("x", arrow::int64())}), rows,
      {arrow::MakeArrayFromScalar(arrow::Int64Scalar(0), rows).ValueOrDie()});
  const auto packed = Encoded(zeros, arrow::Compression::ZSTD);
  ASSERT_LT(packed->body()->size(), 1 << 20);
  const auto check = [&](const arrow::ipc::Message& message, int64_t limit) {
    return CodeOf(server::CheckMessageSize(*message.metadata(), message.body().get(), limit));
  };
  EXPECT_EQ(check(*packed, rows * 8), Code::kOk);
  EXPECT_EQ(check(*packed, rows * 8 - 1), Code::kResourceExhausted);
  const auto plain = Encoded(zeros, arrow::Compression::UNCOMPRESSED);
  EXPECT_EQ(check(*plain, rows * 8), Code::kOk);
  EXPECT_EQ(check(*plain, rows * 8 - 1), Code::kResourceExhausted);
}

}  // namespace
}  // namespace flightbridge
