#include "flightbridge/error.h"

#include <array>

#include <arrow/flight/types.h>

namespace flightbridge {
namespace {

using arrow::flight::FlightStatusCode;
using arrow::flight::FlightStatusDetail;
using arrow::flight::MakeFlightError;

struct Entry {
  Code code;
  std::string_view name;
  arrow::StatusCode arrow_code;
};

constexpr std::array kCodes = {
    Entry{Code::kOk, "OK", arrow::StatusCode::OK},
    Entry{Code::kCancelled, "CANCELLED", arrow::StatusCode::Cancelled},
    Entry{Code::kInvalidArgument, "INVALID_ARGUMENT", arrow::StatusCode::Invalid},
    Entry{Code::kDeadlineExceeded, "DEADLINE_EXCEEDED", arrow::StatusCode::IOError},
    Entry{Code::kNotFound, "NOT_FOUND", arrow::StatusCode::KeyError},
    Entry{Code::kAlreadyExists, "ALREADY_EXISTS", arrow::StatusCode::AlreadyExists},
    Entry{Code::kPermissionDenied, "PERMISSION_DENIED", arrow::StatusCode::IOError},
    Entry{Code::kResourceExhausted, "RESOURCE_EXHAUSTED", arrow::StatusCode::OutOfMemory},
    Entry{Code::kFailedPrecondition, "FAILED_PRECONDITION", arrow::StatusCode::Invalid},
    Entry{Code::kInternal, "INTERNAL", arrow::StatusCode::UnknownError},
    Entry{Code::kUnavailable, "UNAVAILABLE", arrow::StatusCode::IOError},
    Entry{Code::kDataLoss, "DATA_LOSS", arrow::StatusCode::IOError},
    Entry{Code::kUnauthenticated, "UNAUTHENTICATED", arrow::StatusCode::IOError},
    Entry{Code::kSchemaMismatch, "SCHEMA_MISMATCH", arrow::StatusCode::Invalid},
    Entry{Code::kUnsupportedType, "UNSUPPORTED_TYPE", arrow::StatusCode::TypeError},
    Entry{Code::kPositionMismatch, "POSITION_MISMATCH", arrow::StatusCode::Invalid},
};

const Entry& Lookup(Code code) {
  for (const Entry& entry : kCodes) {
    if (entry.code == code) return entry;
  }
  return Lookup(Code::kInternal);
}

constexpr const char* kTypeId = "flightbridge::ErrorDetail";

const ErrorDetail* DetailOf(const arrow::Status& status) {
  const auto& detail = status.detail();
  if (detail == nullptr || std::string_view(detail->type_id()) != kTypeId) return nullptr;
  return static_cast<const ErrorDetail*>(detail.get());
}

Code FromFlightCode(FlightStatusCode code) {
  switch (code) {
    case FlightStatusCode::TimedOut: return Code::kDeadlineExceeded;
    case FlightStatusCode::Cancelled: return Code::kCancelled;
    case FlightStatusCode::Unauthenticated: return Code::kUnauthenticated;
    case FlightStatusCode::Unauthorized: return Code::kPermissionDenied;
    case FlightStatusCode::Unavailable: return Code::kUnavailable;
    default: return Code::kInternal;
  }
}

// The code name that leads a message from the wire, if one does; strips it from `message`.
std::optional<Code> TakeCodeName(std::string* message) {
  // gRPC and Flight put their own words before a server's message.
  for (const Entry& entry : kCodes) {
    const std::string tag = "[" + std::string(entry.name) + "] ";
    if (const auto at = message->find(tag); at != std::string::npos) {
      message->erase(0, at + tag.size());
      // ... and behind it.
      if (const auto tail = message->find(". gRPC client debug context"); tail != std::string::npos)
        message->resize(tail);
      return entry.code;
    }
  }
  return std::nullopt;
}

}  // namespace

std::string_view CodeName(Code code) { return Lookup(code).name; }

const char* ErrorDetail::type_id() const { return kTypeId; }
std::string ErrorDetail::ToString() const { return std::string(CodeName(code_)); }

arrow::Status MakeError(Code code, std::string message) {
  return {Lookup(code).arrow_code, std::move(message), std::make_shared<ErrorDetail>(code)};
}

Code CodeOf(const arrow::Status& status) {
  if (status.ok()) return Code::kOk;
  if (const ErrorDetail* detail = DetailOf(status)) return detail->code();
  if (auto flight = FlightStatusDetail::UnwrapStatus(status)) return FromFlightCode(flight->code());
  switch (status.code()) {
    case arrow::StatusCode::Invalid:
    case arrow::StatusCode::SerializationError:
    case arrow::StatusCode::IndexError: return Code::kInvalidArgument;
    case arrow::StatusCode::KeyError: return Code::kNotFound;
    case arrow::StatusCode::AlreadyExists: return Code::kAlreadyExists;
    case arrow::StatusCode::Cancelled: return Code::kCancelled;
    case arrow::StatusCode::OutOfMemory:
    case arrow::StatusCode::CapacityError: return Code::kResourceExhausted;
    case arrow::StatusCode::TypeError:
    case arrow::StatusCode::NotImplemented: return Code::kUnsupportedType;
    default: return Code::kInternal;
  }
}

arrow::Status WithContext(const arrow::Status& status, std::string_view context) {
  if (status.ok()) return status;
  return MakeError(CodeOf(status), std::string(context) + ": " + status.message());
}

arrow::Status ToFlight(const arrow::Status& status) {
  if (status.ok()) return status;
  const Code code = CodeOf(status);
  std::string message = "[" + std::string(CodeName(code)) + "] " + status.message();
  switch (code) {
    case Code::kCancelled: return MakeFlightError(FlightStatusCode::Cancelled, std::move(message));
    case Code::kDeadlineExceeded:
      return MakeFlightError(FlightStatusCode::TimedOut, std::move(message));
    case Code::kPermissionDenied:
      return MakeFlightError(FlightStatusCode::Unauthorized, std::move(message));
    case Code::kUnauthenticated:
      return MakeFlightError(FlightStatusCode::Unauthenticated, std::move(message));
    case Code::kUnavailable:
    case Code::kResourceExhausted:  // the nearest that Flight can say
      return MakeFlightError(FlightStatusCode::Unavailable, std::move(message));
    case Code::kNotFound: return arrow::Status::KeyError(std::move(message));
    case Code::kAlreadyExists: return arrow::Status::AlreadyExists(std::move(message));
    case Code::kInternal:
    case Code::kDataLoss: return MakeFlightError(FlightStatusCode::Internal, std::move(message));
    default: return arrow::Status::Invalid(std::move(message));
  }
}

arrow::Status FromFlight(const arrow::Status& status) {
  if (status.ok() || DetailOf(status) != nullptr) return status;
  std::string message = status.message();
  if (auto code = TakeCodeName(&message)) return MakeError(*code, std::move(message));
  return MakeError(CodeOf(status), std::move(message));
}

}  // namespace flightbridge
