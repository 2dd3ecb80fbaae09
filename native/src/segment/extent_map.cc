#include "segment/extent_map.h"

#include <algorithm>

namespace flightbridge::segment {

void ExtentMap::Erase(std::map<int64_t, Extent>::iterator at) {
  free_bytes_ -= at->second.length;
  if (at->second.warm) warm_bytes_ -= at->second.length;
  runs_.erase(at);
}

void ExtentMap::Insert(const Extent& extent) {
  if (extent.length == 0) return;
  free_bytes_ += extent.length;
  if (extent.warm) warm_bytes_ += extent.length;
  runs_.emplace(extent.offset, extent);
}

void ExtentMap::Add(Extent extent) {
  auto next = runs_.lower_bound(extent.offset);
  if (next != runs_.end() && next->second.warm == extent.warm &&
      extent.offset + extent.length == next->first) {
    extent.length += next->second.length;
    Erase(next);
    next = runs_.lower_bound(extent.offset);
  }
  if (next != runs_.begin()) {
    const auto previous = std::prev(next);
    const Extent& run = previous->second;
    if (run.warm == extent.warm && run.offset + run.length == extent.offset) {
      extent.offset = run.offset;
      extent.length += run.length;
      Erase(previous);
    }
  }
  Insert(extent);
}

std::optional<Extent> ExtentMap::Take(int64_t min, int64_t want, bool warm) {
  auto best = runs_.end();
  for (auto at = runs_.begin(); at != runs_.end(); ++at) {
    const Extent& run = at->second;
    if (run.warm != warm || run.length < min) continue;
    if (run.length >= want) {
      best = at;
      break;
    }
    if (best == runs_.end() || run.length > best->second.length) best = at;
  }
  if (best == runs_.end()) return std::nullopt;
  const Extent run = best->second;
  Erase(best);
  const Extent taken{run.offset, std::min(run.length, want), warm};
  Insert({run.offset + taken.length, run.length - taken.length, warm});
  return taken;
}

bool ExtentMap::TakeRange(int64_t offset, int64_t length) {
  const int64_t end = offset + length;
  auto first = runs_.upper_bound(offset);
  if (first == runs_.begin()) return false;
  --first;
  int64_t covered = offset;
  for (auto at = first; at != runs_.end() && covered < end && at->first <= covered; ++at) {
    covered = std::max(covered, at->second.offset + at->second.length);
  }
  if (covered < end) return false;
  for (auto at = first; at != runs_.end() && at->first < end;) {
    const Extent run = at->second;
    Erase(at);
    if (run.offset < offset) Insert({run.offset, offset - run.offset, run.warm});
    const int64_t run_end = run.offset + run.length;
    if (run_end > end) Insert({end, run_end - end, run.warm});
    at = runs_.lower_bound(std::max(run_end, offset));
  }
  return true;
}

}  // namespace flightbridge::segment
