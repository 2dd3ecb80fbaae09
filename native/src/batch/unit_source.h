// What a fetcher fetches next: a plan made beforehand, or splits as they are leased.
#pragma once

#include <optional>
#include <utility>

#include <arrow/result.h>

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

class PlannedUnits : public UnitSource {
 public:
  explicit PlannedUnits(plan::Schedule schedule) : schedule_(std::move(schedule)) {}
  arrow::Result<std::optional<plan::Unit>> Next() override { return schedule_.Next(); }
  void Cancel() override {}

 private:
  plan::Schedule schedule_;
};

}  // namespace flightbridge::batch
