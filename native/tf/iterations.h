// Which pass over the data the next iterator of a dataset makes.
//
// Keras makes a new iterator for every training epoch, and so does Dataset.repeat(). A shuffled
// dataset must not hand all of them the same order, so each iterator starts where the one before
// it ended. TensorFlow copies dataset objects freely (graph rewrites do), hence the count lives in
// the process, under an id that the Python dataset drew, with the device that runs it.
#pragma once

#include <algorithm>
#include <charconv>
#include <cstdint>
#include <mutex>
#include <string>
#include <string_view>
#include <unordered_map>

namespace flightbridge_tf {

// How often the Dataset.repeat() around an iterator has begun anew: TensorFlow notes it in the
// iterator's prefix, "...::FiniteRepeat[2]::BatchV2::...". That many passes are over, which a
// restored process knows from nothing else where a stage in between had exhausted the source: the
// checkpoint then holds nothing of it.
inline int64_t RepeatsBefore(std::string_view prefix) {
  constexpr std::string_view kRepeat = "Repeat[";
  const size_t at = prefix.rfind(kRepeat);
  if (at == std::string_view::npos) return 0;
  const std::string_view rest = prefix.substr(at + kRepeat.size());
  int64_t index = 0;
  const auto parsed = std::from_chars(rest.data(), rest.data() + rest.size(), index);
  return parsed.ec == std::errc() ? std::max<int64_t>(index, 0) : 0;
}

// Thread-safe; does not block beyond its own lock.
class Iterations {
 public:
  static Iterations& Instance() {
    static auto* const instance = new Iterations;  // never destroyed: iterators may outlive exit
    return *instance;
  }

  // The pass of an iterator of `dataset` that starts reading now, `at_least` that one.
  int64_t Take(const std::string& dataset, int64_t at_least) {
    std::lock_guard<std::mutex> lock(mu_);
    int64_t& next = next_.try_emplace(dataset, at_least).first->second;
    next = std::max(next, at_least);
    return next++;
  }

  int64_t Peek(const std::string& dataset, int64_t at_least) const {
    std::lock_guard<std::mutex> lock(mu_);
    const auto found = next_.find(dataset);
    return found == next_.end() ? at_least : std::max(found->second, at_least);
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
