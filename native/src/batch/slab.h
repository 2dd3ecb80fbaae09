// Slabs: recycled, pre-touched, page-locked buffers that assembled batches lie in.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <vector>

#include <arrow/result.h>

#include "flightbridge/export.h"

namespace flightbridge::batch {

inline constexpr int64_t kSlabAlignment = 64;

// How a slab's pages are held in memory.
enum class Pinning { kCuda, kMlock, kNone };

// One buffer. Page aligned; its pages exist before first use.
class FB_EXPORT Slab {
 public:
  static arrow::Result<std::unique_ptr<Slab>> Map(int64_t bytes);
  ~Slab();
  Slab(const Slab&) = delete;
  Slab& operator=(const Slab&) = delete;

  uint8_t* data() const { return data_; }
  int64_t capacity() const { return capacity_; }
  Pinning pinning() const { return pinning_; }

 private:
  Slab(uint8_t* data, int64_t capacity);

  uint8_t* data_;
  int64_t capacity_;
  Pinning pinning_;
};

struct SlabStats {
  int64_t slabs = 0;     // that exist now, in use or idle
  int64_t bytes = 0;     // of those
  int64_t cuda = 0;      // of those, registered with CUDA
  int64_t mlocked = 0;   // of those, locked by mlock
  int64_t mapped = 0;    // ever mapped
  int64_t unpinned = 0;  // ever mapped that could not be locked
  int64_t recycled = 0;  // times an idle slab was used again
};

// Of all pools of the process.
FB_EXPORT SlabStats GetSlabStats();

// Keeps idle slabs of one reader. Thread-safe; never blocks on slabs in use. Slabs in use hold the
// pool, so it outlives the reader for as long as a tensor lies in one of them.
class FB_EXPORT SlabPool : public std::enable_shared_from_this<SlabPool> {
 public:
  explicit SlabPool(size_t max_idle) : max_idle_(max_idle) {}

  // A slab of at least `bytes`. The most recently used comes first: it is still in the caches.
  arrow::Result<std::unique_ptr<Slab>> Get(int64_t bytes);
  void Put(std::unique_ptr<Slab> slab);

 private:
  const size_t max_idle_;
  std::mutex mutex_;
  int64_t wanted_ = 0;  // the largest size asked for: smaller slabs are not worth keeping
  std::vector<std::unique_ptr<Slab>> idle_;
};

}  // namespace flightbridge::batch
