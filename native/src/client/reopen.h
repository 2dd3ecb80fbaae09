// How a stream goes on after its channel was lost.
#pragma once

#include <algorithm>
#include <chrono>
#include <thread>

#include <arrow/status.h>

#include "flightbridge/error.h"

namespace flightbridge::client {

// Calls `reopen` until it works, the server says no, or `timeout` is over. The server's own word is
// final; one that cannot be reached, which `lost` tells, may come back.
template <typename Reopen, typename Lost>
arrow::Status ReopenUntil(std::chrono::milliseconds timeout, const Reopen& reopen,
                          const Lost& lost) {
  using Clock = std::chrono::steady_clock;
  constexpr std::chrono::milliseconds kFirstPause{50}, kLastPause{1000};
  const auto deadline = Clock::now() + timeout;
  for (auto pause = kFirstPause;; pause = std::min(pause * 2, kLastPause)) {
    const arrow::Status status = reopen();
    const Code code = CodeOf(status);
    const bool unreachable = code == Code::kUnavailable || code == Code::kDeadlineExceeded;
    if (status.ok() || !lost() || !unreachable) return status;
    if (Clock::now() + pause >= deadline) return status;
    std::this_thread::sleep_for(pause);
  }
}

}  // namespace flightbridge::client
