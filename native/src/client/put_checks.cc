#include "client/put_checks.h"

#include <algorithm>

#include "flightbridge/error.h"

namespace flightbridge::client {

arrow::Status CheckBatchSchema(const arrow::Schema& expected, const arrow::RecordBatch& batch) {
  const arrow::Schema& found = *batch.schema();
  if (&found == &expected || found.Equals(expected, /*check_metadata=*/false))
    return arrow::Status::OK();
  const int common = std::min(expected.num_fields(), found.num_fields());
  for (int i = 0; i < common; ++i) {
    if (found.field(i)->Equals(*expected.field(i), /*check_metadata=*/false)) continue;
    return Error(Code::kSchemaMismatch, "column ", i, " of the batch is '",
                 found.field(i)->ToString(), "' but the stream was opened with '",
                 expected.field(i)->ToString(),
                 "': cast the batch or open the put with its schema");
  }
  return Error(Code::kSchemaMismatch, "the batch has ", found.num_fields(),
               " columns but the stream was opened with ", expected.num_fields(),
               ": select the columns or open the put with the batch's schema");
}

std::string PutName(const std::string& feed, int64_t partition, int64_t attempt) {
  return arrow::internal::JoinToString("feed '", feed, "' partition ", partition, " attempt ",
                                       attempt);
}

arrow::Status PutIsOver(const std::string& name) {
  return Error(Code::kFailedPrecondition, name,
               ": this put was finished or aborted before: open another one");
}

}  // namespace flightbridge::client
