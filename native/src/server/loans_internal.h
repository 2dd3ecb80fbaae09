// Messages that a client on this machine reads where they lie: what keeps their segments from being
// used again meanwhile.
#pragma once

#include <cstdint>
#include <memory>
#include <unordered_map>
#include <unordered_set>

#include <arrow/buffer.h>

namespace flightbridge::server {

// Of one connection, and used by its thread only. Ends with it: a peer on this machine that has
// closed its end has let go of everything, or is gone.
class Loans {
 public:
  uint64_t Lend(std::shared_ptr<arrow::Buffer> body) {
    lent_.emplace(next_, std::move(body));
    return next_++;
  }
  void Release(uint64_t loan) { lent_.erase(loan); }
  bool empty() const { return lent_.empty(); }
  // True the first time: the client has no descriptor of that chunk yet.
  bool Introduce(uint64_t chunk) { return introduced_.insert(chunk).second; }

 private:
  uint64_t next_ = 1;
  std::unordered_map<uint64_t, std::shared_ptr<arrow::Buffer>> lent_;
  std::unordered_set<uint64_t> introduced_;
};

}  // namespace flightbridge::server
