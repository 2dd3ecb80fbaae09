#include "segment/crc32c_internal.h"

#include <array>
#include <atomic>
#include <cstring>

#if defined(__x86_64__)
#include <immintrin.h>
#elif defined(__aarch64__)
#include <arm_acle.h>
#include <sys/auxv.h>
#endif

namespace flightbridge::segment {
namespace {

constexpr uint32_t kPolynomial = 0x82f63b78;  // Castagnoli, bit-reflected

// Three lanes hide the latency of three cycles of the instruction; a stripe is three of these,
// nearly a block of CopyCrc32c().
constexpr size_t kLongLane = 1360;

// table[0] advances a CRC by one byte; table[k] by one byte followed by k zero bytes.
using Tables = std::array<std::array<uint32_t, 256>, 8>;

constexpr Tables MakeTables() {
  Tables tables{};
  for (uint32_t i = 0; i < 256; ++i) {
    uint32_t crc = i;
    for (int bit = 0; bit < 8; ++bit) crc = (crc >> 1) ^ ((crc & 1) ? kPolynomial : 0);
    tables[0][i] = crc;
  }
  for (size_t k = 1; k < tables.size(); ++k) {
    for (size_t i = 0; i < 256; ++i) {
      const uint32_t previous = tables[k - 1][i];
      tables[k][i] = (previous >> 8) ^ tables[0][previous & 0xff];
    }
  }
  return tables;
}

constexpr Tables kTables = MakeTables();

uint64_t Load64(const uint8_t* from) {
  uint64_t value;
  std::memcpy(&value, from, sizeof(value));
  return value;
}

// These work on the inverted ("raw") register.
uint32_t RawTable(uint32_t crc, const uint8_t* data, size_t bytes) {
  for (; bytes >= 8; data += 8, bytes -= 8) {
    const uint64_t word = Load64(data) ^ crc;
    crc = 0;
    for (int i = 0; i < 8; ++i) crc ^= kTables[7 - i][(word >> (8 * i)) & 0xff];
  }
  for (; bytes > 0; ++data, --bytes) crc = (crc >> 8) ^ kTables[0][(crc ^ *data) & 0xff];
  return crc;
}

#if defined(__x86_64__) || defined(__aarch64__)

// Advances a raw CRC over `Bytes` zero bytes: a linear map over GF(2), so four byte-indexed tables.
template <size_t Bytes>
struct ZeroShift {
  std::array<std::array<uint32_t, 256>, 4> table{};

  constexpr ZeroShift() {
    std::array<uint32_t, 32> column{};  // image of each single bit
    for (int bit = 0; bit < 32; ++bit) {
      uint32_t crc = 1u << bit;
      for (size_t i = 0; i < Bytes; ++i) crc = (crc >> 8) ^ kTables[0][crc & 0xff];
      column[bit] = crc;
    }
    for (size_t byte = 0; byte < 4; ++byte) {
      for (uint32_t value = 0; value < 256; ++value) {
        uint32_t image = 0;
        for (int bit = 0; bit < 8; ++bit) {
          if (value >> bit & 1) image ^= column[8 * byte + bit];
        }
        table[byte][value] = image;
      }
    }
  }
  uint32_t operator()(uint32_t crc) const {
    return table[0][crc & 0xff] ^ table[1][crc >> 8 & 0xff] ^ table[2][crc >> 16 & 0xff] ^
           table[3][crc >> 24];
  }
};

constexpr size_t kShortLane = 168;
const ZeroShift<kLongLane> kShiftLong;
const ZeroShift<kShortLane> kShiftShort;

#if defined(__x86_64__)
#define FB_CRC_TARGET __attribute__((target("sse4.2")))
FB_CRC_TARGET inline uint64_t Step64(uint64_t crc, uint64_t word) {
  return _mm_crc32_u64(crc, word);
}
FB_CRC_TARGET inline uint64_t Step8(uint64_t crc, uint8_t byte) {
  return _mm_crc32_u8(static_cast<uint32_t>(crc), byte);
}
bool HasInstruction() { return __builtin_cpu_supports("sse4.2"); }
#else
#define FB_CRC_TARGET __attribute__((target("+crc")))
FB_CRC_TARGET inline uint64_t Step64(uint64_t crc, uint64_t word) {
  return __crc32cd(static_cast<uint32_t>(crc), word);
}
FB_CRC_TARGET inline uint64_t Step8(uint64_t crc, uint8_t byte) {
  return __crc32cb(static_cast<uint32_t>(crc), byte);
}
bool HasInstruction() { return (getauxval(AT_HWCAP) & (1 << 7)) != 0; }  // HWCAP_CRC32
#endif

template <size_t Lane, typename Shift>
FB_CRC_TARGET uint64_t Stripes(uint64_t crc, const uint8_t*& data, size_t& bytes,
                               const Shift& shift) {
  while (bytes >= 3 * Lane) {
    uint64_t second = 0;
    uint64_t third = 0;
    for (size_t i = 0; i < Lane; i += 8) {
      crc = Step64(crc, Load64(data + i));
      second = Step64(second, Load64(data + Lane + i));
      third = Step64(third, Load64(data + 2 * Lane + i));
    }
    crc = shift(static_cast<uint32_t>(crc)) ^ second;
    crc = shift(static_cast<uint32_t>(crc)) ^ third;
    data += 3 * Lane;
    bytes -= 3 * Lane;
  }
  return crc;
}

FB_CRC_TARGET uint32_t RawInstruction(uint32_t start, const uint8_t* data, size_t bytes) {
  uint64_t crc = Stripes<kLongLane>(start, data, bytes, kShiftLong);
  crc = Stripes<kShortLane>(crc, data, bytes, kShiftShort);
  for (; bytes >= 8; data += 8, bytes -= 8) crc = Step64(crc, Load64(data));
  for (; bytes > 0; ++data, --bytes) crc = Step8(crc, *data);
  return static_cast<uint32_t>(crc);
}

#else
bool HasInstruction() { return false; }
uint32_t RawInstruction(uint32_t crc, const uint8_t* data, size_t bytes) {
  return RawTable(crc, data, bytes);
}
#endif

#if defined(__x86_64__)

#define FB_FOLD_TARGET __attribute__((target("sse4.2,avx512f,avx512vl,pclmul,vpclmulqdq")))

bool HasFold() {
  return HasInstruction() && __builtin_cpu_supports("avx512f") &&
         __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("vpclmulqdq");
}

// x^n modulo the polynomial, as a factor for the carry-less product of bit-reflected 64-bit halves.
// Bit i of a half stands for x^(63-i), and of their product for x^(126-i) where the 128-bit result
// wants x^(127-i): the product of two reflected values is one power of x ahead.
constexpr uint64_t Power(int n) {
  uint32_t value = 1u << 31;  // x^0
  for (int i = 0; i < n; ++i) value = (value >> 1) ^ ((value & 1) ? kPolynomial : 0);
  return uint64_t{value} << 32;
}

// Moves 128 bits ahead by `Bits`: the first eight bytes of a lane are its higher powers.
template <int Bits>
constexpr std::array<uint64_t, 2> kFold = {Power(Bits + 63), Power(Bits - 1)};

template <int Bits>
FB_FOLD_TARGET inline __m512i Fold(__m512i lanes, __m512i next) {
  const __m512i factor =
      _mm512_broadcast_i32x4(_mm_loadu_si128(reinterpret_cast<const __m128i*>(kFold<Bits>.data())));
  const __m512i high = _mm512_clmulepi64_epi128(lanes, factor, 0x00);
  const __m512i low = _mm512_clmulepi64_epi128(lanes, factor, 0x11);
  return _mm512_ternarylogic_epi64(high, low, next, 0x96);  // the sum of all three
}

template <int Bits>
FB_FOLD_TARGET inline __m128i Fold(__m128i lane) {
  const __m128i factor = _mm_loadu_si128(reinterpret_cast<const __m128i*>(kFold<Bits>.data()));
  return _mm_xor_si128(_mm_clmulepi64_si128(lane, factor, 0x00),
                       _mm_clmulepi64_si128(lane, factor, 0x11));
}

// Bytes to prefetch ahead: 15 instead of 11 GB/s from memory on the build machine.
constexpr size_t kAhead = 1024;

// Folds the message into 16 bytes with the same remainder: V. Gopal et al., "Fast CRC Computation
// for Generic Polynomials Using PCLMULQDQ Instruction" (Intel, 2009), on four lanes of four. What
// is `Copied` goes to `to`, which is at a multiple of 64, past the cache.
template <bool Copied>
FB_FOLD_TARGET uint32_t FoldAll(uint32_t crc, const uint8_t* data, size_t bytes, uint8_t* to) {
  const auto take = [&](size_t at) FB_FOLD_TARGET {
    _mm_prefetch(reinterpret_cast<const char*>(data + at + kAhead), _MM_HINT_T0);
    const __m512i lanes = _mm512_loadu_si512(data + at);
    if constexpr (Copied) _mm512_stream_si512(reinterpret_cast<__m512i*>(to + at), lanes);
    return lanes;
  };
  size_t done = 0;
  if (bytes >= 256) {
    __m512i a =
        _mm512_xor_si512(take(0), _mm512_zextsi128_si512(_mm_cvtsi32_si128(static_cast<int>(crc))));
    __m512i b = take(64), c = take(128), d = take(192);
    for (done = 256; bytes - done >= 256; done += 256) {
      a = Fold<2048>(a, take(done));
      b = Fold<2048>(b, take(done + 64));
      c = Fold<2048>(c, take(done + 128));
      d = Fold<2048>(d, take(done + 192));
    }
    a = Fold<512>(Fold<512>(Fold<512>(a, b), c), d);
    for (; bytes - done >= 64; done += 64) a = Fold<512>(a, take(done));
    const __m128i one = _mm_xor_si128(
        _mm_xor_si128(Fold<384>(_mm512_extracti32x4_epi32(a, 0)),
                      Fold<256>(_mm512_extracti32x4_epi32(a, 1))),
        _mm_xor_si128(Fold<128>(_mm512_extracti32x4_epi32(a, 2)), _mm512_extracti32x4_epi32(a, 3)));
    alignas(16) uint8_t folded[16];
    _mm_store_si128(reinterpret_cast<__m128i*>(folded), one);
    crc = RawInstruction(0, folded, sizeof(folded));
  }
  if constexpr (Copied) {
    std::memcpy(to + done, data + done, bytes - done);
    _mm_sfence();  // streaming stores are not ordered with later ones, such as a lock's release
  }
  return RawInstruction(crc, data + done, bytes - done);
}

uint32_t RawFold(uint32_t crc, const uint8_t* data, size_t bytes) {
  return FoldAll<false>(crc, data, bytes, nullptr);
}

uint32_t RawFoldCopy(uint32_t crc, const uint8_t* data, size_t bytes, uint8_t* to) {
  return FoldAll<true>(crc, data, bytes, to);
}

#ifdef FB_CHECKSUM_SWITCH
__attribute__((target("avx512f"))) void CopyPastCache(const uint8_t* data, size_t bytes,
                                                      uint8_t* to) {
  size_t done = 0;
  for (; HasFold() && bytes - done >= 64; done += 64) {
    _mm_prefetch(reinterpret_cast<const char*>(data + done + kAhead), _MM_HINT_T0);
    _mm512_stream_si512(reinterpret_cast<__m512i*>(to + done), _mm512_loadu_si512(data + done));
  }
  std::memcpy(to + done, data + done, bytes - done);
  _mm_sfence();
}
#endif

#else
#ifdef FB_CHECKSUM_SWITCH
void CopyPastCache(const uint8_t* data, size_t bytes, uint8_t* to) { std::memcpy(to, data, bytes); }
#endif

bool HasFold() { return false; }
uint32_t RawFold(uint32_t crc, const uint8_t* data, size_t bytes) {
  return RawInstruction(crc, data, bytes);
}
uint32_t RawFoldCopy(uint32_t crc, const uint8_t* data, size_t bytes, uint8_t* to) {
  std::memcpy(to, data, bytes);
  return RawFold(crc, data, bytes);
}
#endif

}  // namespace

std::vector<CrcImplementation> CrcImplementations() {
  std::vector<CrcImplementation> found = {{"table", RawTable}};
  if (HasInstruction()) found.push_back({"instruction", RawInstruction});
  if (HasFold()) found.push_back({"fold", RawFold});
  return found;
}

#ifdef FB_CHECKSUM_SWITCH
namespace {

std::atomic<bool> checksums_on{true};

uint32_t RawNothing(uint32_t crc, const uint8_t*, size_t) { return crc; }

uint32_t RawCopyOnly(uint32_t crc, const uint8_t* data, size_t bytes, uint8_t* to) {
  CopyPastCache(data, bytes, to);
  return crc;
}

}  // namespace

void SwitchChecksums(bool on) { checksums_on = on; }
#endif

CrcFunction RawCrc32c() {
#ifdef FB_CHECKSUM_SWITCH
  if (!checksums_on) return RawNothing;
#endif
  static const CrcFunction fastest = CrcImplementations().back().function;
  return fastest;
}

CrcCopyFunction RawCopyCrc32c() {
#ifdef FB_CHECKSUM_SWITCH
  if (!checksums_on) return RawCopyOnly;
#endif
  static const CrcCopyFunction function = HasFold() ? RawFoldCopy : nullptr;
  return function;
}

}  // namespace flightbridge::segment
