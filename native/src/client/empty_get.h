// A get of no rows: nothing to ask a server for but the schema.
#pragma once

#include <memory>
#include <utility>

#include "flightbridge/client.h"

namespace flightbridge::client {

class EmptyGet : public GetStream {
 public:
  explicit EmptyGet(std::shared_ptr<arrow::Schema> schema) : schema_(std::move(schema)) {}
  arrow::Result<std::shared_ptr<arrow::Schema>> schema() override { return schema_; }
  arrow::Result<std::shared_ptr<arrow::RecordBatch>> Next() override { return nullptr; }
  void Cancel() override {}

 private:
  const std::shared_ptr<arrow::Schema> schema_;
};

}  // namespace flightbridge::client
