#include "segment/extent_map.h"

#include <algorithm>
#include <random>
#include <string>

#include <gtest/gtest.h>

namespace flightbridge::segment {
namespace {

TEST(ExtentMap, TakesTheFirstThatFitsElseTheLongest) {
  ExtentMap map(1000);
  ASSERT_TRUE(map.TakeRange(0, 1000));
  map.Add({0, 100, true});
  map.Add({200, 300, true});
  map.Add({600, 250, true});
  EXPECT_EQ(map.Take(1, 260, true)->offset, 200);
  EXPECT_EQ(map.Take(50, 400, true)->offset, 600) << "the longest, when none is long enough";
  EXPECT_FALSE(map.Take(101, 400, true).has_value());
  EXPECT_FALSE(map.Take(1, 1, false).has_value());
}

TEST(ExtentMap, NeighboursMergeByWarmth) {
  ExtentMap map(300);
  ASSERT_TRUE(map.TakeRange(0, 300));
  map.Add({0, 100, true});
  map.Add({200, 100, true});
  map.Add({100, 100, false});
  EXPECT_EQ(map.runs().size(), 3u);
  ASSERT_TRUE(map.TakeRange(50, 200)) << "a range across runs of different warmth";
  map.Add({50, 200, true});
  EXPECT_EQ(map.runs().size(), 1u);
  EXPECT_TRUE(map.all_free());
  EXPECT_EQ(map.warm_bytes(), 300);
  EXPECT_FALSE(map.TakeRange(250, 51)) << "beyond the end";
}

// Against a plain string: '.' free and cold, 'w' free and warm, 'x' taken.
TEST(ExtentMap, AgreesWithAModel) {
  constexpr int kSize = 64;
  std::mt19937 random(5);
  for (int run = 0; run < 200; ++run) {
    ExtentMap map(kSize);
    std::string model(kSize, '.');
    for (int step = 0; step < 200; ++step) {
      const int action = static_cast<int>(random() % 3);
      const int64_t offset = random() % kSize;
      const int64_t length = 1 + random() % std::min<int64_t>(8, kSize - offset);
      const bool warm = random() % 2 == 0;
      if (action == 0) {
        const auto taken = map.Take(length / 2 + 1, length, warm);
        const std::string wanted(length / 2 + 1, warm ? 'w' : '.');
        ASSERT_EQ(taken.has_value(), model.find(wanted) != std::string::npos);
        if (!taken) continue;
        ASSERT_LE(taken->length, length);
        ASSERT_EQ(model.substr(taken->offset, taken->length),
                  std::string(taken->length, warm ? 'w' : '.'));
        model.replace(taken->offset, taken->length, std::string(taken->length, 'x'));
      } else if (action == 1) {
        const bool free = model.substr(offset, length).find('x') == std::string::npos;
        ASSERT_EQ(map.TakeRange(offset, length), free);
        if (free) model.replace(offset, length, std::string(length, 'x'));
      } else {
        int64_t end = offset;
        while (end < offset + length && model[end] == 'x') ++end;
        if (end == offset) continue;
        map.Add({offset, end - offset, warm});
        model.replace(offset, end - offset, std::string(end - offset, warm ? 'w' : '.'));
      }
      ASSERT_EQ(map.warm_bytes(), std::count(model.begin(), model.end(), 'w'));
      ASSERT_EQ(map.all_free(), model.find('x') == std::string::npos);
      std::string drawn(kSize, 'x');
      char previous = 'x';
      int64_t previous_end = -1;
      for (const auto& [at, extent] : map.runs()) {
        const char mark = extent.warm ? 'w' : '.';
        ASSERT_FALSE(at == previous_end && mark == previous) << "neighbours not merged";
        drawn.replace(at, extent.length, std::string(extent.length, mark));
        previous = mark;
        previous_end = at + extent.length;
      }
      ASSERT_EQ(drawn, model);
    }
  }
}

}  // namespace
}  // namespace flightbridge::segment
