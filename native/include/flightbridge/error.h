// The one error vocabulary of the core.
//
// Inside the core errors are arrow::Status with an ErrorDetail. They cross three borders, each in
// one place: to the wire (ToFlight), from the wire (FromFlight), and to the caller's language
// (bindings and c_api read CodeOf()). Flight itself can carry only some codes, so the code's name
// also leads the message on the wire: "[RESOURCE_EXHAUSTED] ...".
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <utility>

#include <arrow/result.h>
#include <arrow/status.h>
#include <arrow/util/string_util.h>

#include "flightbridge/export.h"

namespace flightbridge {

// Values are those of c_api.h's fb_code: gRPC's codes, then ours from 100.
enum class Code : int {
  kOk = 0,
  kCancelled = 1,
  kInternal = 13,
  kInvalidArgument = 3,
  kDeadlineExceeded = 4,
  kNotFound = 5,
  kAlreadyExists = 6,
  kPermissionDenied = 7,
  kResourceExhausted = 8,
  kFailedPrecondition = 9,
  kUnavailable = 14,
  kDataLoss = 15,
  kUnauthenticated = 16,
  kSchemaMismatch = 100,    // a FAILED_PRECONDITION to gRPC
  kUnsupportedType = 101,   // an INVALID_ARGUMENT to gRPC
  kPositionMismatch = 102,  // a FAILED_PRECONDITION to gRPC
};

FB_EXPORT std::string_view CodeName(Code code);

class FB_EXPORT ErrorDetail : public arrow::StatusDetail {
 public:
  explicit ErrorDetail(Code code) : code_(code) {}
  const char* type_id() const override;
  std::string ToString() const override;
  Code code() const { return code_; }

 private:
  Code code_;
};

// Makes an error. The message names the setting or object, the value, and the remedy.
FB_EXPORT arrow::Status MakeError(Code code, std::string message);

template <typename... Args>
arrow::Status Error(Code code, Args&&... parts) {
  return MakeError(code, arrow::internal::JoinToString(std::forward<Args>(parts)...));
}

// The code of any status; plain Arrow statuses map to the nearest one.
FB_EXPORT Code CodeOf(const arrow::Status& status);
// Same code, message prefixed with "context: ".
FB_EXPORT arrow::Status WithContext(const arrow::Status& status, std::string_view context);

FB_EXPORT arrow::Status ToFlight(const arrow::Status& status);
FB_EXPORT arrow::Status FromFlight(const arrow::Status& status);

}  // namespace flightbridge
