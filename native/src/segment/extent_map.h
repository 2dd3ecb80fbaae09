// Which page runs of a chunk are free. Pure bookkeeping: no I/O, no locks.
#pragma once

#include <cstdint>
#include <map>
#include <optional>

namespace flightbridge::segment {

struct Extent {
  int64_t offset = 0;
  int64_t length = 0;
  bool warm = false;  // its pages are in memory
};

// Free runs, neighbours of equal warmth merged. Not thread-safe.
class ExtentMap {
 public:
  explicit ExtentMap(int64_t size) : size_(size) { Add({0, size, false}); }

  void Add(Extent extent);
  // Takes `want` bytes from a run of that warmth; where none is so long, the longest run of at
  // least `min` bytes.
  std::optional<Extent> Take(int64_t min, int64_t want, bool warm);
  // Takes exactly this range, which may span several free runs. False where it is not free.
  bool TakeRange(int64_t offset, int64_t length);

  bool all_free() const { return free_bytes_ == size_; }
  int64_t warm_bytes() const { return warm_bytes_; }
  const std::map<int64_t, Extent>& runs() const { return runs_; }

 private:
  void Erase(std::map<int64_t, Extent>::iterator at);
  void Insert(const Extent& extent);

  int64_t size_;
  int64_t free_bytes_ = 0;
  int64_t warm_bytes_ = 0;
  std::map<int64_t, Extent> runs_;  // by offset
};

}  // namespace flightbridge::segment
