#include "client/buffer_pool.h"

#include <algorithm>
#include <bit>
#include <map>
#include <mutex>
#include <utility>
#include <vector>

#include <arrow/memory_pool.h>

namespace flightbridge::client {
namespace {

constexpr int64_t kSmallest = 4096;
constexpr int64_t kLargest = int64_t{1} << 48;

// Four sizes for each power of two: at most a quarter is wasted, and sizes that differ a little
// share their buffers.
int64_t SizeClass(int64_t bytes) {
  if (bytes <= kSmallest) return kSmallest;
  const int64_t step = int64_t{1} << (std::bit_width(static_cast<uint64_t>(bytes - 1)) - 3);
  return (bytes + step - 1) / step * step;
}

}  // namespace

class BufferPool::Shelf {
 public:
  explicit Shelf(int64_t max_idle_bytes) : max_idle_bytes_(max_idle_bytes) {}
  ~Shelf() {
    for (const auto& [size, data] : idle_) arrow::default_memory_pool()->Free(data, size);
  }
  Shelf(const Shelf&) = delete;
  Shelf& operator=(const Shelf&) = delete;

  arrow::Result<uint8_t*> Take(int64_t size) {
    {
      const std::lock_guard lock(mutex_);
      if (const auto found = idle_.find(size); found != idle_.end()) {
        uint8_t* const data = found->second;
        idle_.erase(found);
        idle_bytes_ -= size;
        return data;
      }
    }
    uint8_t* data = nullptr;
    ARROW_RETURN_NOT_OK(arrow::default_memory_pool()->Allocate(size, &data));
    return data;
  }

  void Return(uint8_t* data, int64_t size) {
    {
      const std::lock_guard lock(mutex_);
      if (idle_bytes_ + size <= max_idle_bytes_) {
        idle_.emplace(size, data);
        idle_bytes_ += size;
        return;
      }
    }
    arrow::default_memory_pool()->Free(data, size);
  }

 private:
  const int64_t max_idle_bytes_;
  std::mutex mutex_;
  std::multimap<int64_t, uint8_t*> idle_;  // by size
  int64_t idle_bytes_ = 0;

 public:
  // Hands its memory back when the last owner lets go.
  class Lent : public arrow::MutableBuffer {
   public:
    Lent(std::shared_ptr<Shelf> shelf, uint8_t* data, int64_t size, int64_t capacity)
        : arrow::MutableBuffer(data, size), shelf_(std::move(shelf)), capacity_bytes_(capacity) {}
    ~Lent() override { shelf_->Return(mutable_data(), capacity_bytes_); }

   private:
    std::shared_ptr<Shelf> shelf_;
    int64_t capacity_bytes_;
  };
};

BufferPool::BufferPool(int64_t max_idle_bytes) : shelf_(std::make_shared<Shelf>(max_idle_bytes)) {}

arrow::Result<std::shared_ptr<arrow::Buffer>> BufferPool::Get(int64_t bytes) {
  // More than any machine has; its size class could be more than an int64.
  if (bytes < 0 || bytes > kLargest)
    return arrow::Status::OutOfMemory("a body of ", bytes, " bytes");
  const int64_t size = SizeClass(bytes);
  ARROW_ASSIGN_OR_RAISE(uint8_t* const data, shelf_->Take(size));
  return std::make_shared<Shelf::Lent>(shelf_, data, bytes, size);
}

}  // namespace flightbridge::client
