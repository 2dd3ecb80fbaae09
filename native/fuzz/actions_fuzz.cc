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

constexpr std::array<const char*, 9> kActions = {"BeginWrite", "CommitWrite",     "AbortWrite",
                                                 "DropFeed",   "DescribeFeed",    "ServerStatus",
                                                 "EndFeed",    "RetentionStatus", "WaitFeed"};
constexpr size_t kWait = kActions.size() - 1;
constexpr size_t kTicket = kActions.size();
constexpr size_t kDescriptor = kTicket + 1;
constexpr size_t kPosition = kDescriptor + 1;
constexpr size_t kStatistics = kPosition + 1;
constexpr size_t kCalls = kStatistics + 1;
constexpr int kMostPayloads = 64;

// A target that is refused everything finds nothing.
std::array<int64_t, kActions.size()> actions_served{};
int64_t positions_served = 0;
int64_t payloads_served = 0;
int64_t statistics_served = 0;

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

// The generations of a feed are numbered without gaps, and their rows are those of the feed.
void CheckGenerations() {
  for (const auto& info : State()->store->List()) {
    int64_t rows = 0;
    for (size_t i = 0; i < info.generations.size(); ++i) {
      if (info.generations[i].generation != static_cast<int64_t>(i)) std::abort();
      rows += info.generations[i].rows;
    }
    if (!info.generations.empty() && rows != info.rows) std::abort();
  }
}

void Act(size_t call, std::string body) {
  if (call == kWait) {  // nobody else is there to end the wait
    auto wait = proto::Parse<proto::WaitFeed>(body);
    if (wait.has_value()) {
      wait->timeout_ms = 0;
      body = wait->Encode();
    }
  }
  const arrow::flight::Action action{std::string("flightbridge.v1.") + kActions[call],
                                     arrow::Buffer::FromString(std::move(body))};
  if (!server::RunAction(State().get(), server::Caller::Trusted(), action).ok()) return;
  ++actions_served[call];
  CheckGenerations();
}

void Statistics(std::string_view body) {
  const arrow::flight::Action action{"flightbridge.v1.FeedStatistics",
                                     arrow::Buffer::FromString(std::string(body))};
  const auto answer = server::RunAction(State().get(), server::Caller::Trusted(), action);
  if (!answer.ok()) return;
  const auto result = proto::Parse<proto::FeedStatisticsResult>(**answer);
  if (!result || result->more) std::abort();  // one batch is always read
  for (const auto& partition : result->partitions) {
    ++statistics_served;
    for (const auto& column : partition.columns) {
      if (column.nulls < 0 || column.nulls > partition.rows) std::abort();
    }
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
  } else if (call == kStatistics) {
    Statistics(body);
  } else {
    Act(call, std::string(body));
  }
  return 0;
}
