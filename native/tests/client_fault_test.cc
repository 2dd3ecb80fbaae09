// The client against servers that misbehave: each is a plain Flight server with one fault.
#include <gtest/gtest.h>

#include <chrono>
#include <functional>
#include <thread>

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <arrow/array/builder_primitive.h>
#include <arrow/flight/server.h>
#include <arrow/ipc/writer.h>
#include <arrow/record_batch.h>

#include "flightbridge/client.h"
#include "flightbridge/error.h"
#include "flightbridge/proto/commands.h"
#include "segment/checksum.h"

namespace flightbridge {
namespace {

namespace flight = arrow::flight;
using Clock = std::chrono::steady_clock;

std::shared_ptr<arrow::Schema> TestSchema() {
  return arrow::schema({arrow::field("id", arrow::int64())});
}

std::shared_ptr<arrow::RecordBatch> TestBatch(int64_t begin, int64_t rows) {
  arrow::Int64Builder ids;
  for (int64_t i = begin; i < begin + rows; ++i) EXPECT_TRUE(ids.Append(i).ok());
  return arrow::RecordBatch::Make(TestSchema(), rows, {*ids.Finish()});
}

double SecondsSince(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

bool WaitFor(const std::function<bool()>& condition) {
  for (int i = 0; i < 1000 && !condition(); ++i)
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  return condition();
}

// A feed "f" of one partition with 20 rows in two batches, as its description says.
class FaultyServer : public flight::FlightServerBase {
 public:
  using PutHandler =
      std::function<arrow::Status(const flight::ServerCallContext&, flight::FlightMessageReader*,
                                  flight::FlightMetadataWriter*)>;
  // Changes batch `index` as it is sent; an error ends the stream with it, false cleanly.
  static constexpr int kBeforeSchema = -1;
  using GetHandler = std::function<arrow::Result<bool>(int index, proto::GetMetadata*)>;

  PutHandler put;
  GetHandler get;

  arrow::Status DoAction(const flight::ServerCallContext&, const flight::Action& action,
                         std::unique_ptr<flight::ResultStream>* out) override {
    std::string answer;
    if (action.type == "flightbridge.v1.DescribeFeed") {
      proto::FeedInfo info;
      info.feed = "f";
      info.feed_id = 1;
      info.state = proto::FeedState::kCommitted;
      info.rows = 20;
      info.partitions.resize(1);
      info.partitions[0].rows = 20;
      answer = info.Encode();
    } else if (action.type == "flightbridge.v1.ServerStatus") {
      answer = proto::ServerStatus{}.Encode();
    } else {
      return arrow::Status::NotImplemented(action.type);
    }
    std::vector<flight::Result> results;
    results.emplace_back(arrow::Buffer::FromString(answer));
    *out = std::make_unique<flight::SimpleResultStream>(std::move(results));
    return arrow::Status::OK();
  }

  arrow::Status DoPut(const flight::ServerCallContext& context,
                      std::unique_ptr<flight::FlightMessageReader> reader,
                      std::unique_ptr<flight::FlightMetadataWriter> writer) override {
    return put(context, reader.get(), writer.get());
  }

  arrow::Status DoGet(const flight::ServerCallContext&, const flight::Ticket&,
                      std::unique_ptr<flight::FlightDataStream>* stream) override {
    *stream = std::make_unique<Stream>(get);
    return arrow::Status::OK();
  }

 private:
  class Stream : public flight::FlightDataStream {
   public:
    explicit Stream(GetHandler handler) : handler_(std::move(handler)) {}
    std::shared_ptr<arrow::Schema> schema() override { return TestSchema(); }
    arrow::Result<flight::FlightPayload> GetSchemaPayload() override {
      flight::FlightPayload payload;
      proto::GetMetadata none;
      ARROW_RETURN_NOT_OK(handler_(kBeforeSchema, &none).status());
      ARROW_RETURN_NOT_OK(
          arrow::ipc::GetSchemaPayload(*TestSchema(), {}, mapper_, &payload.ipc_message));
      return payload;
    }
    arrow::Result<flight::FlightPayload> Next() override {
      flight::FlightPayload payload;
      if (index_ == 2) return payload;
      const auto batch = TestBatch(index_ * 10, 10);
      proto::GetMetadata metadata;
      metadata.row_begin = index_ * 10;
      ARROW_ASSIGN_OR_RAISE(metadata.crc32c, segment::BatchChecksum(*batch));
      ARROW_ASSIGN_OR_RAISE(const bool send, handler_(index_, &metadata));
      if (!send) return payload;
      ++index_;
      ARROW_RETURN_NOT_OK(arrow::ipc::GetRecordBatchPayload(*batch, {}, &payload.ipc_message));
      payload.app_metadata = arrow::Buffer::FromString(metadata.Encode());
      return payload;
    }

   private:
    GetHandler handler_;
    arrow::ipc::DictionaryFieldMapper mapper_{*TestSchema()};
    int index_ = 0;
  };
};

class ClientFault : public testing::Test {
 protected:
  void SetUp() override {
    const auto location = flight::Location::ForGrpcTcp("127.0.0.1", 0).ValueOrDie();
    ASSERT_TRUE(server_.Init(flight::FlightServerOptions(location)).ok());
    options_.uri = "grpc://127.0.0.1:" + std::to_string(server_.port());
    options_.timeout_s = 20;
  }
  void TearDown() override {
    client_.reset();
    ASSERT_TRUE(server_.Shutdown().ok());
  }

  Client& client() {
    if (client_ == nullptr) client_ = Client::Connect(options_).ValueOrDie();
    return *client_;
  }

  std::unique_ptr<PutStream> OpenPut() {
    return client().OpenPut("f", "j", 4, 9, TestSchema()).ValueOrDie();
  }

  // Writes until an error comes; the status of Finish() when none does.
  static arrow::Status WriteUntilError(PutStream* put, int batches) {
    const auto batch = TestBatch(0, 100'000);
    for (int i = 0; i < batches; ++i) ARROW_RETURN_NOT_OK(put->Write(*batch));
    return put->Finish().status();
  }

  // The status of the first Next() that is not a batch.
  arrow::Status ReadToTheEnd(int* batches = nullptr) {
    proto::GetTicket ticket;
    ticket.feed = "f";
    ARROW_ASSIGN_OR_RAISE(const auto get, client().OpenGet(ticket));
    while (true) {
      ARROW_ASSIGN_OR_RAISE(const auto batch, get->Next());
      if (batch == nullptr) return arrow::Status::OK();
      if (batches != nullptr) ++*batches;
    }
  }

  FaultyServer server_;
  ClientOptions options_;
  std::unique_ptr<Client> client_;
};

void Drain(flight::FlightMessageReader* reader) {
  while (true) {
    const auto chunk = reader->Next();
    if (!chunk.ok() || (chunk->data == nullptr && chunk->app_metadata == nullptr)) return;
  }
}

TEST(ClientConnect, NoServerIsUnavailableAtOnceWithTheRemedy) {
  ClientOptions options;
  options.uri = "grpc://127.0.0.1:1";
  const auto start = Clock::now();
  const auto status = Client::Connect(options).status();
  EXPECT_EQ(CodeOf(status), Code::kUnavailable) << status;
  EXPECT_NE(status.message().find(options.uri), std::string::npos) << status;
  EXPECT_NE(status.message().find("flightbridge serve"), std::string::npos) << status;
  EXPECT_LT(SecondsSince(start), 10);
}

TEST(ClientConnect, AServerThatNeverAnswersIsUnavailableAtTheDeadline) {
  const int listener = ::socket(AF_INET, SOCK_STREAM, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t length = sizeof address;
  ASSERT_EQ(::bind(listener, reinterpret_cast<sockaddr*>(&address), length), 0);
  ASSERT_EQ(::listen(listener, 8), 0);
  ASSERT_EQ(::getsockname(listener, reinterpret_cast<sockaddr*>(&address), &length), 0);
  ClientOptions options;
  options.uri = "grpc://127.0.0.1:" + std::to_string(ntohs(address.sin_port));
  options.timeout_s = 1;
  const auto start = Clock::now();
  const auto status = Client::Connect(options).status();
  EXPECT_EQ(CodeOf(status), Code::kUnavailable) << status;
  EXPECT_LT(SecondsSince(start), 8);
  ::close(listener);
}

TEST(ClientConnect, BadOptionsAreNamed) {
  ClientOptions options;
  options.uri = "localhost";
  EXPECT_EQ(CodeOf(Client::Connect(options).status()), Code::kInvalidArgument);
  options.uri = "grpc://localhost:1";
  options.timeout_s = 0;
  const auto timeout = Client::Connect(options).status();
  EXPECT_EQ(CodeOf(timeout), Code::kInvalidArgument);
  EXPECT_NE(timeout.message().find("timeout_s"), std::string::npos);
  options.timeout_s = 1;
  options.token = "a\nb";
  const auto token = Client::Connect(options).status();
  EXPECT_EQ(CodeOf(token), Code::kInvalidArgument);
  EXPECT_EQ(token.message().find("a\nb"), std::string::npos) << "a token must not be printed";
}

TEST_F(ClientFault, AnErrorInTheMiddleOfAPutIsTheServersOwn) {
  server_.put = [](const auto&, auto* reader, auto*) {
    (void)reader->Next();
    return ToFlight(Error(Code::kResourceExhausted, "no room: raise the limit"));
  };
  const auto put = OpenPut();
  const auto status = WriteUntilError(put.get(), 200);
  EXPECT_EQ(CodeOf(status), Code::kResourceExhausted) << status;
  EXPECT_NE(status.message().find("no room: raise the limit"), std::string::npos) << status;
  EXPECT_EQ(CodeOf(put->Write(*TestBatch(0, 1))), Code::kResourceExhausted);
  EXPECT_EQ(CodeOf(put->Finish().status()), Code::kResourceExhausted);
}

TEST_F(ClientFault, AnAckThatDisagreesIsDataLoss) {
  server_.put = [](const auto&, auto* reader, auto* writer) {
    Drain(reader);
    proto::PutResult wrong;
    wrong.batches = 1;
    wrong.rows = 9;
    return writer->WriteMetadata(*arrow::Buffer::FromString(wrong.Encode()));
  };
  const auto put = OpenPut();
  ASSERT_TRUE(put->Write(*TestBatch(0, 10)).ok());
  const auto status = put->Finish().status();
  EXPECT_EQ(CodeOf(status), Code::kDataLoss) << status;
  EXPECT_NE(status.message().find("partition 4 attempt 9"), std::string::npos) << status;
}

TEST_F(ClientFault, ACleanEndWithoutAnAckIsDataLoss) {
  server_.put = [](const auto&, auto* reader, auto*) {
    Drain(reader);
    return arrow::Status::OK();
  };
  const auto put = OpenPut();
  ASSERT_TRUE(put->Write(*TestBatch(0, 10)).ok());
  EXPECT_EQ(CodeOf(put->Finish().status()), Code::kDataLoss);
}

TEST_F(ClientFault, AServerThatTakesNothingEndsTheWriteAtTheDeadline) {
  options_.timeout_s = 1;
  server_.put = [](const flight::ServerCallContext& context, auto*, auto*) {
    while (!context.is_cancelled()) std::this_thread::sleep_for(std::chrono::milliseconds(10));
    return arrow::Status::OK();
  };
  const auto put = OpenPut();
  const auto start = Clock::now();
  const auto status = WriteUntilError(put.get(), 1000);
  EXPECT_EQ(CodeOf(status), Code::kDeadlineExceeded) << status;
  EXPECT_LT(SecondsSince(start), 15);
}

TEST_F(ClientFault, AnAckThatNeverComesEndsFinishAtTheDeadline) {
  options_.timeout_s = 1;
  server_.put = [](const flight::ServerCallContext& context, auto* reader, auto*) {
    Drain(reader);
    while (!context.is_cancelled()) std::this_thread::sleep_for(std::chrono::milliseconds(10));
    return arrow::Status::OK();
  };
  const auto put = OpenPut();
  ASSERT_TRUE(put->Write(*TestBatch(0, 10)).ok());
  EXPECT_EQ(CodeOf(put->Finish().status()), Code::kDeadlineExceeded);
}

TEST_F(ClientFault, AbortReturnsAtOnceAndTheServerSeesIt) {
  std::atomic<int> entered = 0, cancelled = 0;
  server_.put = [&](const flight::ServerCallContext& context, auto*, auto*) {
    ++entered;
    while (!context.is_cancelled()) std::this_thread::sleep_for(std::chrono::milliseconds(10));
    ++cancelled;
    return arrow::Status::OK();
  };
  auto put = OpenPut();
  ASSERT_TRUE(put->Write(*TestBatch(0, 10)).ok());
  auto dropped = OpenPut();
  ASSERT_TRUE(dropped->Write(*TestBatch(0, 10)).ok());
  ASSERT_TRUE(WaitFor([&] { return entered == 2; }));
  const auto start = Clock::now();
  put->Abort();
  dropped.reset();
  EXPECT_LT(SecondsSince(start), 5);
  EXPECT_TRUE(WaitFor([&] { return cancelled == 2; }));
}

TEST_F(ClientFault, AGoodStreamPassesEveryCheck) {
  server_.get = [](int, proto::GetMetadata*) { return true; };
  int batches = 0;
  const auto status = ReadToTheEnd(&batches);
  EXPECT_TRUE(status.ok()) << status;
  EXPECT_EQ(batches, 2);
}

TEST_F(ClientFault, AWrongChecksumIsDataLossByPartitionAndRow) {
  server_.get = [](int index, proto::GetMetadata* metadata) {
    metadata->crc32c ^= index == 1 ? 1 : 0;
    return true;
  };
  int batches = 0;
  const auto status = ReadToTheEnd(&batches);
  EXPECT_EQ(CodeOf(status), Code::kDataLoss) << status;
  EXPECT_EQ(batches, 1);
  EXPECT_NE(status.message().find("feed 'f' partition 0 rows 10 to 20"), std::string::npos)
      << status;
}

TEST_F(ClientFault, AnEarlyCleanEndIsDataLoss) {
  server_.get = [](int index, proto::GetMetadata*) { return index < 1; };
  const auto status = ReadToTheEnd();
  EXPECT_EQ(CodeOf(status), Code::kDataLoss) << status;
  EXPECT_NE(status.message().find("10 rows early"), std::string::npos) << status;
}

TEST_F(ClientFault, RowsOutOfPlaceAreDataLoss) {
  server_.get = [](int index, proto::GetMetadata* metadata) {
    if (index == 1) metadata->row_begin = 0;
    return true;
  };
  EXPECT_EQ(CodeOf(ReadToTheEnd()), Code::kDataLoss);
}

TEST_F(ClientFault, AnErrorInTheMiddleOfAGetIsTheServersOwn) {
  server_.get = [](int index, proto::GetMetadata*) -> arrow::Result<bool> {
    if (index == 1) return ToFlight(Error(Code::kDataLoss, "segment 3 is damaged"));
    return true;
  };
  const auto status = ReadToTheEnd();
  EXPECT_EQ(CodeOf(status), Code::kDataLoss) << status;
  EXPECT_NE(status.message().find("segment 3 is damaged"), std::string::npos) << status;
}

TEST_F(ClientFault, AGetThatStallsEndsAtTheDeadlineAndCanBeCancelled) {
  options_.timeout_s = 1;
  auto stalled = std::make_shared<std::atomic<int>>(0);
  auto over = std::make_shared<std::atomic<bool>>(false);
  const std::shared_ptr<void> release(nullptr, [over](void*) { *over = true; });
  server_.get = [stalled, over](int index, proto::GetMetadata*) -> arrow::Result<bool> {
    if (index == 1) ++*stalled;
    while (index == 1 && !*over) std::this_thread::sleep_for(std::chrono::milliseconds(10));
    return true;
  };
  EXPECT_EQ(CodeOf(ReadToTheEnd()), Code::kDeadlineExceeded);

  options_.timeout_s = 600;  // no call ends by itself
  client_.reset();
  proto::GetTicket ticket;
  ticket.feed = "f";
  *stalled = 0;
  const auto get = client().OpenGet(ticket).ValueOrDie();
  const auto first = get->Next();
  ASSERT_TRUE(first.ok()) << first.status();
  std::thread canceller([&] {
    EXPECT_TRUE(WaitFor([&] { return *stalled > 0; }));
    get->Cancel();
  });
  EXPECT_EQ(CodeOf(get->Next().status()), Code::kCancelled);
  canceller.join();
}

TEST_F(ClientFault, AGetWhoseSchemaDoesNotComeCanBeCancelledOrDropped) {
  auto entered = std::make_shared<std::atomic<int>>(0);
  auto over = std::make_shared<std::atomic<bool>>(false);
  const std::shared_ptr<void> release(nullptr, [over](void*) { *over = true; });
  server_.get = [over, entered](int, proto::GetMetadata*) -> arrow::Result<bool> {
    ++*entered;
    while (!*over) std::this_thread::sleep_for(std::chrono::milliseconds(10));
    return true;
  };
  proto::GetTicket ticket;
  ticket.feed = "f";
  const auto start = Clock::now();
  for (const bool schema : {false, true}) {
    *entered = 0;
    const auto get = client().OpenGet(ticket).ValueOrDie();
    std::thread canceller([&] {
      EXPECT_TRUE(WaitFor([&] { return *entered == 1; }));
      get->Cancel();
    });
    const auto status = schema ? get->schema().status() : get->Next().status();
    EXPECT_EQ(CodeOf(status), Code::kCancelled) << status;
    EXPECT_EQ(CodeOf(get->Next().status()), Code::kCancelled);
    canceller.join();
  }
  auto dropped = client().OpenGet(ticket).ValueOrDie();
  dropped.reset();
  EXPECT_LT(SecondsSince(start), 15);  // of the 20 that a call may take
}

TEST_F(ClientFault, ACallTheServerDoesNotKnowIsNamed) {
  const auto status = client().AbortWrite("f", "j");
  EXPECT_EQ(CodeOf(status), Code::kFailedPrecondition) << status;
  EXPECT_NE(status.message().find("AbortWrite"), std::string::npos) << status;
}

TEST_F(ClientFault, AForkedChildIsToldToConnectAgain) {
  client();
  const pid_t child = ::fork();
  if (child == 0) {
    const auto status = client_->DescribeFeed("f").status();
    const auto put = client_->OpenPut("f", "j", 0, 0, TestSchema()).status();
    client_.reset();  // must neither hang nor crash
    const bool told = CodeOf(status) == Code::kFailedPrecondition &&
                      CodeOf(put) == Code::kFailedPrecondition &&
                      status.message().find("after the fork") != std::string::npos;
    ::_exit(told ? 0 : 1);
  }
  int status = -1;
  for (int i = 0; i < 1000 && ::waitpid(child, &status, WNOHANG) == 0; ++i)
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  if (status == -1) ::kill(child, SIGKILL);
  EXPECT_EQ(status, 0);
}

}  // namespace
}  // namespace flightbridge
