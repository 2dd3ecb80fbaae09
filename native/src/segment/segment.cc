#include "segment/segment.h"

#include "segment/chunk.h"
#include "segment/residency.h"

namespace flightbridge::segment {
namespace {

// A view into a segment that keeps it alive.
class SegmentBuffer : public arrow::Buffer {
 public:
  SegmentBuffer(std::shared_ptr<Segment> segment, int64_t offset, int64_t length)
      : arrow::Buffer(segment->data() + offset, length), segment_(std::move(segment)) {}

  Segment* segment() const { return segment_.get(); }

 private:
  std::shared_ptr<Segment> segment_;
};

}  // namespace

Segment::Segment(std::shared_ptr<SegmentStore> store, std::shared_ptr<Chunk> chunk, int64_t offset,
                 int64_t capacity, std::shared_ptr<Resident> resident)
    : store_(std::move(store)),
      chunk_(std::move(chunk)),
      offset_(offset),
      capacity_(capacity),
      data_(chunk_->data() + offset),
      resident_(std::move(resident)) {}

Segment::~Segment() {
  if (capacity_ > 0 || resident_ != nullptr)
    store_->Free(chunk_, offset_, capacity_, resident_.get());
}

arrow::Result<int> Segment::OpenChunk() const { return chunk_->OpenReadOnly(); }

SegmentRef Segment::ref() const { return {chunk_->id(), offset_, used_}; }

uint8_t* Segment::Allocate(int64_t bytes) {
  const int64_t offset = RoundUp(used_);
  if (bytes < 0 || offset > capacity_ || bytes > capacity_ - offset) return nullptr;
  if (resident_ != nullptr) {
    if (!chunk_->CheckWhole(offset_, capacity_).ok()) return nullptr;
    resident_->Use();
  }
  used_ = offset + bytes;
  return data_ + offset;
}

std::shared_ptr<arrow::Buffer> Segment::Slice(int64_t offset, int64_t length) {
  return std::make_shared<SegmentBuffer>(shared_from_this(), offset, length);
}

void Segment::Trim() {
  const int64_t keep = RoundUp(used_, PageBytes());
  if (keep < capacity_) {
    const int64_t length = capacity_;
    capacity_ = keep;
    store_->Cut(chunk_, offset_, length, keep, resident_.get());
  }
  if (resident_ != nullptr && keep > 0) chunk_->StartWriting(offset_, keep);
}

arrow::Status Segment::Sync() { return chunk_->Sync(offset_, used_); }

arrow::Status Segment::Touch() {
  if (resident_ == nullptr) return {};
  ARROW_RETURN_NOT_OK(chunk_->CheckWhole(offset_, capacity_));
  if (resident_->Use()) return {};
  return store_->Load(chunk_.get(), offset_, resident_.get());
}

void Segment::ReadAhead() {
  if (resident_ != nullptr && capacity_ > 0) chunk_->ReadAhead(offset_, capacity_);
}

void Segment::Unmap() {
  if (resident_ != nullptr && capacity_ > 0) chunk_->Unmap(offset_, capacity_);
}

uint32_t Segment::loads() const { return resident_ == nullptr ? 0 : resident_->loads(); }

Segment* SegmentOf(const arrow::Buffer& slice) {
  const auto* const buffer = dynamic_cast<const SegmentBuffer*>(&slice);
  return buffer == nullptr ? nullptr : buffer->segment();
}

}  // namespace flightbridge::segment
