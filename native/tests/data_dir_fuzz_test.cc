// native/fuzz/data_dir_fuzz.cc over mutations of a valid directory. `make fuzz` runs it for long
// under sanitizers.
#include <gtest/gtest.h>

#define FB_FUZZ_ENTRY FuzzDataDir
#include "../fuzz/data_dir_fuzz.cc"
#undef FB_FUZZ_ENTRY

#include "testing/mutations.h"

namespace flightbridge {
namespace {

std::string Seed(int how, const std::string& bytes) {
  return std::string(1, static_cast<char>(how)) + bytes;
}

std::string Payloads(const std::string& journal) {
  std::string payloads;
  const auto scanned = segment::ScanJournal(journal, "journal", [&](std::string_view payload) {
    payloads.push_back(static_cast<char>(payload.size() & 255));
    payloads.push_back(static_cast<char>(payload.size() >> 8));
    payloads.append(payload);
    return arrow::Status::OK();
  });
  EXPECT_TRUE(scanned.ok()) << scanned.status();
  return payloads;
}

TEST(DataDirFuzz, AnotherFileThanWasWritten) {
  const fuzz::Original& original = fuzz::Original::Get();
  const std::vector<std::string> seeds = {
      Seed(0, original.journal),
      Seed(fuzz::kSealed, Payloads(original.journal)),
      Seed(fuzz::kSegmentFile | fuzz::kKeepSize, original.segment),
      Seed(fuzz::kSegmentFile | fuzz::kKeepSize | fuzz::kSealed, original.segment),
      Seed(fuzz::kSegmentFile, original.segment),
  };
  for (size_t i = 0; i < 4; ++i) {  // each is whole
    const int64_t before = fuzz::batches_read;
    FuzzDataDir(reinterpret_cast<const uint8_t*>(seeds[i].data()), seeds[i].size());
    EXPECT_EQ(fuzz::batches_read, before + 9) << i;
  }
  testing::RunMutations(&FuzzDataDir, seeds, 400);
  EXPECT_GT(fuzz::batches_read, 150);
  EXPECT_GT(fuzz::refused, 20);
  std::filesystem::remove_all(original.directory);
}

}  // namespace
}  // namespace flightbridge
