// What stands before servers that are not ours follows the rules of those that are.
#include <sys/stat.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <string>

#include <gtest/gtest.h>

#include "flightbridge/error.h"
#include "flightbridge/gate.h"

namespace flightbridge {
namespace {

Code CodeOfOpening(const GateOptions& options) { return CodeOf(Gate::Open(options).status()); }

TEST(Gate, ClosedByDefaultBeyondLoopback) {
  EXPECT_TRUE(Gate::Open({.host = "127.0.0.1"}).ok());
  EXPECT_EQ(CodeOfOpening({.host = "0.0.0.0"}), Code::kPermissionDenied);
  EXPECT_EQ(CodeOfOpening({.host = "0.0.0.0", .tls = true}), Code::kPermissionDenied);
  EXPECT_TRUE(Gate::Open({.host = "0.0.0.0", .insecure = true}).ok());
  EXPECT_EQ(CodeOfOpening({.host = "no.such.host.invalid"}), Code::kInvalidArgument);
}

TEST(Gate, WithoutTokensEverybodyMayComeIn) {
  const auto gate = *Gate::Open({.host = "127.0.0.1"});
  EXPECT_TRUE(gate->Admit("", "model").ok());
}

TEST(Gate, TokensNeedTheScopeRead) {
  char path[] = "/tmp/fb-gate-XXXXXX";
  const int fd = ::mkstemp(path);
  ASSERT_GE(fd, 0);
  ::close(fd);
  std::ofstream(path) << "0123456789abcdef read:mod*\nfedcba9876543210 write:*,admin:*\n";
  ASSERT_EQ(::chmod(path, 0600), 0);
  const auto gate = *Gate::Open({.host = "127.0.0.1", .token_file = path});
  std::remove(path);
  EXPECT_TRUE(gate->Admit("Bearer 0123456789abcdef", "model").ok());
  EXPECT_EQ(CodeOf(gate->Admit("Bearer 0123456789abcdef", "other")), Code::kPermissionDenied);
  EXPECT_EQ(CodeOf(gate->Admit("Bearer fedcba9876543210", "model")), Code::kPermissionDenied);
  EXPECT_EQ(CodeOf(gate->Admit("Bearer 0123456789abcdeX", "model")), Code::kUnauthenticated);
  EXPECT_EQ(CodeOf(gate->Admit("", "model")), Code::kUnauthenticated);
}

TEST(Gate, ATokenFileThatCannotBeReadIsRefused) {
  EXPECT_EQ(CodeOfOpening({.host = "127.0.0.1", .token_file = "/no/such/file"}),
            Code::kInvalidArgument);
}

}  // namespace
}  // namespace flightbridge
