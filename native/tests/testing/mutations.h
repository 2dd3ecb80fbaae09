// Runs a fuzz target over mutations of valid inputs, where there is no libFuzzer to do it.
#pragma once

#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <random>
#include <string>
#include <vector>

namespace flightbridge::testing {

inline std::string Mutate(std::string bytes, std::mt19937* random) {
  const auto below = [&](size_t n) { return n == 0 ? 0 : (*random)() % n; };
  // Some stay as they are: what follows finds a state that only valid input can make.
  for (size_t edits = below(8) == 0 ? 0 : 1 + below(4); edits > 0; --edits) {
    switch (below(6)) {
      case 0: bytes.resize(below(bytes.size() + 1)); break;
      case 1:
        bytes.insert(below(bytes.size() + 1),
                     std::string(1 + below(9), static_cast<char>((*random)())));
        break;
      case 2: bytes.erase(below(bytes.size() + 1), 1 + below(9)); break;
      case 3:  // a length or an offset that says something extreme
        if (bytes.size() >= 8) {
          const size_t at = below(bytes.size() - 7);
          const char fill = below(2) == 0 ? '\xff' : '\0';
          for (size_t i = 0; i < 8; ++i) bytes[at + i] = fill;
          if (below(2) == 0) bytes[at + 7] = '\x7f';
        }
        break;
      default:
        if (!bytes.empty()) bytes[below(bytes.size())] = static_cast<char>((*random)());
    }
  }
  return bytes;
}

// `rounds` mutations from a fixed seed; with FLIGHTBRIDGE_FUZZ_SECONDS as many as that time allows,
// from a seed of FLIGHTBRIDGE_FUZZ_SEED (default: the clock), which it prints.
inline void RunMutations(int (*target)(const uint8_t*, size_t),
                         const std::vector<std::string>& seeds, int rounds) {
  using Clock = std::chrono::steady_clock;
  const char* seconds = std::getenv("FLIGHTBRIDGE_FUZZ_SECONDS");
  const char* chosen = std::getenv("FLIGHTBRIDGE_FUZZ_SEED");
  uint32_t seed = 20261124;
  if (chosen != nullptr) {
    seed = static_cast<uint32_t>(std::strtoul(chosen, nullptr, 10));
  } else if (seconds != nullptr) {
    seed = static_cast<uint32_t>(Clock::now().time_since_epoch().count());
  }
  const auto end = Clock::now() + std::chrono::seconds(seconds == nullptr ? 0 : std::atoi(seconds));
  if (seconds != nullptr) std::printf("FLIGHTBRIDGE_FUZZ_SEED=%u\n", seed);
  std::mt19937 random(seed);
  for (const std::string& valid : seeds) {
    target(reinterpret_cast<const uint8_t*>(valid.data()), valid.size());
  }
  for (int64_t i = 0; seconds == nullptr ? i < rounds : Clock::now() < end; ++i) {
    const std::string input = Mutate(seeds[random() % seeds.size()], &random);
    target(reinterpret_cast<const uint8_t*>(input.data()), input.size());
  }
}

}  // namespace flightbridge::testing
