#include "plan/permutation.h"

#include <bit>
#include <numeric>
#include <span>

#include "plan/random.h"

namespace flightbridge::plan {

Permutation::Permutation(int64_t size, uint64_t seed, uint64_t stream) : size_(size) {
  Random random(seed, stream);
  if (size <= kMaxTable) {
    table_.resize(size);
    std::iota(table_.begin(), table_.end(), 0);
    Shuffle(std::span(table_), random);
    return;
  }
  for (uint64_t& key : keys_) {
    key = random.Next32();
    key = key << 32 | random.Next32();
  }
  low_bits_ = (std::bit_width(static_cast<uint64_t>(size)) - 1) / 2;
  highs_ = (static_cast<uint64_t>(size) + (uint64_t{1} << low_bits_) - 1) >> low_bits_;
}

uint64_t Permutation::Step(uint64_t value) const {
  const uint64_t mask = (uint64_t{1} << low_bits_) - 1;
  uint64_t high = value >> low_bits_;
  uint64_t low = value & mask;
  for (size_t round = 0; round < kRounds; ++round) {
    low ^= Mix64(high ^ keys_[2 * round]) & mask;
    const uint64_t hash = Mix64(low ^ keys_[2 * round + 1]);
    high += static_cast<uint64_t>(static_cast<unsigned __int128>(hash) * highs_ >> 64);
    if (high >= highs_) high -= highs_;
  }
  return high << low_bits_ | low;
}

// At most one in 2^low_bits_ elements of the network is outside of the permutation.
int64_t Permutation::Walk(int64_t i) const {
  auto value = static_cast<uint64_t>(i);
  do {
    value = Step(value);
  } while (value >= static_cast<uint64_t>(size_));
  return static_cast<int64_t>(value);
}

}  // namespace flightbridge::plan
