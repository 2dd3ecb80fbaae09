// The data channel under faults: whatever is cut, flipped or sent by a stranger, each row arrives
// once or the caller is told, and the server goes on.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <map>
#include <random>
#include <set>
#include <string>
#include <vector>

#include <arrow/array.h>
#include <arrow/builder.h>
#include <arrow/flight/client.h>
#include <arrow/ipc/writer.h>
#include <arrow/record_batch.h>

#include "channel/frames.h"
#include "client/put_window.h"
#include "client/ring_space.h"
#include "flightbridge/client.h"
#include "flightbridge/error.h"
#include "flightbridge/proto/commands.h"
#include "flightbridge/server.h"
#include "segment/checksum.h"
#include "testing/jobs.h"
#include "testing/proxy.h"

namespace flightbridge {
namespace {

using channel::Kind;
using flightbridge::testing::JobOf;
using flightbridge::testing::Proxy;

template <typename T>
T Value(arrow::Result<T> result) {
  EXPECT_TRUE(result.ok()) << result.status();
  return std::move(result).ValueOrDie();
}

std::shared_ptr<arrow::Schema> Schema() {
  return arrow::schema({arrow::field("id", arrow::int64()), arrow::field("name", arrow::utf8())});
}

std::shared_ptr<arrow::RecordBatch> Batch(int64_t begin, int64_t rows) {
  arrow::Int64Builder ids;
  arrow::StringBuilder names;
  for (int64_t i = begin; i < begin + rows; ++i) {
    EXPECT_TRUE(ids.Append(i).ok());
    EXPECT_TRUE(names.Append("row " + std::to_string(i)).ok());
  }
  return arrow::RecordBatch::Make(Schema(), rows, {*ids.Finish(), *names.Finish()});
}

class Channel : public ::testing::Test {
 protected:
  // A server whose data port is reached through a proxy.
  void Start(std::function<Proxy::Fault(int)> faults, ServerOptions options = {}) {
    proxy_ = std::make_unique<Proxy>(std::move(faults));
    options.advertised_data_port = proxy_->port();
    server_ = Value(Server::Start(options));
    proxy_->set_target(server_->data_port());
  }
  std::unique_ptr<Client> Connect(double timeout_s = 10) {
    ClientOptions options;
    options.uri = server_->uri();
    options.timeout_s = timeout_s;
    options.transport = "channel";
    return Value(Client::Connect(options));
  }
  // One attempt of `batches` batches of 2,000 rows.
  arrow::Result<proto::AttemptRef> Put(Client& client, int64_t batches,
                                       const std::string& job = "job") {
    ARROW_RETURN_NOT_OK(
        client.BeginWrite(JobOf("f", job, proto::WriteMode::kOverwrite, Schema())).status());
    ARROW_ASSIGN_OR_RAISE(auto put, client.OpenPut("f", job, 0, 0, Schema()));
    for (int64_t i = 0; i < batches; ++i) {
      ARROW_RETURN_NOT_OK(put->Write(*Batch(i * 2000, 2000)));
    }
    ARROW_ASSIGN_OR_RAISE(const auto result, put->Finish());
    return proto::AttemptRef{0, 0, result.rows, result.batches, result.crc32c};
  }
  arrow::Result<int64_t> CountInOrder(Client& client) {
    proto::GetTicket ticket;
    ticket.feed = "f";
    ARROW_ASSIGN_OR_RAISE(auto get, client.OpenGet(ticket));
    int64_t rows = 0;
    while (true) {
      ARROW_ASSIGN_OR_RAISE(const auto batch, get->Next());
      if (batch == nullptr) return rows;
      const auto& ids = static_cast<const arrow::Int64Array&>(*batch->column(0));
      for (int64_t i = 0; i < ids.length(); ++i) {
        if (ids.Value(i) != rows++) return arrow::Status::Invalid("row out of order");
      }
    }
  }

  std::unique_ptr<Proxy> proxy_;
  std::unique_ptr<Server> server_;
};

TEST_F(Channel, APutSurvivesConnectionsCutAnywhere) {
  std::mt19937 random(7);
  Start([&](int connection) {
    Proxy::Fault fault;
    if (connection < 25) {
      fault.cut_after = static_cast<int64_t>(random() % 300'000);
      fault.upstream = connection % 4 != 3;
      if (!fault.upstream) fault.cut_after %= 400;     // acks are few and small
      if (connection == 0) fault.cut_after += 20'000;  // not before it is known to work
    }
    return fault;
  });
  const auto client = Connect();
  const auto ref = Value(Put(*client, 40));
  EXPECT_EQ(ref.rows, 80'000);
  Value(client->CommitWrite("f", "job", {ref}));
  EXPECT_GT(proxy_->connections(), 5);
  EXPECT_EQ(Value(CountInOrder(*client)), 80'000);
}

// The old connection's thread waits for room, not for bytes: it must let go of the attempt, whole.
TEST_F(Channel, AConnectionLostWhileThePutWaitsForRoomIsPickedUp) {
  ServerOptions options;
  options.memory_limit_bytes = 10 << 20;
  options.put_wait = std::chrono::minutes(10);
  Start([](int) { return Proxy::Fault(); }, options);
  const auto until = [](auto&& condition) {
    const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(60);
    while (!condition() && std::chrono::steady_clock::now() < deadline) {
      std::this_thread::sleep_for(std::chrono::milliseconds(5));
    }
    return condition();
  };
  const auto client = Connect(60);
  ASSERT_TRUE(client->BeginWrite(JobOf("other", "o", proto::WriteMode::kOverwrite, Schema())).ok());
  auto other = Value(client->OpenPut("other", "o", 0, 0, Schema()));
  for (int i = 0; i < 80; ++i) ASSERT_TRUE(other->Write(*Batch(i * 2000, 2000)).ok());
  const auto kept = Value(other->Finish());
  other.reset();

  const auto writer = Connect(60);
  arrow::Result<proto::AttemptRef> ref = arrow::Status::UnknownError("not put");
  std::thread putting([&] { ref = Put(*writer, 180); });
  EXPECT_TRUE(until([&] {
    return server_->status().memory_used_bytes > options.memory_limit_bytes - (100 << 10);
  })) << "it does not wait for room";
  const int64_t before = proxy_->passed_back();
  proxy_->CutAll();
  // Greeting and answer on the next connection: it has the attempt.
  EXPECT_TRUE(until([&] { return proxy_->passed_back() >= before + 2 * 88; }));
  EXPECT_TRUE(until([&] { return server_->status().open_puts == 1; }));
  Value(client->CommitWrite("other", "o", {{0, 0, kept.rows, kept.batches, kept.crc32c}}));
  ASSERT_TRUE(client->DropFeed("other", false).ok());
  putting.join();
  EXPECT_EQ(Value(ref).rows, 360'000);
  Value(client->CommitWrite("f", "job", {*ref}));
  EXPECT_EQ(Value(CountInOrder(*client)), 360'000);
}

TEST_F(Channel, AGetGoesOnAtTheNextRowAfterEachCut) {
  std::mt19937 random(11);
  std::atomic<bool> faulty = false;
  Start([&](int) {
    Proxy::Fault fault;
    fault.upstream = false;
    if (faulty) fault.cut_after = 60'000 + static_cast<int64_t>(random() % 200'000);
    return fault;
  });
  {
    const auto client = Connect();
    Value(client->CommitWrite("f", "job", {Value(Put(*client, 40))}));
  }
  faulty = true;
  const int before = proxy_->connections();
  EXPECT_EQ(Value(CountInOrder(*Connect())), 80'000);
  EXPECT_GT(proxy_->connections() - before, 5);
}

TEST_F(Channel, AFlippedBitIsAnErrorAndNoRowIsVisible) {
  std::mt19937 random(13);
  std::map<Code, int> codes;
  for (int i = 0; i < 30; ++i) {
    const auto at = static_cast<int64_t>(random() % 200'000) + 400;
    Start([&](int connection) {
      Proxy::Fault fault;
      if (connection == 0) fault.flip_at = at;
      return fault;
    });
    const auto client = Connect(5);
    const auto ref = Put(*client, 10);
    if (ref.ok()) {  // in padding, or beyond the end
      EXPECT_EQ(ref->rows, 20'000);
      Value(client->CommitWrite("f", "job", {*ref}));
      EXPECT_EQ(Value(CountInOrder(*client)), 20'000);
    } else {
      ++codes[CodeOf(ref.status())];
      EXPECT_EQ(CodeOf(client->GetSchema("f").status()), Code::kNotFound);
    }
  }
  EXPECT_GT(codes[Code::kDataLoss], 5);
}

TEST_F(Channel, AFlippedBitOnTheWayToAReaderIsAnError) {
  std::atomic<int64_t> flip_at = -1;
  Start([&](int) {
    Proxy::Fault fault;
    fault.upstream = false;
    fault.flip_at = flip_at;
    return fault;
  });
  {
    const auto client = Connect();
    Value(client->CommitWrite("f", "job", {Value(Put(*client, 10))}));
  }
  std::mt19937 random(17);
  int errors = 0;
  for (int i = 0; i < 30; ++i) {
    flip_at = 500 + static_cast<int64_t>(random() % 300'000);
    const auto rows = CountInOrder(*Connect(2));
    if (rows.ok()) {
      EXPECT_EQ(*rows, 20'000);
    } else {
      ++errors;
    }
  }
  EXPECT_GT(errors, 5);
}

TEST_F(Channel, WhatIsMappedStaysAsItIsWhenItsGetIsDropped) {
  ServerOptions server_options;
  server_options.memory_limit_bytes = 8 << 20;
  server_ = Value(Server::Start(server_options));
  ClientOptions options;
  options.uri = server_->uri();
  options.timeout_s = 10;
  options.transport = "mapped";
  const auto client = Value(Client::Connect(options));
  Value(client->CommitWrite("f", "job", {Value(Put(*client, 10))}));
  proto::GetTicket ticket;
  ticket.feed = "f";
  auto get = Value(client->OpenGet(ticket));
  const auto held = Value(get->Next());
  get.reset();  // in the middle
  ASSERT_TRUE(client->DropFeed("f", false).ok());
  for (int i = 0; i < 20; ++i) {  // over all the memory that there is
    const std::string job = "over" + std::to_string(i);
    const auto ref = Value(Put(*client, 20, job));
    Value(client->CommitWrite("f", job, {ref}));
    ASSERT_TRUE(client->DropFeed("f", false).ok());
  }
  EXPECT_TRUE(held->Equals(*Batch(0, held->num_rows())));
}

// Where in this process, which is client and server, rings are mapped.
std::set<std::string> MappedRings() {
  std::ifstream maps("/proc/self/maps");
  std::set<std::string> places;
  for (std::string line; std::getline(maps, line);) {
    if (line.find("flightbridge-ring") != std::string::npos) {
      places.insert(line.substr(0, line.find(' ')));
    }
  }
  return places;
}

TEST_F(Channel, ARingIsMappedOnceForAllPutsOfItsConnection) {
  server_ = Value(Server::Start(ServerOptions()));
  ClientOptions options;
  options.uri = server_->uri();
  options.transport = "mapped";
  const auto client = Value(Client::Connect(options));
  const auto put = [&](const std::string& job) {
    const auto ref = Value(Put(*client, 20, job));
    Value(client->CommitWrite("f", job, {ref}));
    EXPECT_EQ(Value(CountInOrder(*client)), 40'000);
  };
  const size_t others = MappedRings().size();  // of other tests
  put("first");
  const auto rings = MappedRings();
  EXPECT_EQ(rings.size(), others + 2) << "one on each side";
  put("second");
  EXPECT_EQ(MappedRings(), rings);
}

// ---- strangers -----------------------------------------------------------------------------

channel::Message MessageOf(int64_t rows) {
  arrow::ipc::IpcPayload payload;
  EXPECT_TRUE(arrow::ipc::GetRecordBatchPayload(*Batch(0, rows),
                                                arrow::ipc::IpcWriteOptions::Defaults(), &payload)
                  .ok());
  return Value(channel::Message::Of(payload));
}

class Stranger : public Channel {
 protected:
  void SetUp() override {
    Start([](int) { return Proxy::Fault{}; });
  }
  std::unique_ptr<channel::Frames> Knock() {
    auto fd = Value(channel::Socket::ConnectTcp("127.0.0.1", server_->data_port(),
                                                std::chrono::milliseconds(2000)));
    return std::make_unique<channel::Frames>(std::move(fd), std::chrono::milliseconds(5000));
  }
  // What the server says before it closes; OK where it says nothing.
  static arrow::Status Answer(channel::Frames& frames) {
    while (true) {
      auto header = frames.ReceiveHeader(1 << 30);
      if (!header.ok()) return frames.socket().lost() ? arrow::Status::OK() : header.status();
      ARROW_ASSIGN_OR_RAISE(const std::string metadata, frames.ReceiveMetadata(*header));
      if (header->what() == Kind::kError) return channel::ReceivedError(metadata);
    }
  }
  void ExpectAlive() {
    const auto client = Connect();
    const auto ref = Value(Put(*client, 3));
    Value(client->CommitWrite("f", "job", {ref}));
    EXPECT_EQ(Value(CountInOrder(*client)), 6'000);
    ASSERT_TRUE(client->DropFeed("f", false).ok());
  }
};

TEST_F(Stranger, GarbageIsRefused) {
  auto frames = Knock();
  std::string garbage(4096, 'x');
  iovec part = {garbage.data(), garbage.size()};
  ASSERT_TRUE(frames->socket().Send({&part, 1}).ok());
  EXPECT_EQ(CodeOf(Answer(*frames)), Code::kInvalidArgument);
  ExpectAlive();
}

TEST_F(Stranger, AWrongKeyIsUnauthenticated) {
  auto frames = Knock();
  const proto::ChannelHello hello{channel::kVersion, std::string(channel::kKeyBytes, 'k')};
  ASSERT_TRUE(frames->Send(Kind::kHello, hello.Encode()).ok());
  EXPECT_EQ(CodeOf(Answer(*frames)), Code::kUnauthenticated);
}

TEST_F(Stranger, AnotherVersionIsNamed) {
  auto frames = Knock();
  const proto::ChannelHello hello{99, std::string(channel::kKeyBytes, 'k')};
  ASSERT_TRUE(frames->Send(Kind::kHello, hello.Encode()).ok());
  const auto answer = Answer(*frames);
  EXPECT_EQ(CodeOf(answer), Code::kInvalidArgument);
  EXPECT_NE(answer.message().find("version 99"), std::string::npos) << answer;
}

TEST_F(Stranger, ARequestWithoutAGreetingIsRefused) {
  auto frames = Knock();
  ASSERT_TRUE(frames->Send(Kind::kGet, proto::ChannelGet{"ticket", false}.Encode()).ok());
  EXPECT_EQ(CodeOf(Answer(*frames)), Code::kInvalidArgument);
}

// A writer that is lent a ring: what the JVM's connector does.
class LentRing : public Stranger {
 protected:
  // Opens an attempt of the feed g; `ready_` has the answer.
  std::unique_ptr<channel::Frames> Begin(uint64_t ring_bytes) {
    auto frames = Knock();
    EXPECT_TRUE(
        frames->Send(Kind::kHello, proto::ChannelHello{channel::kVersion, Key()}.Encode()).ok());
    Value(frames->ReceiveHeader(0));  // the welcome, which is empty
    client_ = Connect();
    Value(client_->BeginWrite(JobOf("g", "job", proto::WriteMode::kOverwrite, Schema())));
    proto::ChannelPut put;
    put.command = proto::PutCommand{"g", "job", partition_++, 0};
    put.schema = (*arrow::ipc::SerializeSchema(*Schema()))->ToString();
    put.ring_bytes = ring_bytes;
    EXPECT_TRUE(frames->Send(Kind::kPut, put.Encode()).ok());
    const auto header = Value(frames->ReceiveHeader(0));
    const std::string answer = Value(frames->ReceiveMetadata(header));
    EXPECT_EQ(header.what(), Kind::kReady);
    ready_ = *proto::Parse<proto::ChannelReady>(answer);
    return frames;
  }
  std::string Path() const {
    return "/proc/" + std::to_string(ready_.ring->process) + "/fd/" +
           std::to_string(ready_.ring->fd);
  }
  uint8_t* Map() const {
    const channel::Fd fd(open(Path().c_str(), O_RDWR | O_CLOEXEC));
    void* data = mmap(nullptr, ready_.ring->bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd.get(), 0);
    EXPECT_NE(data, MAP_FAILED);
    return static_cast<uint8_t*>(data);
  }
  static arrow::Status Confirm(channel::Frames& frames, const uint8_t* ring) {
    return frames.Send(Kind::kRing,
                       std::string(reinterpret_cast<const char*>(ring), channel::kKeyBytes));
  }
  static arrow::Status SendAt(channel::Frames& frames, const channel::Message& message,
                              uint64_t sequence, int64_t place, uint32_t crc) {
    channel::Header header;
    header.flags = channel::kInRing;
    header.sequence = sequence;
    header.place = place;
    header.body_bytes = message.body_bytes();
    return frames.SendReference(header, message.metadata(), crc);
  }

  std::unique_ptr<Client> client_;
  proto::ChannelReady ready_;
  int64_t partition_ = 0;

 private:
  std::string Key() const {
    const auto location = Value(arrow::flight::Location::Parse(server_->uri()));
    const auto flight = Value(arrow::flight::FlightClient::Connect(location));
    const auto body = arrow::Buffer::FromString(proto::OpenChannel{channel::kVersion}.Encode());
    auto results = Value(flight->DoAction({"flightbridge.v1.OpenChannel", body}));
    return proto::Parse<proto::ChannelOffer>(Value(results->Next())->body->ToString())->key;
  }
};

TEST_F(LentRing, BodiesThatLieInItArrive) {
  auto frames = Begin(4 << 20);
  ASSERT_TRUE(ready_.ring.has_value());
  EXPECT_EQ(ready_.ring->bytes, 4 << 20);
  struct stat facts = {};
  ASSERT_EQ(stat(Path().c_str(), &facts), 0);
  EXPECT_EQ(facts.st_mode & 0777, S_IRUSR | S_IWUSR);
  EXPECT_EQ(std::filesystem::read_symlink(Path()).string(),
            "/memfd:" + ready_.ring->name + " (deleted)");
  {  // nobody can take it away under the server
    const channel::Fd fd(open(Path().c_str(), O_RDWR | O_CLOEXEC));
    EXPECT_NE(ftruncate(fd.get(), 0), 0);
  }
  uint8_t* const ring = Map();
  ASSERT_TRUE(Confirm(*frames, ring).ok());
  proto::PutEnd end;
  for (uint64_t i = 0; i < 3; ++i) {
    const channel::Message message = MessageOf(2000);
    const int64_t place = static_cast<int64_t>(i) << 20;
    const uint32_t crc = message.CopyBody(ring + place);
    ASSERT_TRUE(SendAt(*frames, message, i, place, crc).ok());
    end.batches += 1;
    end.rows += 2000;
    end.crc32c = segment::ChainChecksum(end.crc32c, crc);
    const auto header = Value(frames->ReceiveHeader(0));
    EXPECT_EQ(header.what(), Kind::kAck);
    EXPECT_EQ(
        proto::Parse<proto::ChannelAck>(Value(frames->ReceiveMetadata(header)))->next_sequence,
        i + 1);
  }
  ASSERT_TRUE(frames->Send(Kind::kEnd, end.Encode()).ok());
  const auto header = Value(frames->ReceiveHeader(0));
  ASSERT_EQ(header.what(), Kind::kResult);
  const auto result = *proto::Parse<proto::PutResult>(Value(frames->ReceiveMetadata(header)));
  Value(client_->CommitWrite(
      "g", "job", {proto::AttemptRef{0, 0, result.rows, result.batches, result.crc32c}}));
  const auto info = Value(client_->DescribeFeed("g"));
  EXPECT_EQ(info.rows, 6000);
  munmap(ring, ready_.ring->bytes);
}

TEST_F(LentRing, ABodyThatChangesUnderTheServerIsDataLoss) {
  auto frames = Begin(4 << 20);
  ASSERT_TRUE(ready_.ring.has_value());
  uint8_t* const ring = Map();
  ASSERT_TRUE(Confirm(*frames, ring).ok());
  const channel::Message message = MessageOf(2000);
  const uint32_t crc = message.CopyBody(ring);
  ring[100] ^= 1;
  ASSERT_TRUE(SendAt(*frames, message, 0, 0, crc).ok());
  EXPECT_EQ(CodeOf(Answer(*frames)), Code::kDataLoss);
  munmap(ring, ready_.ring->bytes);
  ExpectAlive();
}

TEST_F(LentRing, WhoCannotOpenItCannotUseIt) {
  auto frames = Begin(4 << 20);
  ASSERT_TRUE(ready_.ring.has_value());
  ASSERT_TRUE(frames->Send(Kind::kRing, std::string(channel::kKeyBytes, 'k')).ok());
  EXPECT_EQ(CodeOf(Answer(*frames)), Code::kPermissionDenied);
  // Nor where it is never asked.
  frames = Begin(4 << 20);
  const channel::Message message = MessageOf(2000);
  ASSERT_TRUE(SendAt(*frames, message, 0, 0, message.Checksum()).ok());
  EXPECT_EQ(CodeOf(Answer(*frames)), Code::kInvalidArgument);
  ExpectAlive();
}

TEST_F(LentRing, IsNotLentToThoseThatDoNotAsk) {
  auto frames = Begin(0);
  EXPECT_FALSE(ready_.ring.has_value());
  ASSERT_TRUE(frames->Send(Kind::kRing, std::string(channel::kKeyBytes, 'k')).ok());
  EXPECT_EQ(CodeOf(Answer(*frames)), Code::kInvalidArgument);
}

TEST_F(LentRing, HasABoundedSize) {
  auto frames = Begin(1);
  EXPECT_EQ(ready_.ring->bytes, 64 << 10);
  frames = Begin(~uint64_t{0});
  EXPECT_EQ(ready_.ring->bytes, 64 << 20);
}

TEST_F(LentRing, TakesABoundedAmountOfMemoryInAll) {
  std::vector<std::unique_ptr<channel::Frames>> open;
  for (int i = 0; i < 8; ++i) {
    open.push_back(Begin(64 << 20));
    ASSERT_TRUE(ready_.ring.has_value()) << i;
  }
  open.push_back(Begin(64 << 10));
  EXPECT_FALSE(ready_.ring.has_value());
  open.clear();
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(60);
  do {
    Begin(64 << 20);
  } while (!ready_.ring && std::chrono::steady_clock::now() < deadline);
  EXPECT_TRUE(ready_.ring.has_value());
}

TEST_F(LentRing, IsGoneWithItsConnection) {
  auto frames = Begin(4 << 20);
  ASSERT_TRUE(ready_.ring.has_value());
  const std::string path = Path();
  const std::string name = "/memfd:" + ready_.ring->name + " (deleted)";
  frames.reset();
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(60);
  std::error_code gone;
  while (std::filesystem::read_symlink(path, gone).string() == name &&
         std::chrono::steady_clock::now() < deadline) {
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }
  EXPECT_NE(std::filesystem::read_symlink(path, gone).string(), name);
}

// ---- bookkeeping ---------------------------------------------------------------------------

TEST(PutWindow, KeepsASmallPutWholeAndForgetsWhatIsAckedOfALargeOne) {
  const int64_t bytes = MessageOf(100).body_bytes();
  client::PutWindow window(2 * bytes, 3 * bytes);
  for (uint64_t i = 0; i < 3; ++i) EXPECT_EQ(window.Add(MessageOf(100)), i);
  EXPECT_TRUE(window.full());
  EXPECT_TRUE(window.Ack(2));
  EXPECT_FALSE(window.full());
  EXPECT_TRUE(window.Restart(0));  // everything is still there
  EXPECT_TRUE(window.full());
  EXPECT_TRUE(window.Ack(2));
  window.Add(MessageOf(100));  // more than is kept
  EXPECT_EQ(window.first(), 2);
  EXPECT_FALSE(window.Restart(1));
  EXPECT_TRUE(window.Restart(3));
  EXPECT_FALSE(window.Ack(5));  // never sent
}

TEST(RingSpace, NeverGivesTheSameBytesTwice) {
  std::mt19937 random(3);
  client::RingSpace ring(4096);
  struct Run {
    uint64_t sequence;
    int64_t begin, end;
  };
  std::deque<Run> held;
  uint64_t sequence = 0;
  int placed = 0;
  for (int i = 0; i < 20'000; ++i) {
    const auto bytes = static_cast<int64_t>(random() % 2000 + 1);
    if (const auto place = ring.Allocate(sequence, bytes)) {
      ++placed;
      const Run run{sequence++, *place, *place + bytes};
      EXPECT_GE(run.begin, 0);
      EXPECT_LE(run.end, 4096);
      for (const Run& other : held) {
        EXPECT_TRUE(run.end <= other.begin || other.end <= run.begin);
      }
      held.push_back(run);
    } else {
      ASSERT_FALSE(held.empty());  // an empty ring has room for any of these
      const auto next = held.front().sequence + 1 + random() % held.size();
      ring.Free(next);
      while (!held.empty() && held.front().sequence < next) held.pop_front();
    }
  }
  EXPECT_GT(placed, 5'000);
}

}  // namespace
}  // namespace flightbridge
