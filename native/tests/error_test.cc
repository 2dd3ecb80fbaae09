#include "flightbridge/error.h"

#include <gtest/gtest.h>

namespace flightbridge {
namespace {

TEST(Error, CodeSurvivesTheWire) {
  for (const Code code : {Code::kCancelled, Code::kInvalidArgument, Code::kNotFound,
                          Code::kAlreadyExists, Code::kResourceExhausted, Code::kSchemaMismatch,
                          Code::kUnsupportedType, Code::kDataLoss, Code::kUnavailable}) {
    const arrow::Status sent = Error(code, "feed '", "x", "' has ", 3, " rows");
    const arrow::Status received = FromFlight(ToFlight(sent));
    EXPECT_EQ(CodeOf(received), code);
    EXPECT_EQ(received.message(), "feed 'x' has 3 rows");
  }
}

TEST(Error, ForeignStatusKeepsItsMeaning) {
  EXPECT_EQ(CodeOf(FromFlight(arrow::Status::KeyError("nope"))), Code::kNotFound);
  EXPECT_EQ(CodeOf(arrow::Status::OK()), Code::kOk);
}

TEST(Error, ContextKeepsTheCode) {
  const arrow::Status status = WithContext(Error(Code::kDataLoss, "bad"), "partition 3");
  EXPECT_EQ(CodeOf(status), Code::kDataLoss);
  EXPECT_EQ(status.message(), "partition 3: bad");
}

}  // namespace
}  // namespace flightbridge
