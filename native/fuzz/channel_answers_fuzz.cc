// What servers answer over data channels, through the client's own put and get: a server of a few
// lines offers the channel and plays a script on it (channel_script.h).
//
// The first byte picks put or get and how the connection is made. A get that ends well has brought
// every row that the ticket names.
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <netinet/in.h>

#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include <arrow/flight/server.h>

#include "channel/frames.h"
#include "channel_script.h"
#include "client/channel_get.h"
#include "client/channel_put.h"
#include "common/thread.h"
#include "store.h"

#ifndef FB_FUZZ_ENTRY
#define FB_FUZZ_ENTRY LLVMFuzzerTestOneInput
#endif

namespace flightbridge::fuzz {
namespace {

namespace flight = arrow::flight;

enum Dialogue : uint8_t { kGetting = 1, kByTcp = 2 };
constexpr int64_t kSegmentBytes = 64 << 10;

int64_t puts_finished = 0;  // a target that is refused everything finds nothing
int64_t gets_finished = 0;

// Offers a data channel, and nothing else.
class Offering : public flight::FlightServerBase {
 public:
  explicit Offering(proto::ChannelOffer offer) : offer_(std::move(offer)) {}
  arrow::Status DoAction(const flight::ServerCallContext&, const flight::Action&,
                         std::unique_ptr<flight::ResultStream>* result) override {
    std::vector<flight::Result> results = {{arrow::Buffer::FromString(offer_.Encode())}};
    *result = std::make_unique<flight::SimpleResultStream>(std::move(results));
    return {};
  }

 private:
  const proto::ChannelOffer offer_;
};

// Plays the script on the first connection that comes after Play(); tells later ones to give up.
class Player {
 public:
  Player() {
    segment_ = channel::Fd(Check(memfd_create("fuzz-segment", MFD_CLOEXEC)));
    if (ftruncate(segment_.get(), kSegmentBytes) != 0) std::abort();
    void* const data =
        mmap(nullptr, kSegmentBytes, PROT_READ | PROT_WRITE, MAP_SHARED, segment_.get(), 0);
    if (data == MAP_FAILED) std::abort();
    place_ = {static_cast<uint8_t*>(data), kSegmentBytes};
    tcp_ = channel::Fd(Check(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)));
    sockaddr_in address = {};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof(address);
    Listen(tcp_, reinterpret_cast<const sockaddr*>(&address), size);
    getsockname(tcp_.get(), reinterpret_cast<sockaddr*>(&address), &size);
    offer.port = ntohs(address.sin_port);
    offer.key = std::string(channel::kKeyBytes, 'k');
    offer.local_name = "flightbridge-fuzz-" + std::to_string(getpid());
    local_ = channel::Fd(Check(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0)));
    sockaddr_un name = {};
    name.sun_family = AF_UNIX;
    offer.local_name.copy(name.sun_path + 1, sizeof(name.sun_path) - 1);
    Listen(local_, reinterpret_cast<const sockaddr*>(&name),
           static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + 1 + offer.local_name.size()));
    for (const int listener : {tcp_.get(), local_.get()}) {
      StartThread([this, listener] { Accept(listener); }).detach();
    }
  }

  void Play(std::vector<ScriptedFrame> script) {
    const std::lock_guard lock(mutex_);
    script_ = std::move(script);
    fresh_ = true;
  }

  proto::ChannelOffer offer;

 private:
  static int Check(int fd) {
    if (fd < 0) std::abort();
    return fd;
  }
  static void Listen(const channel::Fd& fd, const sockaddr* address, socklen_t size) {
    if (bind(fd.get(), address, size) != 0 || listen(fd.get(), 16) != 0) std::abort();
  }

  // Each connection on a thread of its own: a client may hold one while it opens another.
  void Accept(int listener) {
    while (true) {
      const int fd = Check(accept4(listener, nullptr, nullptr, SOCK_CLOEXEC));
      StartThread([this, fd] { Serve(channel::Fd(fd)); }).detach();
    }
  }

  void Serve(channel::Fd fd) {
    channel::Frames frames(std::move(fd), kStuck);
    const std::function<arrow::Status()> read = [&] { return ReadSome(&frames); };
    for (const ScriptedFrame& frame : TakeScript()) {
      if ((frame.how & kInTurn) != 0) TakeFrame(&frames);
      if (!SendScripted(frame, segment_.get(), place_, &frames.socket(), read).ok()) break;
    }
    frames.socket().EndSending();
    frames.socket().Drain(kStuck);
  }

  std::vector<ScriptedFrame> TakeScript() {
    const std::lock_guard lock(mutex_);
    if (std::exchange(fresh_, false)) return std::move(script_);
    return {Frame(channel::Kind::kError, proto::ChannelError{"[INTERNAL] enough"}.Encode())};
  }

  static arrow::Status ReadSome(channel::Frames* frames) {
    char bytes[4096];
    return recv(frames->socket().fd(), bytes, sizeof(bytes), MSG_DONTWAIT) == 0
               ? arrow::Status::IOError("the client hung up")
               : arrow::Status::OK();
  }

  // The client's next frame, unless it waits for one of ours.
  static void TakeFrame(channel::Frames* frames) {
    const auto ended = frames->socket().AtEnd(std::chrono::milliseconds(50));
    if (!ended.ok() || *ended) return;
    const auto header = frames->ReceiveHeader(int64_t{1} << 40);
    if (!header.ok()) return;
    std::vector<char> rest(header->metadata_bytes);
    const bool message = header->what() == channel::Kind::kMessage;
    if (message && header->flags == channel::kInline) rest.resize(rest.size() + header->body_bytes);
    if (message) rest.resize(rest.size() + sizeof(channel::Trailer));
    static_cast<void>(frames->socket().Receive(rest.data(), static_cast<int64_t>(rest.size())));
  }

  channel::Fd segment_;
  std::span<uint8_t> place_;
  channel::Fd tcp_;
  channel::Fd local_;
  std::mutex mutex_;
  std::vector<ScriptedFrame> script_;
  bool fresh_ = false;
};

// Lives as long as the process.
struct Peer {
  Player player;
  std::unique_ptr<Offering> server;
  std::shared_ptr<client::Connection> connection;

  static Peer& Get() {
    static Peer* const peer = [] {
      auto made = std::make_unique<Peer>();
      made->server = std::make_unique<Offering>(made->player.offer);
      const flight::FlightServerOptions options(*flight::Location::ForGrpcTcp("127.0.0.1", 0));
      if (!made->server->Init(options).ok()) std::abort();
      ClientOptions client;
      client.uri = "grpc://127.0.0.1:" + std::to_string(made->server->port());
      client.timeout_s = 60;
      made->connection = *client::Connection::Open(client);
      return made.release();
    }();
    return *peer;
  }
};

// By mapped memory with bodies large enough for the ring.
constexpr int64_t RowsOfPut(bool mapped) { return mapped ? 3000 : 20; }

void Put(const std::shared_ptr<client::ChannelPool>& pool, bool mapped) {
  static const auto small = PutBatch(0, RowsOfPut(false));
  static const auto large = PutBatch(0, RowsOfPut(true));
  const auto& batch = mapped ? large : small;
  auto put = client::OpenChannelPut(pool, {"put", "job", 0, 1}, batch->schema());
  if (!put.ok() || !(*put)->Write(*batch).ok() || !(*put)->Write(*batch).ok()) return;
  if ((*put)->Finish().ok()) ++puts_finished;
}

void Get(const std::shared_ptr<client::ChannelPool>& pool, bool mapped) {
  static const auto buffers = std::make_shared<client::BufferPool>(1 << 20);
  proto::GetTicket ticket;
  ticket.feed = "f";
  ticket.ranges.push_back({.partition = 0, .row_begin = 0, .row_end = 40});
  const auto get = *client::OpenChannelGet(pool, buffers, ticket);
  int64_t rows = 0;
  std::vector<std::shared_ptr<arrow::RecordBatch>> kept;
  while (true) {
    auto batch = get->Next();
    if (!batch.ok()) return;
    if (*batch == nullptr) break;
    // What is mapped may be written over by the next frame of a mutated script.
    if (!mapped) static_cast<void>((*batch)->ValidateFull());
    rows += (*batch)->num_rows();
    kept.push_back(*std::move(batch));
  }
  if (rows != 40) {
    std::fprintf(stderr, "channel_answers_fuzz: a get of 40 rows ended well with %ld\n", rows);
    std::abort();
  }
  ++gets_finished;
}

}  // namespace
}  // namespace flightbridge::fuzz

extern "C" int FB_FUZZ_ENTRY(const uint8_t* data, size_t size) {
  using namespace flightbridge;        // NOLINT(google-build-using-namespace)
  using namespace flightbridge::fuzz;  // NOLINT(google-build-using-namespace)
  if (size == 0) return 0;
  Peer& peer = Peer::Get();
  peer.player.Play(DecodeScript({reinterpret_cast<const char*>(data) + 1, size - 1}));
  const auto pool = std::make_shared<client::ChannelPool>(
      peer.connection, (data[0] & kByTcp) != 0 ? "channel" : "mapped");
  if ((data[0] & kGetting) != 0) {
    Get(pool, (data[0] & kByTcp) == 0);
  } else {
    Put(pool, (data[0] & kByTcp) == 0);
  }
  return 0;
}
