package io.flightbridge;

/** What kind of error it is; the names that begin every message of the protocol. */
public enum Code {
  CANCELLED,
  INVALID_ARGUMENT,
  DEADLINE_EXCEEDED,
  NOT_FOUND,
  ALREADY_EXISTS,
  PERMISSION_DENIED,
  RESOURCE_EXHAUSTED,
  FAILED_PRECONDITION,
  INTERNAL,
  UNAVAILABLE,
  DATA_LOSS,
  UNAUTHENTICATED,
  SCHEMA_MISMATCH,
  UNSUPPORTED_TYPE,
  POSITION_MISMATCH;

  static Code named(String name) {
    for (Code code : values()) {
      if (code.name().equals(name)) {
        return code;
      }
    }
    return INTERNAL;
  }
}
