// native/fuzz/journal_fuzz.cc over random mutations of valid input.
#include "../fuzz/journal_fuzz.cc"

#include <random>
#include <string>

#include <arrow/ipc/writer.h>
#include <gtest/gtest.h>

#include "segment/journal.h"
#include "testing/batches.h"

namespace flightbridge {
namespace {

std::string ValidJournal() {
  std::string bytes(segment::kJournalMagic);
  for (uint64_t job = 1; job < 6; ++job) {
    proto::JournalRecord record;
    record.begin = {job, "feed", "job-" + std::to_string(job), 1, std::string(40, 's'), false};
    bytes += segment::FrameRecord(record.Encode(), bytes.size());
    record = {};
    record.attempt = {job, 0, 1, 10, 1000, 1, 77, {{1, 0, 4096}, {1, 8192, 64}}};
    bytes += segment::FrameRecord(record.Encode(), bytes.size());
  }
  const std::string epoch = proto::WriterEpoch{"query", 3}.Encode();
  proto::JournalRecord begin;
  begin.begin = {6, "grown", "run", 5, std::string(40, 's'), false};
  begin.begin->feed_id = 99;
  begin.begin->epoch = epoch;
  proto::JournalRecord grown;
  grown.feed.emplace();
  grown.feed->feed = "grown";
  grown.feed->feed_id = 99;
  grown.feed->stream = grown.feed->open = true;
  grown.feed->writers = {epoch, epoch};
  proto::JournalRecord end;
  end.end_feed = {"grown", 99};
  for (const auto* record : {&begin, &grown, &end}) {
    bytes += segment::FrameRecord(record->Encode(), bytes.size());
  }
  return bytes;
}

std::string Mutate(std::string bytes, std::mt19937* random) {
  const auto below = [&](size_t n) { return n == 0 ? 0 : (*random)() % n; };
  for (size_t edits = 1 + below(4); edits > 0; --edits) {
    switch (below(4)) {
      case 0: bytes.resize(below(bytes.size() + 1)); break;
      case 1:
        bytes.insert(below(bytes.size() + 1),
                     std::string(1 + below(9), static_cast<char>((*random)())));
        break;
      case 2: bytes.erase(below(bytes.size() + 1), 1 + below(9)); break;
      default:
        if (!bytes.empty()) bytes[below(bytes.size())] = static_cast<char>((*random)());
    }
  }
  return bytes;
}

TEST(JournalFuzz, MutationsNeverCrash) {
  std::vector<std::string> seeds{ValidJournal()};
  for (const auto& [name, batch] : testing::BatchesOfManyTypes()) {
    arrow::ipc::IpcPayload payload;
    ASSERT_TRUE(
        arrow::ipc::GetRecordBatchPayload(*batch, arrow::ipc::IpcWriteOptions::Defaults(), &payload)
            .ok());
    seeds.push_back(payload.metadata->ToString());
  }
  std::mt19937 random(11);
  for (int i = 0; i < 30'000; ++i) {
    const std::string input = Mutate(seeds[random() % seeds.size()], &random);
    LLVMFuzzerTestOneInput(reinterpret_cast<const uint8_t*>(input.data()), input.size());
  }
}

TEST(JournalFuzz, MutationNeverInventsARecord) {
  const std::string valid = ValidJournal();
  std::vector<std::string> expected;
  ASSERT_EQ(*segment::ScanJournal(valid, "x",
                                  [&](std::string_view payload) {
                                    expected.emplace_back(payload);
                                    return arrow::Status::OK();
                                  }),
            static_cast<int64_t>(valid.size()));
  std::mt19937 random(12);
  int refused = 0;
  for (int i = 0; i < 5'000; ++i) {
    std::string input = valid;
    input[random() % input.size()] ^= static_cast<char>(1 + random() % 255);
    size_t seen = 0;
    const auto end = segment::ScanJournal(input, "x", [&](std::string_view payload) {
      EXPECT_LT(seen, expected.size());
      EXPECT_EQ(payload, expected[seen++]);
      return arrow::Status::OK();
    });
    if (!end.ok()) {
      ++refused;
    } else {
      // Accepted without its last record only: nothing behind that was acknowledged.
      EXPECT_EQ(seen, expected.size() - 1);
    }
  }
  EXPECT_GT(refused, 4'000);
}

}  // namespace
}  // namespace flightbridge
