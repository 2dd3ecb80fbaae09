// Flight actions of FlightBridge: one message in, at most one out.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include <arrow/result.h>

#include "client/connection.h"
#include "flightbridge/error.h"
#include "flightbridge/proto/commands.h"

namespace flightbridge::client {

// Runs action flightbridge.v1.`name` to its end. `doing` ("committing feed 'x'") is for errors.
arrow::Result<std::optional<std::string>> RunAction(Connection* connection, std::string_view name,
                                                    std::string body, const std::string& doing);

template <typename M>
arrow::Result<M> ParseAnswer(const Connection& connection, std::string_view bytes,
                             std::string_view doing) {
  if (auto message = proto::Parse<M>(bytes)) return *std::move(message);
  return Error(Code::kInternal, doing, ": the answer of ", connection.uri(),
               " cannot be parsed: is it a FlightBridge server of this version?");
}

template <typename M>
arrow::Result<M> Act(Connection* connection, std::string_view name, std::string body,
                     const std::string& doing) {
  ARROW_ASSIGN_OR_RAISE(const auto answer, RunAction(connection, name, std::move(body), doing));
  return ParseAnswer<M>(*connection, answer.value_or(""), doing);
}

}  // namespace flightbridge::client
