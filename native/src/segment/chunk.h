// One shared mapping that segments are cut from: a memfd or a file. Private to segment/.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <string>

#include <arrow/result.h>
#include <arrow/status.h>

#include "segment/extent_map.h"

namespace flightbridge::segment {

// The owner locks `free`; all the rest is immutable or thread-safe by the kernel.
class Chunk {
 public:
  // An anonymous file in memory; no page of it is touched yet.
  static arrow::Result<std::shared_ptr<Chunk>> InMemory(uint64_t id, int64_t size);
  // A new, sparse file (mode 0600); fails where it exists.
  static arrow::Result<std::shared_ptr<Chunk>> CreateFile(uint64_t id, const std::string& path,
                                                          int64_t size);
  static arrow::Result<std::shared_ptr<Chunk>> OpenFile(uint64_t id, const std::string& path);
  ~Chunk();
  Chunk(const Chunk&) = delete;
  Chunk& operator=(const Chunk&) = delete;

  uint64_t id() const { return id_; }
  int64_t size() const { return size_; }
  uint8_t* data() const { return data_; }
  bool in_memory() const { return path_.empty(); }
  const std::string& path() const { return path_; }
  // A descriptor of its own, which cannot be used to write.
  arrow::Result<int> OpenReadOnly() const;

  // DATA_LOSS where the file no longer has, or once did not have, the range: somebody cut it under
  // this process, and touching what is gone would end it (SIGBUS). One system call; none in memory.
  arrow::Status CheckWhole(int64_t offset, int64_t length);
  bool whole() { return CheckWhole(0, size_).ok(); }

  // Gets memory or disk blocks for the range and faults it in, so that no write to it can fail
  // later. RESOURCE_EXHAUSTED where there is no room.
  arrow::Status Populate(int64_t offset, int64_t length);
  // Gives memory or disk blocks of the range back; it reads as zeros until populated again.
  void Discard(int64_t offset, int64_t length);
  // Makes the range durable; a no-op in memory. Fails for good once the disk has lost a page.
  arrow::Status Sync(int64_t offset, int64_t length);

  // Files only. Starts writing the range to disk, without waiting.
  void StartWriting(int64_t offset, int64_t length);
  // Files only. Writes the range to disk and lets its pages go, mapped and cached ones.
  void Evict(int64_t offset, int64_t length);
  // Files only. Unmaps the range; what is cached of it stays with the system.
  void Unmap(int64_t offset, int64_t length);
  // Files only. Starts reading the range from disk, without waiting.
  void ReadAhead(int64_t offset, int64_t length);
  // Files only. Reads and maps the range. DATA_LOSS where the file is no longer whole.
  arrow::Status Load(int64_t offset, int64_t length);

  ExtentMap free;

 private:
  Chunk(uint64_t id, std::string path, int fd, uint8_t* data, int64_t size)
      : free(size),
        id_(id),
        path_(std::move(path)),
        fd_(fd),
        data_(data),
        size_(size),
        uncut_(size) {}
  static arrow::Result<std::shared_ptr<Chunk>> Map(uint64_t id, const std::string& path, int fd,
                                                   int64_t size);

  uint64_t id_;
  std::string path_;
  int fd_;
  uint8_t* data_;
  int64_t size_;
  std::atomic<int64_t> uncut_;       // what the file had throughout: zeros may follow it by now
  std::atomic<int> write_error_{0};  // the first errno of a write to disk that nobody waited for
};

int64_t PageBytes();

}  // namespace flightbridge::segment
