#include "feed/feed_store.h"

#include <arrow/api.h>
#include <gtest/gtest.h>

#include "feed/schema_rules.h"

namespace flightbridge::feed {
namespace {

std::shared_ptr<arrow::RecordBatch> MakeBatch(int64_t rows) {
  arrow::Int64Builder numbers;
  arrow::StringBuilder words;
  for (int64_t i = 0; i < rows; ++i) {
    EXPECT_TRUE(numbers.Append(i).ok());
    EXPECT_TRUE((i % 3 ? words.Append("w" + std::to_string(i)) : words.AppendNull()).ok());
  }
  auto schema = arrow::schema({arrow::field("n", arrow::int64()), arrow::field("w", arrow::utf8())});
  return arrow::RecordBatch::Make(schema, rows,
                                  {numbers.Finish().ValueOrDie(), words.Finish().ValueOrDie()});
}

TEST(FeedStore, WriteCommitRead) {
  auto store = FeedStore::Open({}).ValueOrDie();
  auto batch = MakeBatch(1000);
  proto::BeginWrite begin{"f", "j", proto::WriteMode::kErrorIfExists,
                          EncodeSchema(*batch->schema()).ValueOrDie()};
  ASSERT_TRUE(store->BeginWrite(begin).ok());
  auto writer = store->OpenAttempt({"f", "j", 0, 7}, batch->schema()).ValueOrDie();
  ASSERT_TRUE(writer->Append(*batch, std::nullopt).ok());
  auto put = writer->Finish(std::nullopt).ValueOrDie();
  EXPECT_EQ(put.rows, 1000);
  EXPECT_FALSE(store->Find("f").ok());
  auto result = store->CommitWrite({"f", "j", {{0, 7, put.rows, put.batches, put.crc32c}}});
  ASSERT_TRUE(result.ok()) << result.status();
  auto snapshot = store->Find("f").ValueOrDie();
  auto read = snapshot->partitions[0]->Decode(0).ValueOrDie();
  ASSERT_TRUE(read->ValidateFull().ok());
  EXPECT_TRUE(read->Equals(*batch));
  EXPECT_TRUE(store->CommitWrite({"f", "j", {}})->already_committed);
}

}  // namespace
}  // namespace flightbridge::feed
