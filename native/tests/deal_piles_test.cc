#include "deal/piles.h"

#include <algorithm>
#include <cstring>
#include <map>
#include <random>
#include <thread>

#include <gtest/gtest.h>

#include "testing/store.h"

namespace flightbridge::deal {
namespace {

constexpr int64_t kPiles = 7;

class PilesTest : public ::testing::Test {
 protected:
  std::shared_ptr<Space> NewSpace(int64_t bytes) {
    return Space::InMemory(store_.get()->segments(), bytes);
  }
  testing::TestStore store_{256 << 20};
};

// A row says its number and size, and is filled with what follows from the former.
void Fill(uint8_t* row, uint32_t number, uint32_t size) {
  std::memcpy(row, &number, 4);
  std::memcpy(row + 4, &size, 4);
  std::memset(row + 8, static_cast<int>(number * 31 % 251), size - 8);
}

// Whatever their sizes, what MostBytes() says is enough, and each row lies whole in its pile.
TEST_F(PilesTest, WhatManyThreadsPileUpIsThere) {
  constexpr uint32_t kThreads = 4;
  const std::vector<uint32_t> largest = {24, 200, Piles::kLargest, 3 * Piles::kLargest,
                                         3 * Piles::kBlock};
  for (const uint32_t most : largest) {
    SCOPED_TRACE(most);
    std::mt19937_64 rng(most);
    struct Row {
      int64_t pile = 0;
      uint32_t size = 0;
    };
    std::vector<Row> rows(std::min(20'000U, (64U << 20) / most));
    int64_t bytes = 0;
    for (Row& row : rows) {
      row = {static_cast<int64_t>(rng() % kPiles), static_cast<uint32_t>(8 + rng() % most / 4 * 4)};
      bytes += row.size;
    }
    const auto space = NewSpace(Piles::MostBytes(bytes, kPiles));
    ASSERT_NE(space, nullptr);
    Piles piles(space, kPiles);
    std::vector<std::thread> threads;
    for (uint32_t t = 0; t < kThreads; ++t) {
      threads.emplace_back([&, t] {
        for (size_t i = t; i < rows.size(); i += kThreads) {
          uint8_t* const row = piles.Take(rows[i].pile, rows[i].size);
          ASSERT_NE(row, nullptr);
          Fill(row, static_cast<uint32_t>(i), rows[i].size);
        }
      });
    }
    for (std::thread& thread : threads) thread.join();
    piles.Finish();
    std::vector<bool> seen(rows.size());
    for (int64_t pile = 0; pile < kPiles; ++pile) {
      for (const Extent& run : piles.runs(pile)) {
        const uint8_t* at = space->data() + run.at;
        const uint8_t* const end = at + run.bytes;
        while (at < end) {
          uint32_t head[2] = {0, 0};
          std::memcpy(head, at, sizeof(head));
          ASSERT_LT(head[0], rows.size());
          ASSERT_EQ(rows[head[0]].pile, pile);
          ASSERT_EQ(rows[head[0]].size, head[1]);
          ASSERT_FALSE(seen[head[0]]);
          seen[head[0]] = true;
          std::vector<uint8_t> expected(head[1]);
          Fill(expected.data(), head[0], head[1]);
          ASSERT_EQ(std::memcmp(at, expected.data(), head[1]), 0);
          at += head[1];
        }
        ASSERT_EQ(at, end);
      }
    }
    EXPECT_EQ(std::ranges::count(seen, true), std::ssize(rows));
  }
}

TEST_F(PilesTest, AUsedUpSpaceIsSaid) {
  const auto space = NewSpace(2 * Piles::kBlock);
  Piles piles(space, 2);
  EXPECT_NE(piles.Take(0, 400), nullptr);
  EXPECT_EQ(piles.Take(1, 2 * Piles::kBlock), nullptr);  // it has a block still
  EXPECT_EQ(piles.Take(1, 400), nullptr);
  for (int64_t left = Piles::kBlock - 400; left >= 400; left -= 400) {
    ASSERT_NE(piles.Take(0, 400), nullptr);
  }
  EXPECT_EQ(piles.Take(0, 400), nullptr);
  piles.Finish();
  ASSERT_EQ(piles.runs(0).size(), 1U);
  EXPECT_EQ(piles.runs(0)[0].bytes, Piles::kBlock / 400 * 400);
  EXPECT_TRUE(piles.runs(1).empty());
}

}  // namespace
}  // namespace flightbridge::deal
