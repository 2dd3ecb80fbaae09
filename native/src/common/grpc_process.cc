#include "common/grpc_process.h"

#include <atomic>

#include <sys/types.h>
#include <unistd.h>

#include "flightbridge/error.h"

namespace flightbridge {

arrow::Status ClaimGrpc() {
  static std::atomic<pid_t> user = 0;
  const pid_t self = ::getpid();
  pid_t found = 0;
  if (user.compare_exchange_strong(found, self) || found == self) return arrow::Status::OK();
  return Error(Code::kFailedPrecondition, "process ", self, " was forked from process ", found,
               ", which had connected or served before the fork; gRPC cannot be used in such a "
               "child: fork first and connect after, or start the worker with "
               "multiprocessing.get_context('spawn')");
}

}  // namespace flightbridge
