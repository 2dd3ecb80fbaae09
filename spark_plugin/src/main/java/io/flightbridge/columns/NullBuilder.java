package io.flightbridge.columns;

import io.flightbridge.memory.DirectPool;
import org.apache.spark.sql.catalyst.expressions.SpecializedGetters;

/** Columns of the null type, which have a length and nothing else. */
final class NullBuilder extends ColumnBuilder {
  NullBuilder(DirectPool pool) {
    super(pool);
  }

  @Override
  boolean hasValidityBuffer() {
    return false;
  }

  @Override
  void appendValue(SpecializedGetters row, int ordinal) {
    throw new IllegalStateException("a value of the null type");
  }

  @Override
  void appendNothing() {}

  @Override
  void collectBuffers(BatchParts parts) {}

  @Override
  long bytesOfBuffers() {
    return 0;
  }

  @Override
  void clearBuffers() {}
}
