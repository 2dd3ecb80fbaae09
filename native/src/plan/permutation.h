// A permutation of [0, n) of which any element can be asked for by itself, so that a shuffled order
// of any length takes no memory and can be gone on with anywhere.
//
// Up to 65,536 elements: Fisher-Yates, a table. Beyond: a cipher on [0, n), made of eight rounds of
// an unbalanced Feistel network (Luby and Rackoff, "How to construct pseudorandom permutations",
// 1988) and cycle walking (Black and Rogaway, "Ciphers with arbitrary finite domains", CT-RSA'02).
// With b = 2^floor(log2(n) / 2) and a = ceil(n / b), an element is a pair of a number below a and
// one below b; rounds in turn xor the second with a hash of the first and add a hash of the second
// to the first, modulo a. The hash is SplitMix64's finaliser of the number xor the round's key.
// Whole-feed orders rest on this file: a change breaks all saved positions.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "flightbridge/export.h"

namespace flightbridge::plan {

// Immutable; equal arguments give equal permutations, for ever.
class FB_EXPORT Permutation {
 public:
  static constexpr int64_t kMaxTable = 1 << 16;

  // 0 <= size.
  Permutation(int64_t size, uint64_t seed, uint64_t stream);

  int64_t size() const { return size_; }
  // 0 <= i < size().
  int64_t At(int64_t i) const { return table_.empty() ? Walk(i) : table_[i]; }

 private:
  friend class InversePermutation;
  static constexpr size_t kRounds = 4;  // of two each

  int64_t Walk(int64_t i) const;
  uint64_t Step(uint64_t value) const;

  int64_t size_;
  std::vector<uint32_t> table_;
  std::array<uint64_t, 2 * kRounds> keys_{};
  int low_bits_ = 0;    // b = 1 << low_bits_
  uint64_t highs_ = 0;  // a
};

// The way back: the place of a row. Immutable; up to kMaxTable elements it holds a table of its
// own.
class FB_EXPORT InversePermutation {
 public:
  explicit InversePermutation(Permutation permutation);

  int64_t size() const { return permutation_.size(); }
  // places[k] is the i of which permutation.At(i) == first + k. Many at a time take a third of what
  // as many single ones would.
  void PlacesOf(int64_t first, std::span<int64_t> places) const;

 private:
  Permutation permutation_;
  std::vector<uint32_t> table_;
};

}  // namespace flightbridge::plan
