// fb_code to absl::Status: the one place where the core's errors become TensorFlow's.
#pragma once

#include <cstdint>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "flightbridge/c_api.h"

namespace flightbridge_tf {

// Codes up to 16 are gRPC's and absl's alike. Ours keep their name in front of the message, so
// that flightbridge.errors.from_wire finds the exact class again.
inline absl::Status ToStatus(int code, const fb_error& error) {
  switch (code) {
    case FB_OK: return absl::OkStatus();
    case FB_SCHEMA_MISMATCH:
      return absl::FailedPreconditionError(absl::StrCat("[SCHEMA_MISMATCH] ", error.message));
    case FB_UNSUPPORTED_TYPE:
      return absl::InvalidArgumentError(absl::StrCat("[UNSUPPORTED_TYPE] ", error.message));
    case FB_POSITION_MISMATCH:
      return absl::FailedPreconditionError(absl::StrCat("[POSITION_MISMATCH] ", error.message));
    default:
      if (code > 0 && code <= FB_UNAUTHENTICATED) {
        return absl::Status(static_cast<absl::StatusCode>(code), error.message);
      }
      return absl::InternalError(
          absl::StrCat("unknown code ", code, " from the FlightBridge core: ", error.message));
  }
}

}  // namespace flightbridge_tf
