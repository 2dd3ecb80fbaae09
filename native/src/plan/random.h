// Counter-based random numbers: bit-exact on every machine, independent of threads.
//
// Generator: Philox4x32-10 (Salmon, Moraes, Dror, Shaw: "Parallel random numbers: as easy as
// 1, 2, 3", SC'11). Bounded draws: Lemire, "Fast random integer generation in an interval" (2019).
// Stream numbers: the finaliser of SplitMix64 (Steele, Lea, Flood, OOPSLA'14).
// The order of every shuffled feed rests on this file: a change breaks all saved positions.
#pragma once

#include <array>
#include <cstdint>
#include <initializer_list>
#include <span>
#include <utility>

namespace flightbridge::plan {

using PhiloxBlock = std::array<uint32_t, 4>;

inline PhiloxBlock Philox4x32(PhiloxBlock counter, uint32_t key0, uint32_t key1) {
  for (int round = 0; round < 10; ++round) {
    const uint64_t a = uint64_t{0xD2511F53} * counter[0];
    const uint64_t b = uint64_t{0xCD9E8D57} * counter[2];
    counter = {static_cast<uint32_t>(b >> 32) ^ counter[1] ^ key0, static_cast<uint32_t>(b),
               static_cast<uint32_t>(a >> 32) ^ counter[3] ^ key1, static_cast<uint32_t>(a)};
    key0 += 0x9E3779B9;
    key1 += 0xBB67AE85;
  }
  return counter;
}

inline uint64_t Mix64(uint64_t x) {
  x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9;
  x = (x ^ (x >> 27)) * 0x94D049BB133111EB;
  return x ^ (x >> 31);
}

// One stream number out of what tells streams apart (purpose, shard, epoch, window, ...).
inline uint64_t StreamOf(std::initializer_list<uint64_t> parts) {
  uint64_t stream = 0;
  for (const uint64_t part : parts) stream = Mix64(stream + 0x9E3779B97F4A7C15 + Mix64(part));
  return stream;
}

// The stream `stream` of `seed`. Cheap to make; not thread-safe.
class Random {
 public:
  Random(uint64_t seed, uint64_t stream) : seed_(seed), stream_(stream) {}

  uint32_t Next32() {
    if (used_ == 4) Refill();
    return block_[used_++];
  }

  // Uniform in [0, bound), without bias. bound > 0.
  uint32_t Below(uint32_t bound) {
    uint64_t product = uint64_t{Next32()} * bound;
    if (static_cast<uint32_t>(product) < bound) {
      const uint32_t threshold = -bound % bound;
      while (static_cast<uint32_t>(product) < threshold) product = uint64_t{Next32()} * bound;
    }
    return static_cast<uint32_t>(product >> 32);
  }

 private:
  void Refill() {
    block_ = Philox4x32({static_cast<uint32_t>(counter_), static_cast<uint32_t>(counter_ >> 32),
                         static_cast<uint32_t>(stream_), static_cast<uint32_t>(stream_ >> 32)},
                        static_cast<uint32_t>(seed_), static_cast<uint32_t>(seed_ >> 32));
    ++counter_;
    used_ = 0;
  }

  uint64_t seed_;
  uint64_t stream_;
  uint64_t counter_ = 0;
  PhiloxBlock block_{};
  int used_ = 4;
};

// Fisher-Yates. At most 2^32 - 1 items: what they are does not change where they go.
template <typename T>
void Shuffle(std::span<T> items, Random& random) {
  for (auto left = static_cast<uint32_t>(items.size()); left > 1; --left) {
    std::swap(items[left - 1], items[random.Below(left)]);
  }
}

}  // namespace flightbridge::plan
