#include "server/flight_service_internal.h"

#include <utility>

#include <arrow/ipc/dictionary.h>

#include "flightbridge/error.h"
#include "server/actions_internal.h"
#include "server/get_stream_internal.h"
#include "server/put_handler_internal.h"
#include "server/reply_internal.h"

namespace flightbridge::server {

using arrow::Status;
using namespace arrow::flight;  // NOLINT(google-build-using-namespace): every name here is Flight's

Status FlightService::ListFlights(const ServerCallContext& context, const Criteria* criteria,
                                  std::unique_ptr<FlightListing>* listings) {
  auto caller = CallerOf(context);
  if (!caller.ok()) return Reply(caller.status());
  const std::string prefix = criteria == nullptr ? "" : criteria->expression;
  std::vector<FlightInfo> flights;
  for (const proto::FeedInfo& info : state_->FeedsFor(*caller)) {
    if (info.state != proto::FeedState::kCommitted || !info.feed.starts_with(prefix)) continue;
    auto snapshot = state_->store->Find(info.feed);
    if (!snapshot.ok()) continue;  // dropped since List()
    if ((*snapshot)->span != nullptr && !(*snapshot)->span->is_home())
      continue;  // its home lists it
    auto flight = DescribeFlight(**snapshot);
    if (!flight.ok()) return Reply(flight.status());
    flights.push_back(*std::move(flight));
  }
  *listings = std::make_unique<SimpleFlightListing>(std::move(flights));
  return Status::OK();
}

Status FlightService::GetFlightInfo(const ServerCallContext& context,
                                    const FlightDescriptor& request,
                                    std::unique_ptr<FlightInfo>* info) {
  auto describe = [&]() -> arrow::Result<FlightInfo> {
    ARROW_ASSIGN_OR_RAISE(const std::string feed, FeedOf(request));
    const bool relayed = context.incoming_headers().contains(kRelayedHeader);
    ARROW_RETURN_NOT_OK(Authorize(context, relayed ? Scope::kPeer : Scope::kRead, feed));
    const std::string home = state_->store->HomeElsewhere(feed);
    if (!home.empty() && !relayed) return state_->peers->Describe(home, feed);
    ARROW_ASSIGN_OR_RAISE(const auto snapshot, state_->store->Find(feed));
    return DescribeFlight(*snapshot);
  };
  auto described = describe();
  if (!described.ok()) return Reply(described.status());
  *info = std::make_unique<FlightInfo>(*std::move(described));
  return Status::OK();
}

Status FlightService::PollFlightInfo(const ServerCallContext& context,
                                     const FlightDescriptor& request,
                                     std::unique_ptr<PollInfo>* info) {
  // A committed feed is complete at once, so polling ends with the first answer.
  std::unique_ptr<FlightInfo> flight;
  ARROW_RETURN_NOT_OK(GetFlightInfo(context, request, &flight));
  *info = std::make_unique<PollInfo>(std::move(flight), std::nullopt, 1.0, std::nullopt);
  return Status::OK();
}

Status FlightService::GetSchema(const ServerCallContext& context, const FlightDescriptor& request,
                                std::unique_ptr<SchemaResult>* schema) {
  auto find = [&]() -> arrow::Result<std::unique_ptr<SchemaResult>> {
    ARROW_ASSIGN_OR_RAISE(const std::string feed, FeedOf(request));
    const bool relayed = context.incoming_headers().contains(kRelayedHeader);
    ARROW_RETURN_NOT_OK(Authorize(context, relayed ? Scope::kPeer : Scope::kRead, feed));
    const std::string home = state_->store->HomeElsewhere(feed);
    if (!home.empty() && !relayed) {
      ARROW_ASSIGN_OR_RAISE(const FlightInfo info, state_->peers->Describe(home, feed));
      arrow::ipc::DictionaryMemo memo;
      ARROW_ASSIGN_OR_RAISE(const auto schema, info.GetSchema(&memo));
      return SchemaResult::Make(*schema);
    }
    ARROW_ASSIGN_OR_RAISE(const auto snapshot, state_->store->Find(feed));
    return SchemaResult::Make(*snapshot->schema);
  };
  auto found = find();
  if (!found.ok()) return Reply(found.status());
  *schema = *std::move(found);
  return Status::OK();
}

Status FlightService::DoGet(const ServerCallContext& context, const Ticket& request,
                            std::unique_ptr<FlightDataStream>* stream) {
  auto caller = CallerOf(context);
  if (!caller.ok()) return Reply(caller.status());
  auto opened = OpenGetStream(state_, *caller, request.ticket);
  if (!opened.ok()) return Reply(opened.status());
  *stream = *std::move(opened);
  return Status::OK();
}

Status FlightService::DoPut(const ServerCallContext& context,
                            std::unique_ptr<FlightMessageReader> reader,
                            std::unique_ptr<FlightMetadataWriter> writer) {
  return Reply(HandlePut(state_.get(), context, reader.get(), writer.get()));
}

Status FlightService::DoExchange(const ServerCallContext& context,
                                 std::unique_ptr<FlightMessageReader> reader,
                                 std::unique_ptr<FlightMessageWriter> writer) {
  return Reply(Error(Code::kInvalidArgument,
                     "DoExchange is not supported: write with DoPut, read with DoGet"));
}

Status FlightService::DoAction(const ServerCallContext& context, const Action& action,
                               std::unique_ptr<ResultStream>* result) {
  auto caller = CallerOf(context);
  if (!caller.ok()) return Reply(caller.status());
  auto answer = RunAction(state_.get(), *caller, action);
  if (!answer.ok()) return Reply(answer.status());
  std::vector<Result> results;
  if (answer->has_value()) results.emplace_back(arrow::Buffer::FromString(**std::move(answer)));
  *result = std::make_unique<SimpleResultStream>(std::move(results));
  return Status::OK();
}

Status FlightService::ListActions(const ServerCallContext& context,
                                  std::vector<ActionType>* actions) {
  *actions = KnownActions();
  return Status::OK();
}

}  // namespace flightbridge::server
