// The dictionary that a reader's codes refer to.
#pragma once

#include <algorithm>
#include <memory>
#include <mutex>
#include <string>

#include <arrow/array.h>
#include <arrow/status.h>

#include "flightbridge/error.h"

namespace flightbridge::batch {

// Codes mean something only while every batch has the same dictionary, or one that goes on where an
// earlier one ended. Thread-safe.
class CodeBook {
 public:
  arrow::Status Check(const std::string& column, const std::shared_ptr<arrow::Array>& dictionary) {
    const std::lock_guard lock(mutex_);
    if (known_ == nullptr || known_ == dictionary) {
      known_ = dictionary;
      return arrow::Status::OK();
    }
    const int64_t common = std::min(known_->length(), dictionary->length());
    if (!known_->RangeEquals(*dictionary, 0, common, 0)) {
      return Error(Code::kSchemaMismatch, "column '", column, "' has batches with different ",
                   "dictionaries, so that its codes mean different values: leave it out of ",
                   "codes=[...] to read values, or write it with one dictionary");
    }
    if (dictionary->length() > known_->length()) known_ = dictionary;
    return arrow::Status::OK();
  }

 private:
  std::mutex mutex_;
  std::shared_ptr<arrow::Array> known_;
};

}  // namespace flightbridge::batch
