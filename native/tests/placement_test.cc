#include "feed/placement.h"

#include <map>
#include <random>

#include <gtest/gtest.h>

namespace flightbridge::feed {
namespace {

std::vector<std::string> Servers(size_t n, std::mt19937* random) {
  std::vector<std::string> servers;
  for (size_t i = 0; i < n; ++i) {
    servers.push_back("grpc://10.0." + std::to_string(i) + "." + std::to_string((*random)() % 256) +
                      ":8815");
  }
  return servers;
}

TEST(Placement, DoesNotDependOnTheOrderOfTheServers) {
  std::mt19937 random(1);
  for (int round = 0; round < 50; ++round) {
    auto servers = Servers(1 + random() % 9, &random);
    auto shuffled = servers;
    std::shuffle(shuffled.begin(), shuffled.end(), random);
    for (int64_t p = 0; p < 100; ++p) {
      EXPECT_EQ(servers[ServerOf(servers, "feed", p)], shuffled[ServerOf(shuffled, "feed", p)]);
    }
    EXPECT_EQ(servers[HomeOf(servers, "feed")], shuffled[HomeOf(shuffled, "feed")]);
  }
}

TEST(Placement, AServerMoreTakesPartitionsAndMovesNoOthers) {
  std::mt19937 random(2);
  for (int round = 0; round < 20; ++round) {
    const auto many = Servers(2 + random() % 8, &random);
    const std::vector<std::string> few(many.begin(), many.end() - 1);
    for (int64_t p = 0; p < 1000; ++p) {
      const std::string& after = many[ServerOf(many, "feed", p)];
      if (after == many.back()) continue;
      EXPECT_EQ(few[ServerOf(few, "feed", p)], after);
    }
  }
}

TEST(Placement, SharesPartitionsAndHomesAboutEqually) {
  std::mt19937 random(3);
  for (const size_t n : {2u, 3u, 5u, 8u}) {
    const auto servers = Servers(n, &random);
    std::vector<int> partitions(n);
    std::vector<int> homes(n);
    constexpr int kKeys = 8000;
    for (int i = 0; i < kKeys; ++i) {
      ++partitions[ServerOf(servers, "feed", i)];
      ++homes[HomeOf(servers, "feed" + std::to_string(i))];
    }
    const double fair = static_cast<double>(kKeys) / static_cast<double>(n);
    for (size_t i = 0; i < n; ++i) {
      EXPECT_NEAR(partitions[i], fair, fair * 0.15);
      EXPECT_NEAR(homes[i], fair, fair * 0.15);
    }
  }
}

// A change here would lose every feed that is on disk.
TEST(Placement, IsTheSameInEveryRelease) {
  const std::vector<std::string> servers = {"grpc://a:1", "grpc://b:2", "grpc://c:3"};
  std::string drawn;
  for (int64_t p = 0; p < 24; ++p) drawn += "abc"[ServerOf(servers, "clicks", p)];
  EXPECT_EQ(drawn, "ccaabbcaababbbabbaababaa");
}

}  // namespace
}  // namespace flightbridge::feed
