// Which pass over the data the next iterator of a dataset makes.
//
// Keras makes a new iterator for every training epoch, and so does Dataset.repeat(). A shuffled
// dataset must not hand all of them the same order, so each iterator starts where the one before
// it ended. TensorFlow copies dataset objects freely (graph rewrites do), hence the count lives in
// the process, under an id that the Python dataset drew, with the device that runs it.
#pragma once

#include <cstdint>
#include <mutex>
#include <string>
#include <unordered_map>

namespace flightbridge_tf {

// Thread-safe; does not block beyond its own lock.
class Iterations {
 public:
  static Iterations& Instance() {
    static auto* const instance = new Iterations;  // never destroyed: iterators may outlive exit
    return *instance;
  }

  // The pass of an iterator of `dataset` that starts reading now; the first one's is `first`.
  int64_t Take(const std::string& dataset, int64_t first) {
    std::lock_guard<std::mutex> lock(mu_);
    return next_.try_emplace(dataset, first).first->second++;
  }

  int64_t Peek(const std::string& dataset, int64_t first) const {
    std::lock_guard<std::mutex> lock(mu_);
    const auto found = next_.find(dataset);
    return found == next_.end() ? first : found->second;
  }

  // After a restore: later iterators go on as they would have in the saved run.
  void Set(const std::string& dataset, int64_t next) {
    std::lock_guard<std::mutex> lock(mu_);
    next_[dataset] = next;
  }

 private:
  mutable std::mutex mu_;
  std::unordered_map<std::string, int64_t> next_;
};

}  // namespace flightbridge_tf
