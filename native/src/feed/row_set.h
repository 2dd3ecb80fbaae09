// A set of row numbers, kept as runs. Pure bookkeeping.
#pragma once

#include <algorithm>
#include <cstdint>
#include <iterator>
#include <map>

namespace flightbridge::feed {

class RowSet {
 public:
  // Adds rows [begin, end); returns how many of them are new.
  int64_t Add(int64_t begin, int64_t end) {
    if (begin >= end) return 0;
    const int64_t before = rows_;
    auto at = runs_.upper_bound(begin);
    if (at != runs_.begin() && std::prev(at)->second >= begin) --at;  // it overlaps or touches
    int64_t joined = 0;
    while (at != runs_.end() && at->first <= end) {
      begin = std::min(begin, at->first);
      end = std::max(end, at->second);
      joined += at->second - at->first;
      at = runs_.erase(at);
    }
    runs_.emplace(begin, end);
    rows_ += end - begin - joined;
    return rows_ - before;
  }

  int64_t rows() const { return rows_; }
  const std::map<int64_t, int64_t>& runs() const { return runs_; }  // begin to end, ascending

 private:
  std::map<int64_t, int64_t> runs_;  // never touching
  int64_t rows_ = 0;
};

}  // namespace flightbridge::feed
