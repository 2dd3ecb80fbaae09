#include "batch/assembler.h"

#include <algorithm>
#include <iterator>
#include <utility>

#include "flightbridge/error.h"

namespace flightbridge::batch {

arrow::Status Assembler::Run() {
  for (;;) {
    ARROW_ASSIGN_OR_RAISE(const plan::Unit* unit, fetcher_->NextUnit());
    if (unit == nullptr) return EmitShort();
    if (unit->epoch != epoch_) {
      ARROW_RETURN_NOT_OK(EmitShort());
      epoch_ = unit->epoch;
      cursor_ = unit->cursor;
    }
    if (unit->rows == 0) {
      ARROW_RETURN_NOT_OK(EmitShort());
    }
    if (unit->split >= 0) splits_.push_back({unit->split, unit->split_cursor, unit->take});
    ARROW_RETURN_NOT_OK(TakeUnit(*unit));
  }
}

arrow::Status Assembler::TakeUnit(const plan::Unit& unit) {
  for (;;) {
    ARROW_ASSIGN_OR_RAISE(std::unique_ptr<Chunk> chunk, fetcher_->NextChunk());
    if (chunk == nullptr) break;
    const bool in_order = !unit.shuffle && chunk->picks == nullptr;
    window_.push_back(std::move(chunk));
    if (!in_order) continue;
    Part part;
    part.table = std::make_shared<const ChunkTable>(std::exchange(window_, {}), layouts_.size());
    part.count = part.table->rows();
    ARROW_RETURN_NOT_OK(Add(std::move(part)));
  }
  if ((!unit.shuffle && unit.full == nullptr) || !unit.group_end || window_.empty()) return {};
  const auto picks = window_.front()->picks;
  auto table = std::make_shared<ChunkTable>(std::exchange(window_, {}), layouts_.size());
  if (picks != nullptr) {
    table->Arrange(picks->order);
  } else {
    table->Shuffle(*unit.shuffle);
  }
  Part part;
  part.rows = table->order().data();
  part.first = unit.skip;
  part.count = unit.take;
  part.table = std::move(table);
  return Add(std::move(part));
}

// Adds rows to the batch being filled, and hands out every batch that gets full.
arrow::Status Assembler::Add(Part part) {
  while (part.count > 0) {
    Part taken = part;
    taken.count = std::min(part.count, options_.batch_size - filled_rows_);
    if (part.rows != nullptr) taken.rows = part.rows + part.first;
    part.first += taken.count;
    part.count -= taken.count;
    filled_rows_ += taken.count;
    parts_.push_back(std::move(taken));
    if (filled_rows_ < options_.batch_size) break;
    full_.push_back(std::exchange(parts_, {}));
    filled_rows_ = 0;
    const bool more = part.rows != nullptr && part.count >= options_.batch_size;
    if (!more || std::ssize(full_) >= options_.at_once) ARROW_RETURN_NOT_OK(Emit());
  }
  return arrow::Status::OK();
}

// Gathers the batches that are full, and hands them out.
arrow::Status Assembler::Emit() {
  std::vector<BatchPtr> batches;
  arrow::Status status = Assemble(layouts_, full_, pool_, &batches);
  full_.clear();
  for (BatchPtr& batch : batches) {
    ReadyBatch ready = TakeRows(batch->rows());
    ready.batch = std::move(batch);
    if (!queue_->Push(std::move(ready))) {
      return Error(Code::kCancelled, "the reader was cancelled");
    }
  }
  return status;
}

// What there is, though it does not fill a batch; or, where that is left out, only the word that
// its splits are done with.
arrow::Status Assembler::EmitShort() {
  if (filled_rows_ == 0) return arrow::Status::OK();
  if (!options_.drop_short) {
    full_.push_back(std::exchange(parts_, {}));
    filled_rows_ = 0;
    return Emit();
  }
  ReadyBatch ready = TakeRows(filled_rows_);
  filled_rows_ = 0;
  parts_.clear();
  if (queue_->Push(std::move(ready))) return arrow::Status::OK();
  return Error(Code::kCancelled, "the reader was cancelled");
}

ReadyBatch Assembler::TakeRows(int64_t rows) {
  cursor_ += rows;
  ReadyBatch ready;
  ready.epoch = epoch_;
  ready.cursor = cursor_;
  while (rows > 0 && !splits_.empty()) {
    SplitPart& part = splits_.front();
    const int64_t taken = std::min(rows, part.rows);
    rows -= taken;
    part.cursor += taken;
    part.rows -= taken;
    if (part.rows > 0) {
      ready.current = proto::SplitCursor{part.split, part.cursor};
    } else {
      ready.finished.push_back(part.split);
      splits_.pop_front();
    }
  }
  return ready;
}

}  // namespace flightbridge::batch
