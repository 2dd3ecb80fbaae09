#include "deal/piles.h"

namespace flightbridge::deal {

uint8_t* Piles::Take(int64_t pile_index, int64_t bytes) {
  Pile& pile = piles_[pile_index];
  if (bytes > kLargest) {
    const int64_t at = TakeRun(bytes);
    if (at < 0) return nullptr;
    const std::lock_guard lock(pile.mutex);
    pile.runs.push_back({at, bytes});
    return space_->data() + at;
  }
  if (uint8_t* const row = TryTake(&pile, bytes)) return row;
  const std::lock_guard lock(pile.mutex);
  if (uint8_t* const row = TryTake(&pile, bytes)) return row;  // somebody opened one meanwhile
  const int64_t at = TakeRun(kBlock);
  if (at < 0) return nullptr;
  const Cursor opened{static_cast<uint64_t>(at + bytes) / 4,
                      static_cast<uint64_t>(kBlock - bytes) / 4};
  // Shorter rows of others may still go into the old block until it is exchanged.
  Close(&pile, pile.cursor.exchange(opened, std::memory_order_relaxed));
  pile.open_at = at;
  return space_->data() + at;
}

uint8_t* Piles::TryTake(Pile* pile, int64_t bytes) const {
  const auto need = static_cast<uint64_t>(bytes) / 4;
  Cursor now = pile->cursor.load(std::memory_order_relaxed);
  while (now.room >= need) {
    const Cursor next{now.at + need, now.room - need};
    if (pile->cursor.compare_exchange_weak(now, next, std::memory_order_relaxed)) {
      return space_->data() + static_cast<int64_t>(now.at) * 4;
    }
  }
  return nullptr;
}

void Piles::Close(Pile* pile, Cursor end) {
  if (pile->open_at < 0) return;
  pile->runs.push_back({pile->open_at, static_cast<int64_t>(end.at) * 4 - pile->open_at});
  pile->open_at = -1;
}

int64_t Piles::TakeRun(int64_t bytes) {
  const int64_t at = used_.fetch_add(bytes, std::memory_order_relaxed);
  return bytes <= space_->bytes() - at ? at : -1;
}

void Piles::Finish() {
  for (Pile& pile : piles_) Close(&pile, pile.cursor.exchange({}, std::memory_order_relaxed));
}

}  // namespace flightbridge::deal
