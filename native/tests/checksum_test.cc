#include "segment/checksum.h"

#include <cstring>
#include <numeric>
#include <random>
#include <vector>

#include <arrow/api.h>
#include <arrow/io/memory.h>
#include <arrow/ipc/api.h>
#include <gtest/gtest.h>

#include "segment/checksum_internal.h"
#include "testing/batches.h"

namespace flightbridge::segment {
namespace {

std::vector<uint8_t> RandomBytes(size_t size, uint32_t seed) {
  std::mt19937 random(seed);
  std::vector<uint8_t> bytes(size);
  for (uint8_t& byte : bytes) byte = static_cast<uint8_t>(random());
  return bytes;
}

TEST(Checksum, Chains) {
  const auto bytes = RandomBytes(20000, 2);
  const uint32_t whole = Crc32c(0, bytes.data(), bytes.size());
  for (const size_t cut : {0u, 1u, 7u, 504u, 4080u, 9999u, 20000u}) {
    EXPECT_EQ(Crc32c(Crc32c(0, bytes.data(), cut), bytes.data() + cut, bytes.size() - cut), whole);
  }
}

TEST(Checksum, CopyCopiesExactlyAndChecksums) {
  const auto bytes = RandomBytes(200'000, 3);
  std::vector<uint8_t> target(bytes.size() + 128);
  for (const size_t size :
       {0u, 1u, 63u, 64u, 4095u, 4096u, 4097u, 32767u, 32768u, 33333u, 150'001u}) {
    for (const size_t to : {0u, 1u, 16u, 33u, 64u}) {
      for (const size_t from : {0u, 3u, 16u}) {
        std::fill(target.begin(), target.end(), 0xa5);
        ASSERT_EQ(CopyCrc32c(9, target.data() + to, bytes.data() + from, size),
                  Crc32c(9, bytes.data() + from, size));
        ASSERT_EQ(std::memcmp(target.data() + to, bytes.data() + from, size), 0);
        for (size_t i = 0; i < to; ++i) ASSERT_EQ(target[i], 0xa5);
        ASSERT_EQ(target[to + size], 0xa5) << "wrote behind the end";
      }
    }
  }
}

TEST(BatchChecksum, EqualsItsDefinition) {
  // Two rows of int32 [5, null]: one node; bitmap and data buffer.
  arrow::Int32Builder builder;
  ASSERT_TRUE(builder.Append(5).ok());
  ASSERT_TRUE(builder.AppendNull().ok());
  const auto array = builder.Finish().ValueOrDie();
  const auto batch =
      arrow::RecordBatch::Make(arrow::schema({arrow::field("x", arrow::int32())}), 2, {array});
  std::string bytes;
  const auto add = [&](int64_t value) {
    bytes.append(reinterpret_cast<const char*>(&value), sizeof(value));
  };
  add(2);  // rows
  add(2);  // node: length, null count
  add(1);
  for (const auto& buffer : array->data()->buffers) {
    add(buffer->size());
    bytes.append(reinterpret_cast<const char*>(buffer->data()),
                 static_cast<size_t>(buffer->size()));
  }
  EXPECT_EQ(*BatchChecksum(*batch), Crc32c(0, bytes.data(), bytes.size()));
}

TEST(BatchChecksum, ReceiverOfAStreamAgreesWithItsSender) {
  for (const auto& [name, batch] : testing::BatchesOfManyTypes()) {
    auto sink = arrow::io::BufferOutputStream::Create().ValueOrDie();
    auto writer = arrow::ipc::MakeStreamWriter(sink, batch->schema()).ValueOrDie();
    ASSERT_TRUE(writer->WriteRecordBatch(*batch).ok());
    ASSERT_TRUE(writer->Close().ok());
    arrow::io::BufferReader source(sink->Finish().ValueOrDie());
    auto reader = arrow::ipc::RecordBatchStreamReader::Open(&source).ValueOrDie();
    std::shared_ptr<arrow::RecordBatch> received;
    ASSERT_TRUE(reader->ReadNext(&received).ok());
    EXPECT_EQ(*BatchChecksum(*batch), *BatchChecksum(*received)) << name;
  }
}

TEST(BatchChecksum, SeesEveryFlippedByte) {
  auto batch = testing::FromJson(arrow::int64(), "[1, null, 3, 4]");
  const uint32_t before = *BatchChecksum(*batch);
  for (const auto& buffer : batch->column(0)->data()->buffers) {
    auto* bytes = const_cast<uint8_t*>(buffer->data());
    for (int64_t i = 0; i < buffer->size(); ++i) {
      bytes[i] ^= 0x10;
      EXPECT_NE(*BatchChecksum(*batch), before);
      bytes[i] ^= 0x10;
    }
  }
}

TEST(ChainChecksum, IsOverLittleEndianBytesInOrder) {
  const uint8_t bytes[8] = {0x04, 0x03, 0x02, 0x01, 0xef, 0xbe, 0xad, 0xde};
  const uint32_t chained = ChainChecksum(ChainChecksum(0, 0x01020304), 0xdeadbeef);
  EXPECT_EQ(chained, Crc32c(0, bytes, sizeof(bytes)));
  EXPECT_NE(chained, ChainChecksum(ChainChecksum(0, 0xdeadbeef), 0x01020304));
}

}  // namespace
}  // namespace flightbridge::segment
