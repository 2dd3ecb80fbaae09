// What a fetcher fetches next: a plan made beforehand, or splits as they are leased.
#pragma once

#include <optional>
#include <utility>

#include <arrow/result.h>

#include "plan/remainder.h"
#include "plan/schedule.h"

namespace flightbridge::batch {

class UnitSource {
 public:
  virtual ~UnitSource() = default;
  // nullopt at the end. May block; for one thread at a time.
  virtual arrow::Result<std::optional<plan::Unit>> Next() = 0;
  // Wakes a blocked Next(); every later one fails. From any thread.
  virtual void Cancel() = 0;
};

// What is left of epochs that were begun with other shards, if anything, then `schedule`.
class PlannedUnits : public UnitSource {
 public:
  PlannedUnits(std::optional<plan::RemainderSchedule> remainder, plan::Schedule schedule)
      : remainder_(std::move(remainder)), schedule_(std::move(schedule)) {}
  arrow::Result<std::optional<plan::Unit>> Next() override {
    if (remainder_) {
      if (auto unit = remainder_->Next()) return unit;
    }
    auto unit = schedule_.Next();
    if (unit && remainder_) unit->group += remainder_->groups();
    return unit;
  }
  void Cancel() override {}

 private:
  std::optional<plan::RemainderSchedule> remainder_;
  plan::Schedule schedule_;
};

}  // namespace flightbridge::batch
