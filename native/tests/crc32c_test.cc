#include <algorithm>
#include <numeric>
#include <random>
#include <vector>

#include <gtest/gtest.h>

#include "segment/checksum.h"
#include "segment/crc32c_internal.h"

namespace flightbridge::segment {
namespace {

// By its definition, bit by bit.
uint32_t Reference(uint32_t raw, const uint8_t* data, size_t bytes) {
  for (size_t i = 0; i < bytes; ++i) {
    raw ^= data[i];
    for (int bit = 0; bit < 8; ++bit) raw = (raw >> 1) ^ ((raw & 1) != 0 ? 0x82f63b78u : 0);
  }
  return raw;
}

class Crc32cTest : public testing::TestWithParam<CrcImplementation> {
 protected:
  static uint32_t Crc(uint32_t crc, const void* data, size_t bytes) {
    return ~GetParam().function(~crc, static_cast<const uint8_t*>(data), bytes);
  }
};

// RFC 3720, appendix B.4, and the customary check value of "123456789".
TEST_P(Crc32cTest, KnownVectors) {
  std::vector<uint8_t> bytes(32, 0);
  EXPECT_EQ(Crc(0, bytes.data(), 32), 0x8a9136aau);
  std::fill(bytes.begin(), bytes.end(), 0xff);
  EXPECT_EQ(Crc(0, bytes.data(), 32), 0x62a8ab43u);
  std::iota(bytes.begin(), bytes.end(), 0);
  EXPECT_EQ(Crc(0, bytes.data(), 32), 0x46dd794eu);
  std::reverse(bytes.begin(), bytes.end());
  EXPECT_EQ(Crc(0, bytes.data(), 32), 0x113fdb5cu);
  const uint8_t command[48] = {0x01, 0xc0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,    0, 0, 0, 0,
                               0x14, 0,    0, 0, 0, 0, 4, 0, 0, 0, 0, 0x14, 0, 0, 0, 0x18,
                               0x28, 0,    0, 0, 0, 0, 0, 0, 2, 0, 0, 0,    0, 0, 0, 0};
  EXPECT_EQ(Crc(0, command, 48), 0xd9963a56u);
  EXPECT_EQ(Crc(0, "123456789", 9), 0xe3069283u);
  EXPECT_EQ(Crc(0, nullptr, 0), 0u);
}

TEST_P(Crc32cTest, EveryLengthAndAlignmentFollowsTheDefinition) {
  std::mt19937 random(1);
  std::vector<uint8_t> bytes(9000);
  for (uint8_t& byte : bytes) byte = static_cast<uint8_t>(random());
  const auto check = [&](size_t at, size_t length) {
    const auto start = static_cast<uint32_t>(random());
    ASSERT_EQ(GetParam().function(start, bytes.data() + at, length),
              Reference(start, bytes.data() + at, length))
        << length << " bytes at " << at;
  };
  for (size_t length = 0; length < 1100; ++length) {
    for (size_t at = 0; at < 9; ++at) check(at, length);
  }
  for (size_t length = 1100; length < 8900; length += 13) check(length % 8, length);
}

INSTANTIATE_TEST_SUITE_P(All, Crc32cTest, testing::ValuesIn(CrcImplementations()),
                         [](const auto& made) { return std::string(made.param.name); });

TEST(Crc32c, TheFastestIsUsed) {
  EXPECT_EQ(RawCrc32c(), CrcImplementations().back().function);
  EXPECT_EQ(Crc32c(0, "123456789", 9), 0xe3069283u);
}

}  // namespace
}  // namespace flightbridge::segment
