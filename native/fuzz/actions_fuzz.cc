// What a client puts into the fields that Flight leaves open: action bodies, tickets, descriptors.
//
// The first byte picks the call, the rest is its body. Everything goes to the server's own handlers
// over a store with one feed, as a caller who may do everything.
#include <array>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <string>
#include <string_view>

#include <arrow/buffer.h>

#include "flightbridge/proto/commands.h"
#include "server/actions_internal.h"
#include "server/confirm_internal.h"
#include "server/get_stream_internal.h"
#include "store.h"

#ifndef FB_FUZZ_ENTRY
#define FB_FUZZ_ENTRY LLVMFuzzerTestOneInput
#endif

namespace flightbridge::fuzz {
namespace {

constexpr std::array<const char*, 6> kActions = {"BeginWrite", "CommitWrite",  "AbortWrite",
                                                 "DropFeed",   "DescribeFeed", "ServerStatus"};
constexpr size_t kTicket = kActions.size();
constexpr size_t kDescriptor = kTicket + 1;
constexpr size_t kPosition = kDescriptor + 1;
constexpr size_t kCalls = kPosition + 1;
constexpr int kMostPayloads = 64;

int64_t positions_served = 0;
int64_t payloads_served = 0;  // a target that is refused everything finds nothing

void Get(std::string_view ticket) {
  auto stream = server::OpenGetStream(State(), server::Caller::Trusted(), ticket);
  if (!stream.ok() || !(*stream)->GetSchemaPayload().ok()) return;
  for (int i = 0; i < kMostPayloads; ++i) {
    auto payload = (*stream)->Next();
    if (!payload.ok() || payload->ipc_message.metadata == nullptr) return;
    ++payloads_served;
  }
}

// As if the feed were written with retention=once, so that there is something to work out.
void Confirm(std::string_view bytes) {
  const auto position = proto::Parse<proto::Position>(bytes);
  if (!position.has_value()) return;
  feed::Snapshot once = *State()->store->Find(kFeed).ValueOrDie();
  once.retention.epochs = 1;
  const auto rows = server::ConfirmedRows(*position, once);
  if (!rows.ok()) return;
  ++positions_served;
  for (const auto& range : *rows) {
    if (range.row_begin < 0 || range.row_end > once.rows) std::abort();
  }
}

void Describe(std::string_view bytes) {
  static_cast<void>(proto::Parse<proto::PutCommand>(bytes));
  static_cast<void>(proto::Parse<proto::PutMetadata>(bytes));
  static_cast<void>(proto::Parse<proto::ReaderSpec>(bytes));
  static_cast<void>(proto::Parse<proto::Position>(bytes));
  const auto path = arrow::flight::FlightDescriptor::Path({std::string(bytes)});
  static_cast<void>(server::FeedOf(path));
}

}  // namespace
}  // namespace flightbridge::fuzz

extern "C" int FB_FUZZ_ENTRY(const uint8_t* data, size_t size) {
  using namespace flightbridge::fuzz;  // NOLINT(google-build-using-namespace)
  if (size == 0) return 0;
  const size_t call = data[0] % kCalls;
  const std::string_view body(reinterpret_cast<const char*>(data) + 1, size - 1);
  if (call == kTicket) {
    Get(body);
  } else if (call == kDescriptor) {
    Describe(body);
  } else if (call == kPosition) {
    Confirm(body);
  } else {
    const arrow::flight::Action action{std::string("flightbridge.v1.") + kActions[call],
                                       arrow::Buffer::FromString(std::string(body))};
    static_cast<void>(flightbridge::server::RunAction(
        State().get(), flightbridge::server::Caller::Trusted(), action));
  }
  return 0;
}
