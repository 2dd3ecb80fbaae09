// Threads of the core's own. They take no signals: SIGTERM, SIGINT and the like are for the program
// that uses this library, whose handlers (Python's, for one) wait on the main thread.
#pragma once

#include <signal.h>

#include <thread>
#include <utility>

namespace flightbridge {

// While it lives, threads that this one starts begin with all signals blocked; those that a fault
// of the thread itself raises stay its own, as does a profiler's clock.
class SignalsBlocked {
 public:
  SignalsBlocked();
  ~SignalsBlocked();
  SignalsBlocked(const SignalsBlocked&) = delete;
  SignalsBlocked& operator=(const SignalsBlocked&) = delete;

 private:
  sigset_t before_;
};

// As std::thread's constructor.
template <typename... Args>
std::thread StartThread(Args&&... args) {
  const SignalsBlocked blocked;
  return std::thread(std::forward<Args>(args)...);
}

}  // namespace flightbridge
