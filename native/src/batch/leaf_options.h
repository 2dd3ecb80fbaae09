// The options of one leaf, out of those that a reader was given by path.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include <arrow/status.h>

#include "batch/layout.h"
#include "flightbridge/c_api.h"
#include "flightbridge/proto/commands.h"

namespace flightbridge::batch {

// Metadata of a field with MLlib vectors: how long they are, in decimal digits.
inline constexpr char kVectorSizeKey[] = "flightbridge.vector_size";

struct LeafOptions {
  std::string dtype_name;
  std::optional<fb_dtype> dtype;
  bool mask = false;
  std::optional<proto::ColumnOptions> fill;
  int64_t pad_to = 0;
  bool truncate = false;
  int64_t vector_size = 0;
  bool sparse = false;
  bool codes = false;
};

// Of the leaf at `path`: options of what it lies in hold for it, too, those nearest to it first.
LeafOptions OptionsFor(const std::vector<proto::ColumnOptions>& options, const std::string& path);

// Nulls, padding and sparseness. INVALID_ARGUMENT where one does not fit the leaf.
arrow::Status ApplyOptions(const LeafOptions& options, ColumnLayout* leaf);

// INVALID_ARGUMENT for a dtype that does not exist.
arrow::Status CheckDtypes(const std::vector<proto::ColumnOptions>& options);

// NOT_FOUND where options are for a path with no leaf in it.
arrow::Status CheckPaths(const std::vector<proto::ColumnOptions>& options,
                         const std::vector<std::string>& leaves);

}  // namespace flightbridge::batch
