// Rows that leave memory for the disk and come back are checked like those of an earlier run.
#include <fcntl.h>
#include <unistd.h>

#include <gtest/gtest.h>

#include "flightbridge/error.h"
#include "testing/batches.h"
#include "testing/store.h"

namespace flightbridge::feed {
namespace {

using testing::Batches;
using testing::Numbered;
using testing::RowsOf;

std::string SegmentPath(const std::string& data_dir, uint64_t chunk) {
  std::string digits = std::to_string(chunk);
  return data_dir + "/segments/" + std::string(8 - digits.size(), '0') + digits + ".seg";
}

TEST(Damage, ByteFlippedOnDiskWhileTheServerRunsIsNeverServed) {
  testing::TempDir dir;
  testing::TestStore store(4 << 20, dir.path());
  const auto bad = store.Write("bad", {Batches{Numbered(0, 50'000)}});
  for (int i = 0; i < 6; ++i) {  // more than memory holds, so that the first feed leaves it
    store.Write("more" + std::to_string(i), {Batches{Numbered(0, 100'000)}});
  }
  const segment::SegmentRef ref = bad->partitions[0]->segments.at(0);
  const int fd = open(SegmentPath(dir.path(), ref.chunk).c_str(), O_RDWR);
  ASSERT_GE(fd, 0);
  char byte = 0;
  ASSERT_EQ(pread(fd, &byte, 1, ref.offset + ref.used / 2), 1);
  byte = static_cast<char>(byte ^ 1);
  ASSERT_EQ(pwrite(fd, &byte, 1, ref.offset + ref.used / 2), 1);
  close(fd);
  const auto status = bad->partitions[0]->Decode(0).status();
  EXPECT_EQ(CodeOf(status), Code::kDataLoss) << status;
  for (const char* const word : {"'bad'", "partition 0", "write the feed again"}) {
    EXPECT_NE(status.message().find(word), std::string::npos) << word << " in: " << status;
  }
  EXPECT_EQ(CodeOf(bad->partitions[0]->Verify(0)), Code::kDataLoss) << "nor sent as it is";
  EXPECT_EQ(RowsOf(*store->Find("more0").ValueOrDie()).size(), 100'000u) << "the others are whole";
}

}  // namespace
}  // namespace flightbridge::feed
