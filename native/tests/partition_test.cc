#include "feed/partition.h"

#include <arrow/api.h>
#include <gtest/gtest.h>

#include "segment/checksum.h"
#include "segment/ipc_message.h"
#include "testing/batches.h"
#include "testing/store.h"

namespace flightbridge::feed {
namespace {

using testing::Batches;
using testing::Numbered;
using testing::TestStore;

TEST(Partition, EveryTypeComesBackEqualAndAligned) {
  TestStore store;
  int feed = 0;
  for (const auto& [name, batch] : testing::BatchesOfManyTypes()) {
    SCOPED_TRACE(name);
    const auto snapshot = store.Write("f" + std::to_string(feed++), {Batches{batch, batch}});
    const Partition& partition = *snapshot->partitions.at(0);
    EXPECT_EQ(partition.batches, 2);
    EXPECT_EQ(partition.rows, 2 * batch->num_rows());
    int decoded = 0;
    for (size_t i = 0; i < partition.messages.size(); ++i) {
      const StoredMessage& message = partition.messages[i];
      const auto parsed = segment::IpcMessage::Parse(*message.metadata).ValueOrDie();
      EXPECT_EQ(parsed.body_length, message.body->size());
      EXPECT_EQ(message.body->address() % 64, 0u);
      for (const auto& buffer : parsed.buffers) EXPECT_EQ(buffer.offset % 64, 0);
      EXPECT_EQ(*parsed.Checksum(message.body->data(), message.body->size()), message.crc32c);
      if (message.is_dictionary) continue;
      ++decoded;
      const auto read = partition.Decode(i);
      ASSERT_TRUE(read.ok()) << read.status();
      ASSERT_TRUE((*read)->ValidateFull().ok());
      EXPECT_TRUE((*read)->Equals(*batch)) << (*read)->ToString() << batch->ToString();
      EXPECT_EQ(message.crc32c, *segment::BatchChecksum(*batch));
    }
    EXPECT_EQ(decoded, 2);
  }
}

std::shared_ptr<arrow::RecordBatch> Coded(const std::string& indices, const std::string& words) {
  return testing::OneColumn(arrow::json::DictArrayFromJSONString(
                                arrow::dictionary(arrow::int32(), arrow::utf8()), indices, words)
                                .ValueOrDie());
}

TEST(Partition, DictionariesMayBeReplacedWithinAStream) {
  TestStore store;
  const auto first = Coded("[0, 1, 1]", R"(["a", "b"])");
  const auto second = Coded("[2, 0, null]", R"(["x", "y", "z"])");
  const auto snapshot = store.Write("f", {Batches{first, first, second, first}});
  const Partition& partition = *snapshot->partitions.at(0);
  std::vector<std::shared_ptr<arrow::RecordBatch>> read;
  int dictionaries = 0;
  for (size_t i = 0; i < partition.messages.size(); ++i) {
    if (partition.messages[i].is_dictionary) {
      ++dictionaries;
      EXPECT_FALSE(partition.Decode(i).ok());
    } else {
      read.push_back(partition.Decode(i).ValueOrDie());
    }
  }
  EXPECT_EQ(dictionaries, 3) << "one for each change, none for the repeat";
  ASSERT_EQ(read.size(), 4u);
  EXPECT_TRUE(read[0]->Equals(*first));
  EXPECT_TRUE(read[1]->Equals(*first));
  EXPECT_TRUE(read[2]->Equals(*second));
  EXPECT_TRUE(read[3]->Equals(*first));
  EXPECT_EQ(partition.FindBatch(0), 1u) << "dictionaries hold no rows";
  EXPECT_FALSE(partition.messages[partition.FindBatch(6)].is_dictionary);
}

TEST(Partition, NestedDictionaries) {
  TestStore store;
  const auto coded = Coded("[1, 0, 1, null]", R"(["a", "b"])")->column(0);
  const auto nested =
      arrow::StructArray::Make(arrow::ArrayVector{coded, coded}, std::vector<std::string>{"p", "q"})
          .ValueOrDie();
  const auto batch = testing::OneColumn(nested);
  const auto snapshot = store.Write("f", {Batches{batch}});
  const Partition& partition = *snapshot->partitions.at(0);
  EXPECT_TRUE(partition.Decode(partition.messages.size() - 1).ValueOrDie()->Equals(*batch));
}

TEST(Partition, FindBatchSkipsEmptyBatches) {
  TestStore store;
  const auto snapshot = store.Write("f", {Batches{Numbered(0, 0), Numbered(0, 3), Numbered(3, 0),
                                                  Numbered(3, 1), Numbered(4, 0), Numbered(4, 5)}});
  const Partition& partition = *snapshot->partitions.at(0);
  EXPECT_EQ(partition.batches, 6);
  const size_t expected[] = {1, 1, 1, 3, 5, 5, 5, 5, 5};
  for (int64_t row = 0; row < 9; ++row) {
    const size_t i = partition.FindBatch(row);
    EXPECT_EQ(i, expected[row]) << row;
    EXPECT_LE(partition.messages[i].row_begin, row);
  }
}

TEST(Partition, BatchWithoutColumns) {
  TestStore store;
  const auto batch = arrow::RecordBatch::Make(arrow::schema({}), 7, arrow::ArrayVector{});
  const auto snapshot = store.Write("f", {Batches{batch}});
  EXPECT_EQ(snapshot->rows, 7);
  EXPECT_EQ(snapshot->partitions.at(0)->Decode(0).ValueOrDie()->num_rows(), 7);
}

TEST(Partition, OutOfRangeIsAnError) {
  TestStore store;
  const auto snapshot = store.Write("f", {Batches{Numbered(0, 3)}});
  EXPECT_EQ(CodeOf(snapshot->partitions.at(0)->Decode(1).status()), Code::kInvalidArgument);
  const auto missing = snapshot->Find(5).status();
  EXPECT_EQ(CodeOf(missing), Code::kNotFound);
  EXPECT_EQ(missing.message(),
            "feed 'f' has no partition 5: it has 1 partitions, numbered from 0 to 0");
}

// Sliced buffers and recycled pages: bytes between buffers are zeros, never another feed's data.
TEST(Partition, PaddingIsZeroAlsoInRecycledPages) {
  TestStore store;
  store.Write("secret",
              {Batches{testing::FromJson(arrow::utf8(), "[\"" + std::string(5000, 's') + "\"]")}});
  ASSERT_TRUE(store->DropFeed({"secret", false}).ok());
  const auto batch = testing::FromJson(arrow::int8(), "[1, 2, 3]");
  const auto snapshot = store.Write("f", {Batches{batch}});
  const auto body = snapshot->partitions.at(0)->messages.at(0).body;
  ASSERT_EQ(body->size(), 64);
  for (int64_t i = 3; i < 64; ++i) EXPECT_EQ(body->data()[i], 0) << i;
}

}  // namespace
}  // namespace flightbridge::feed
