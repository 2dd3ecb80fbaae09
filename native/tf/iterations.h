// Which pass over the data the next iterator of a dataset makes.
//
// Keras makes a new iterator for every training epoch, and so does Dataset.repeat(). A shuffled
// dataset must not hand all of them the same order, so each iterator starts where the one before
// it ended. TensorFlow copies dataset objects freely (graph rewrites do), hence the count lives in
// the process, under an id that the Python dataset drew.
#pragma once

#include <cstdint>
#include <mutex>
#include <unordered_map>

namespace flightbridge_tf {

// Thread-safe; does not block beyond its own lock.
class Iterations {
 public:
  static Iterations& Instance() {
    static auto* const instance = new Iterations;  // never destroyed: iterators may outlive exit
    return *instance;
  }

  // The pass of an iterator that starts reading now.
  int64_t Take(int64_t dataset_id) {
    std::lock_guard<std::mutex> lock(mu_);
    return next_[dataset_id]++;
  }

  int64_t Peek(int64_t dataset_id) const {
    std::lock_guard<std::mutex> lock(mu_);
    const auto found = next_.find(dataset_id);
    return found == next_.end() ? 0 : found->second;
  }

  // After a restore: later iterators go on as they would have in the saved run.
  void Set(int64_t dataset_id, int64_t next) {
    std::lock_guard<std::mutex> lock(mu_);
    next_[dataset_id] = next;
  }

 private:
  mutable std::mutex mu_;
  std::unordered_map<int64_t, int64_t> next_;
};

}  // namespace flightbridge_tf
