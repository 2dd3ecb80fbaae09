#include "client/mapped_chunks.h"

#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <utility>

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
  Mapping(uint8_t* data, int64_t bytes) : data_(data), bytes_(bytes) {}
  ~Mapping() { munmap(data_, static_cast<size_t>(bytes_)); }
  Mapping(const Mapping&) = delete;
  Mapping& operator=(const Mapping&) = delete;
  uint8_t* data() const { return data_; }
  int64_t bytes() const { return bytes_; }

 private:
  uint8_t* data_;
  int64_t bytes_;
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
  const Mapping& mapping = *found->second;
  if (place < 0 || bytes < 0 || place > mapping.bytes() || bytes > mapping.bytes() - place) {
    return Error(Code::kDataLoss, "a message lies outside of its segment");
  }
  uint8_t* const data = mapping.data() + place;
  // One call for all its page faults. The pages are there, so nothing is read or made for it.
  static const auto page = static_cast<uintptr_t>(sysconf(_SC_PAGESIZE));
  const auto begin = reinterpret_cast<uintptr_t>(data) & ~(page - 1);
  const auto end = reinterpret_cast<uintptr_t>(data) + static_cast<uintptr_t>(bytes);
  if (bytes > 0 && madvise(reinterpret_cast<void*>(begin), end - begin, MADV_POPULATE_READ) != 0 &&
      (errno == EFAULT || errno == EHWPOISON)) {
    return Error(Code::kDataLoss,
                 "a message's segment file was cut under the server: write the feed again");
  }
  return std::make_shared<Borrowed>(data, bytes, found->second, std::move(lender), loan);
}

}  // namespace flightbridge::client
