#include "client/action.h"

#include <memory>
#include <utility>

#include <arrow/buffer.h>
#include <arrow/flight/types.h>

namespace flightbridge::client {

namespace flight = arrow::flight;

arrow::Result<std::optional<std::string>> RunAction(Connection* connection, std::string_view name,
                                                    std::string body, const std::string& doing) {
  ARROW_RETURN_NOT_OK(connection->owner().Check());
  const flight::Action action{"flightbridge.v1." + std::string(name),
                              arrow::Buffer::FromString(std::move(body))};
  std::unique_ptr<flight::ResultStream> results;
  ARROW_RETURN_NOT_OK(connection->Translate(
      connection->transport().DoAction(connection->UnaryOptions(), action, &results), doing));
  std::optional<std::string> answer;
  while (true) {  // to its end, since the status comes last
    auto next = results->Next();
    if (!next.ok()) return connection->Translate(next.status(), doing);
    if (*next == nullptr) return answer;
    if ((*next)->body != nullptr) answer = (*next)->body->ToString();
  }
}

}  // namespace flightbridge::client
