#include "client/mapped_chunks.h"

#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>
#include <vector>

#include "client/channel_pool.h"
#include "flightbridge/error.h"

#ifndef MADV_POPULATE_READ
#define MADV_POPULATE_READ 22  // Linux 5.14
#endif

namespace flightbridge::client {
namespace {

// A message that is read where it lies.
class Borrowed : public arrow::Buffer {
 public:
  Borrowed(const uint8_t* data, int64_t size, std::shared_ptr<void> mapping,
           std::shared_ptr<DataChannel> lender, uint64_t loan)
      : arrow::Buffer(data, size),
        mapping_(std::move(mapping)),
        lender_(std::move(lender)),
        loan_(loan) {}
  ~Borrowed() override { lender_->Release(loan_); }

 private:
  std::shared_ptr<void> mapping_;
  std::shared_ptr<DataChannel> lender_;
  uint64_t loan_;
};

}  // namespace

class MappedChunks::Mapping {
 public:
  Mapping(uint8_t* data, int64_t bytes)
      : data_(data), bytes_(bytes), present_(static_cast<size_t>(bytes / PageBytes() + 1)) {}
  ~Mapping() { munmap(data_, static_cast<size_t>(bytes_)); }
  Mapping(const Mapping&) = delete;
  Mapping& operator=(const Mapping&) = delete;
  uint8_t* data() const { return data_; }
  int64_t bytes() const { return bytes_; }

  // Makes the page table entries of these bytes, all in one call. False where the file ends before
  // them. The kernel goes through every page of a range, also where there is nothing to do for it,
  // so that is asked for once; from then on the last page tells whether the file was cut.
  bool BringIn(int64_t place, int64_t bytes) {
    if (bytes == 0) return true;
    const int64_t first = place / PageBytes();
    const int64_t last = (place + bytes - 1) / PageBytes();
    const auto begin = present_.begin() + first;
    const auto end = present_.begin() + last + 1;
    const bool known = std::find(begin, end, false) == end;
    if (!IsThere(known ? last : first, last)) return false;
    std::fill(begin, end, true);
    return true;
  }

 private:
  static int64_t PageBytes() {
    static const int64_t bytes = sysconf(_SC_PAGESIZE);
    return bytes;
  }

  // What older kernels do not know is left to the page faults.
  bool IsThere(int64_t first_page, int64_t last_page) const {
    return madvise(data_ + first_page * PageBytes(),
                   static_cast<size_t>((last_page - first_page + 1) * PageBytes()),
                   MADV_POPULATE_READ) == 0 ||
           (errno != EFAULT && errno != EHWPOISON);
  }

  uint8_t* data_;
  int64_t bytes_;
  std::vector<bool> present_;  // pages that were brought in
};

arrow::Status MappedChunks::Add(uint64_t chunk, channel::Fd fd) {
  struct stat facts = {};
  if (!fd || fstat(fd.get(), &facts) != 0 || facts.st_size <= 0) {
    return Error(Code::kInternal, "the server named a segment and did not pass it");
  }
  void* data =
      mmap(nullptr, static_cast<size_t>(facts.st_size), PROT_READ, MAP_SHARED, fd.get(), 0);
  if (data == MAP_FAILED) {
    return Error(Code::kResourceExhausted, "cannot map a segment of ", facts.st_size,
                 " bytes: ", std::strerror(errno), "; use transport=\"channel\"");
  }
  madvise(data, static_cast<size_t>(facts.st_size), MADV_DONTDUMP);
  chunks_[chunk] = std::make_shared<Mapping>(static_cast<uint8_t*>(data), facts.st_size);
  return arrow::Status::OK();
}

arrow::Result<std::shared_ptr<arrow::Buffer>> MappedChunks::Borrow(
    uint64_t chunk, int64_t place, int64_t bytes, std::shared_ptr<DataChannel> lender,
    uint64_t loan) {
  const auto found = chunks_.find(chunk);
  if (found == chunks_.end()) return Error(Code::kInternal, "a segment was not passed");
  Mapping& mapping = *found->second;
  if (place < 0 || bytes < 0 || place > mapping.bytes() || bytes > mapping.bytes() - place) {
    return Error(Code::kDataLoss, "a message lies outside of its segment");
  }
  if (!mapping.BringIn(place, bytes)) {
    return Error(Code::kDataLoss,
                 "a message's segment file was cut under the server: write the feed again");
  }
  return std::make_shared<Borrowed>(mapping.data() + place, bytes, found->second, std::move(lender),
                                    loan);
}

}  // namespace flightbridge::client
