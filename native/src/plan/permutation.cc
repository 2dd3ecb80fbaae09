#include "plan/permutation.h"

#include <bit>
#include <numeric>
#include <span>
#include <utility>

#include "plan/random.h"

namespace flightbridge::plan {
namespace {

// What a step of the network needs.
struct Network {
  std::array<uint64_t, 8> keys;
  uint64_t highs;
  int low_bits;
};

// out[k] = the step back from first + k. Without branches and 128-bit products, so that it becomes
// vector instructions; highs < 2^32, since the size is below 2^62.
[[gnu::always_inline]] inline void StepsBackInline(const Network& network, uint64_t first,
                                                   int64_t* out, size_t n) {
  const uint64_t mask = (uint64_t{1} << network.low_bits) - 1;
  const uint64_t highs = network.highs;
  for (size_t k = 0; k < n; ++k) {
    uint64_t high = (first + k) >> network.low_bits;
    uint64_t low = (first + k) & mask;
    for (int round = 3; round >= 0; --round) {
      const uint64_t hash = Mix64(low ^ network.keys[2 * round + 1]);
      const uint64_t down = ((hash >> 32) * highs + ((hash & 0xFFFFFFFF) * highs >> 32)) >> 32;
      high = high + (high < down ? highs : 0) - down;
      low ^= Mix64(high ^ network.keys[2 * round]) & mask;
    }
    out[k] = static_cast<int64_t>(high << network.low_bits | low);
  }
}

using StepsBackFunction = void (*)(const Network&, uint64_t, int64_t*, size_t);

void StepsBackPlain(const Network& network, uint64_t first, int64_t* out, size_t n) {
  StepsBackInline(network, first, out, n);
}

#if defined(__x86_64__)
__attribute__((target("avx512f,avx512dq,avx512vl"))) void StepsBackAvx512(const Network& network,
                                                                          uint64_t first,
                                                                          int64_t* out, size_t n) {
  StepsBackInline(network, first, out, n);
}

bool HasAvx512() {
  return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") &&
         __builtin_cpu_supports("avx512vl");
}
#else
constexpr StepsBackFunction StepsBackAvx512 = StepsBackPlain;
bool HasAvx512() { return false; }
#endif

void StepsBack(const Network& network, uint64_t first, int64_t* out, size_t n) {
  static const StepsBackFunction best = HasAvx512() ? StepsBackAvx512 : StepsBackPlain;
  best(network, first, out, n);
}

}  // namespace

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

InversePermutation::InversePermutation(Permutation permutation)
    : permutation_(std::move(permutation)), table_(permutation_.table_.size()) {
  for (size_t i = 0; i < table_.size(); ++i) {
    table_[permutation_.table_[i]] = static_cast<uint32_t>(i);
  }
}

void InversePermutation::PlacesOf(int64_t first, std::span<int64_t> places) const {
  if (!table_.empty()) {
    for (size_t k = 0; k < places.size(); ++k) places[k] = table_[first + static_cast<int64_t>(k)];
    return;
  }
  const Network network{permutation_.keys_, permutation_.highs_, permutation_.low_bits_};
  StepsBack(network, static_cast<uint64_t>(first), places.data(), places.size());
  for (int64_t& place : places) {
    while (place >= size()) StepsBack(network, static_cast<uint64_t>(place), &place, 1);
  }
}

}  // namespace flightbridge::plan
