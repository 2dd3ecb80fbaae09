#include "server/reply_internal.h"

#include <algorithm>
#include <utility>

#include <arrow/util/utf8.h>

#include "flightbridge/error.h"

namespace flightbridge::server {

arrow::Status Reply(const arrow::Status& status) {
  if (status.ok()) return status;
  std::string message = status.message();
  std::ranges::replace_if(
      message, [](char c) { return (c >= 0 && c < ' ' && c != '\n') || c == 0x7f; }, '?');
  if (!arrow::util::ValidateUTF8(message)) {
    std::ranges::replace_if(message, [](char c) { return (c & 0x80) != 0; }, '?');
  }
  return ToFlight(MakeError(CodeOf(status), std::move(message)));
}

}  // namespace flightbridge::server
