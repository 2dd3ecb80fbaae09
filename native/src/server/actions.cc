#include "server/actions_internal.h"

#include <algorithm>
#include <array>
#include <chrono>
#include <string_view>
#include <utility>

#include <arrow/buffer.h>

#include "feed/span.h"
#include "flightbridge/error.h"
#include "server/confirm_internal.h"
#include "server/lease_actions_internal.h"
#include "server/statistics_internal.h"

namespace flightbridge::server {
namespace {

using Answer = arrow::Result<std::optional<std::string>>;

// Control messages are small; CommitWrite names one attempt per partition.
constexpr int64_t kMaxBodyBytes = 16 << 20;

template <typename M>
arrow::Result<M> ParseBody(std::string_view name, std::string_view body) {
  if (auto message = proto::Parse<M>(body)) return *std::move(message);
  return Error(Code::kInvalidArgument, "the body of action flightbridge.v1.", name, " (",
               body.size(), " bytes) is not an encoded flightbridge.v1.", name);
}

bool DecidedElsewhere(const ServiceState& state, const std::string& feed,
                      const std::string& job_id) {
  if (feed.empty()) return false;
  return std::ranges::any_of(state.store->JobsInDoubt(feed), [&](const feed::InDoubt& doubt) {
    return std::ranges::find(doubt.question.job_ids, job_id) != doubt.question.job_ids.end();
  });
}

Answer BeginWrite(ServiceState* state, const Caller& caller, std::string_view body) {
  ARROW_ASSIGN_OR_RAISE(const auto request, ParseBody<proto::BeginWrite>("BeginWrite", body));
  ARROW_RETURN_NOT_OK(Authorize(caller, Scope::kWrite, request.feed));
  ARROW_ASSIGN_OR_RAISE(const auto span, feed::SpanOf(request));
  if (span != nullptr) {
    const std::string home = span->is_home() ? "" : span->servers[span->home];
    ARROW_RETURN_NOT_OK(state->peers->CheckWrite(request.feed, span->servers, home));
  }
  ARROW_ASSIGN_OR_RAISE(const auto result, state->store->BeginWrite(request));
  return result.Encode();
}

Answer CommitWrite(ServiceState* state, const Caller& caller, std::string_view body) {
  ARROW_ASSIGN_OR_RAISE(const auto request, ParseBody<proto::CommitWrite>("CommitWrite", body));
  ARROW_RETURN_NOT_OK(Authorize(caller, Scope::kWrite, request.feed));
  // Where another server decides, this says: it has, find out.
  if (DecidedElsewhere(*state, request.feed, request.job_id)) {
    ARROW_RETURN_NOT_OK(state->peers->Resolve(request.feed));
  }
  ARROW_ASSIGN_OR_RAISE(const auto result, state->store->CommitWrite(request));
  return result.Encode();
}

Answer AbortWrite(ServiceState* state, const Caller& caller, std::string_view body) {
  ARROW_ASSIGN_OR_RAISE(const auto request, ParseBody<proto::AbortWrite>("AbortWrite", body));
  ARROW_RETURN_NOT_OK(Authorize(caller, Scope::kWrite, request.feed));
  if (DecidedElsewhere(*state, request.feed, request.job_id)) {
    ARROW_RETURN_NOT_OK(state->peers->Resolve(request.feed));
  }
  ARROW_RETURN_NOT_OK(state->store->AbortWrite(request));
  return std::nullopt;
}

Answer EndFeed(ServiceState* state, const Caller& caller, std::string_view body) {
  ARROW_ASSIGN_OR_RAISE(const auto request, ParseBody<proto::EndFeed>("EndFeed", body));
  ARROW_RETURN_NOT_OK(Authorize(caller, Scope::kWrite, request.feed));
  ARROW_ASSIGN_OR_RAISE(const auto info, state->store->EndFeed(request));
  return info.Encode();
}

Answer DropFeed(ServiceState* state, const Caller& caller, std::string_view body) {
  ARROW_ASSIGN_OR_RAISE(const auto request, ParseBody<proto::DropFeed>("DropFeed", body));
  ARROW_RETURN_NOT_OK(Authorize(caller, Scope::kAdmin, request.feed));
  if (const std::string home = state->store->HomeElsewhere(request.feed); !home.empty()) {
    const auto whole = state->peers->Describe(home, request.feed);
    if (whole.ok()) {
      return Error(Code::kFailedPrecondition, "feed '", request.feed,
                   "' spans several servers and is dropped at its home, ", home,
                   ", first: drop it with a client of all its servers");
    }
    if (CodeOf(whole.status()) != Code::kNotFound) return whole.status();
  }
  ARROW_RETURN_NOT_OK(state->store->DropFeed(request));
  return std::nullopt;
}

Answer DescribeFeed(ServiceState* state, const Caller& caller, std::string_view body) {
  ARROW_ASSIGN_OR_RAISE(const auto request, ParseBody<proto::DescribeFeed>("DescribeFeed", body));
  // A writer may see what became of what it wrote.
  if (!caller.May(Scope::kWrite, request.feed)) {
    ARROW_RETURN_NOT_OK(Authorize(caller, Scope::kRead, request.feed));
  }
  if (const std::string home = state->store->HomeElsewhere(request.feed); !home.empty()) {
    ARROW_ASSIGN_OR_RAISE(const auto whole, state->peers->Describe(home, request.feed));
    return whole.app_metadata();
  }
  ARROW_ASSIGN_OR_RAISE(const auto info,
                        state->store->Describe(request.feed, request.after_generation));
  return info.Encode();
}

Answer Acquire(ServiceState* state, const Caller& caller, std::string_view body) {
  ARROW_ASSIGN_OR_RAISE(const auto request, ParseBody<proto::AcquireSplits>("AcquireSplits", body));
  ARROW_RETURN_NOT_OK(Authorize(caller, Scope::kRead, request.feed));
  const auto snapshot = state->store->Find(request.feed);
  if (snapshot.ok()) ARROW_RETURN_NOT_OK(feed::CheckHome(**snapshot));
  ARROW_ASSIGN_OR_RAISE(const auto result, AcquireSplits(state, request));
  return result.Encode();
}

Answer Renew(ServiceState* state, const Caller& caller, std::string_view body) {
  ARROW_ASSIGN_OR_RAISE(const auto request, ParseBody<proto::RenewLease>("RenewLease", body));
  ARROW_RETURN_NOT_OK(Authorize(caller, Scope::kRead, request.feed));
  ARROW_RETURN_NOT_OK(RenewLease(state, request));
  return std::nullopt;
}

Answer Release(ServiceState* state, const Caller& caller, std::string_view body) {
  ARROW_ASSIGN_OR_RAISE(const auto request, ParseBody<proto::ReleaseSplits>("ReleaseSplits", body));
  ARROW_RETURN_NOT_OK(Authorize(caller, Scope::kRead, request.feed));
  ARROW_RETURN_NOT_OK(ReleaseSplits(state, request));
  return std::nullopt;
}

Answer CommitStatus(ServiceState* state, const Caller& caller, std::string_view body) {
  ARROW_ASSIGN_OR_RAISE(const auto request, ParseBody<proto::CommitStatus>("CommitStatus", body));
  ARROW_RETURN_NOT_OK(Authorize(caller, Scope::kPeer, request.feed));
  ARROW_ASSIGN_OR_RAISE(const auto answer, state->store->CommitStatus(request));
  return answer.Encode();
}

Answer RetentionStatus(ServiceState* state, const Caller& caller, std::string_view body) {
  ARROW_ASSIGN_OR_RAISE(const auto request,
                        ParseBody<proto::RetentionStatus>("RetentionStatus", body));
  ARROW_RETURN_NOT_OK(Authorize(caller, Scope::kPeer, request.feed));
  ARROW_ASSIGN_OR_RAISE(const auto answer, state->store->RetentionStatus(request));
  return answer.Encode();
}

Answer WaitFeed(ServiceState* state, const Caller& caller, std::string_view body) {
  constexpr int64_t kLongestMs = 30'000;
  ARROW_ASSIGN_OR_RAISE(const auto request, ParseBody<proto::WaitFeed>("WaitFeed", body));
  ARROW_RETURN_NOT_OK(Authorize(caller, Scope::kRead, request.feed));
  const std::chrono::milliseconds timeout(std::clamp<int64_t>(request.timeout_ms, 0, kLongestMs));
  ARROW_ASSIGN_OR_RAISE(const auto info,
                        state->store->WaitForChange(request.feed, request.generation, timeout,
                                                    request.after_generation));
  return info.Encode();
}

Answer ServerStatus(ServiceState* state, const Caller& caller, std::string_view body) {
  if (!body.empty()) {
    return Error(Code::kInvalidArgument,
                 "action flightbridge.v1.ServerStatus takes an empty body, got ", body.size(),
                 " bytes");
  }
  return state->StatusFor(caller).Encode();
}

Answer Statistics(ServiceState* state, const Caller& caller, std::string_view body) {
  ARROW_ASSIGN_OR_RAISE(const auto request,
                        ParseBody<proto::FeedStatistics>("FeedStatistics", body));
  ARROW_ASSIGN_OR_RAISE(const auto result, FeedStatistics(state, caller, request));
  return result.Encode();
}

Answer OpenChannel(ServiceState* state, const Caller& caller, std::string_view body) {
  ARROW_RETURN_NOT_OK(ParseBody<proto::OpenChannel>("OpenChannel", body).status());
  return state->OfferChannel(caller).Encode();
}

Answer Confirm(ServiceState* state, const Caller& caller, std::string_view body) {
  ARROW_ASSIGN_OR_RAISE(const auto request,
                        ParseBody<proto::ConfirmPosition>("ConfirmPosition", body));
  const proto::Position position = request.position.value_or(proto::Position{});
  ARROW_RETURN_NOT_OK(Authorize(caller, Scope::kRead, position.feed));
  ARROW_ASSIGN_OR_RAISE(const auto result, ConfirmPosition(state, position));
  return result.Encode();
}

struct Entry {
  std::string_view name;  // behind "flightbridge.v1."
  std::string_view description;
  Answer (*run)(ServiceState*, const Caller&, std::string_view);
};

constexpr std::string_view kPrefix = "flightbridge.v1.";
constexpr std::array kActions = {
    Entry{"BeginWrite", "BeginWrite -> BeginWriteResult: opens a write job on a feed", BeginWrite},
    Entry{"CommitWrite",
          "CommitWrite -> CommitWriteResult: makes staged attempts visible, all or none",
          CommitWrite},
    Entry{"AbortWrite", "AbortWrite: discards a write job", AbortWrite},
    Entry{"EndFeed", "EndFeed -> FeedInfo: no generation of a feed of mode stream follows",
          EndFeed},
    Entry{"DropFeed", "DropFeed: removes a feed", DropFeed},
    Entry{"CommitStatus",
          "CommitStatus -> CommitStatusResult: what a feed's home decided, for its other servers",
          CommitStatus},
    Entry{"RetentionStatus",
          "RetentionStatus -> RetentionStatusResult: what of a feed its other servers may free",
          RetentionStatus},
    Entry{"DescribeFeed", "DescribeFeed -> FeedInfo", DescribeFeed},
    Entry{"AcquireSplits", "AcquireSplits -> AcquireSplitsResult: leases splits to a reader",
          Acquire},
    Entry{"RenewLease", "RenewLease: keeps a reader's splits", Renew},
    Entry{"ReleaseSplits", "ReleaseSplits: completes splits or gives them back", Release},
    Entry{"ConfirmPosition",
          "ConfirmPosition -> ConfirmPositionResult: rows before it may be released", Confirm},
    Entry{"OpenChannel", "OpenChannel -> ChannelOffer: a key for one data channel", OpenChannel},
    Entry{"WaitFeed", "WaitFeed -> FeedInfo: waits for more of a feed that is being written",
          WaitFeed},
    Entry{"FeedStatistics",
          "FeedStatistics -> FeedStatisticsResult: nulls and bounds of columns, by partition",
          Statistics},
    Entry{"ServerStatus", "-> ServerStatus: what the server holds and does now", ServerStatus},
};

}  // namespace

Answer RunAction(ServiceState* state, const Caller& caller, const arrow::flight::Action& action) {
  const std::string_view body =
      action.body == nullptr ? std::string_view() : std::string_view(*action.body);
  for (const Entry& entry : kActions) {
    if (action.type != std::string(kPrefix).append(entry.name)) continue;
    if (action.body != nullptr && action.body->size() > kMaxBodyBytes) {
      return Error(Code::kInvalidArgument, "the body of action ", action.type, " has ",
                   action.body->size(), " bytes; at most ", kMaxBodyBytes, " are allowed");
    }
    return entry.run(state, caller, body);
  }
  std::string known;
  for (const Entry& entry : kActions) {
    known.append(known.empty() ? "" : ", ").append(kPrefix).append(entry.name);
  }
  // A name from outside: quoted at a length that fits into an error.
  return Error(Code::kInvalidArgument, "unknown action '", action.type.substr(0, 100),
               "'; this server knows ", known);
}

std::vector<arrow::flight::ActionType> KnownActions() {
  std::vector<arrow::flight::ActionType> types;
  for (const Entry& entry : kActions) {
    types.push_back({std::string(kPrefix).append(entry.name), std::string(entry.description)});
  }
  return types;
}

}  // namespace flightbridge::server
