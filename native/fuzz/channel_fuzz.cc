// What clients send over data channels, through the server's own session code: greetings, puts with
// their bodies inline and in a ring, gets, mapped gets, releases, connections lost in between.
//
// The first byte says how the connection is made, the rest is a script (channel_script.h). Whatever
// was staged in the end is committed and read: it must be valid Arrow data, and as many rows as
// were acknowledged.
#include <sys/mman.h>
#include <sys/socket.h>

#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <thread>

#include "channel/ring.h"
#include "channel_script.h"
#include "common/thread.h"
#include "server/channel_session_internal.h"
#include "store.h"

#ifndef FB_FUZZ_ENTRY
#define FB_FUZZ_ENTRY LLVMFuzzerTestOneInput
#endif

namespace flightbridge::fuzz {
namespace {

enum Connect : uint8_t { kOverTcp = 1, kUngreeted = 2 };
constexpr int64_t kRingBytes = 64 << 10;
const proto::PutCommand kPutCommand{"put", "job", 0, 1};

int64_t puts_committed = 0;  // a target that is refused everything finds nothing

void Require(bool holds, const char* what) {
  if (holds) return;
  std::fprintf(stderr, "channel_fuzz: %s\n", what);
  std::abort();
}

// One connection, the server's end of it on a thread of its own.
class Session {
 public:
  Session(server::ChannelContext* context, uint8_t connect) {
    int ends[2];
    Require(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) == 0, "no socket");
    client_ = std::make_unique<channel::Socket>(channel::Fd(ends[0]), kStuck);
    server_ = StartThread([context, connect, fd = ends[1]] {
      channel::Frames frames(channel::Fd(fd), kStuck);
      const bool tcp = (connect & kOverTcp) != 0;
      const server::ChannelPeer peer{!tcp, tcp, server::Caller::Trusted()};
      server::ServeChannel(context, peer, &frames);
      frames.socket().Break();
    });
    if ((connect & kUngreeted) != 0) return;
    const proto::ChannelHello hello{channel::kVersion,
                                    context->keys.Issue(server::Caller::Trusted())};
    Send(Frame(channel::Kind::kHello, hello.Encode()), nullptr);
  }
  ~Session() {
    client_->EndSending();
    client_->Drain(kStuck);
    server_.join();
  }
  Session(const Session&) = delete;
  Session& operator=(const Session&) = delete;

  // Without effect once the server has hung up.
  void Send(const ScriptedFrame& frame, channel::Ring* ring) {
    const std::function<arrow::Status()> read = [this] { return ReadSome(); };
    const std::span<uint8_t> place(ring == nullptr ? nullptr : ring->data(),
                                   ring == nullptr ? 0 : kRingBytes);
    static_cast<void>(
        SendScripted(frame, ring == nullptr ? -1 : ring->fd(), place, client_.get(), read));
  }

 private:
  arrow::Status ReadSome() {
    char bytes[4096];
    return recv(client_->fd(), bytes, sizeof(bytes), MSG_DONTWAIT) == 0
               ? arrow::Status::IOError("the server hung up")
               : arrow::Status::OK();
  }

  std::unique_ptr<channel::Socket> client_;
  std::thread server_;
};

// What became of the put.
void Judge(server::ServiceState* state) {
  feed::FeedStore* const store = state->store.get();
  const auto staged = store->FindStaged(kPutCommand);
  if (!staged) {
    static_cast<void>(store->AbortWrite({"put", "job"}));
    return;
  }
  const auto done =
      store->CommitWrite({"put", "job", {{0, 1, staged->rows, staged->batches, staged->crc32c}}});
  Require(done.ok(), "what is staged cannot be committed");
  const auto snapshot = store->Find("put");
  Require(snapshot.ok(), "what is committed is not there");
  int64_t rows = 0;
  for (const auto& partition : (*snapshot)->partitions) {
    for (size_t i = 0; i < partition->messages.size(); ++i) {
      if (partition->messages[i].is_dictionary) continue;
      const auto batch = partition->Decode(i);
      Require(batch.ok() && (*batch)->ValidateFull().ok(), "a committed batch is not valid");
      rows += (*batch)->num_rows();
    }
  }
  Require(rows == staged->rows, "other rows are there than were acknowledged");
  ++puts_committed;
  state->store = *OpenStore();  // this one remembers that the job is committed
}

}  // namespace
}  // namespace flightbridge::fuzz

extern "C" int FB_FUZZ_ENTRY(const uint8_t* data, size_t size) {
  using namespace flightbridge;        // NOLINT(google-build-using-namespace)
  using namespace flightbridge::fuzz;  // NOLINT(google-build-using-namespace)
  if (size == 0) return 0;
  static const std::unique_ptr<channel::Ring> ring = *channel::Ring::Create(kRingBytes);
  const auto state = State();
  const auto schema = PutBatch(0)->schema();
  Require(state->store
              ->BeginWrite(
                  {"put", "job", proto::WriteMode::kOverwrite, *feed::EncodeSchema(*schema), {}})
              .ok(),
          "no write job");
  {
    server::ChannelContext context;
    context.state = state;
    auto session = std::make_unique<Session>(&context, data[0]);
    for (const ScriptedFrame& frame :
         DecodeScript({reinterpret_cast<const char*>(data) + 1, size - 1})) {
      if ((frame.how & kInTurn) != 0) {
        session.reset();  // the server sees the end before the next connection comes
        session = std::make_unique<Session>(&context, data[0]);
      }
      session->Send(frame, ring.get());
    }
    session.reset();
    context.puts.Clear();
  }
  Judge(state.get());
  Require(state->streams == 0 && state->open_puts == 0 && state->open_gets == 0,
          "a stream is counted that has ended");
  Require(state->store->Find(kFeed).ok(), "the feed that was there is gone");
  return 0;
}
