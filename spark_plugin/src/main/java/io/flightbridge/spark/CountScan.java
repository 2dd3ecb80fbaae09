package io.flightbridge.spark;

import java.util.Arrays;
import org.apache.spark.sql.catalyst.InternalRow;
import org.apache.spark.sql.catalyst.expressions.GenericInternalRow;
import org.apache.spark.sql.connector.read.LocalScan;
import org.apache.spark.sql.types.StructType;

/** {@code COUNT(*)}, which the feed's description has. */
final class CountScan implements LocalScan {
  private final StructType columns;
  private final long counted;
  private final String feed;

  CountScan(StructType columns, long counted, String feed) {
    this.columns = columns;
    this.counted = counted;
    this.feed = feed;
  }

  @Override
  public StructType readSchema() {
    return columns;
  }

  @Override
  public InternalRow[] rows() {
    Object[] values = new Object[columns.length()];
    Arrays.fill(values, counted);
    return new InternalRow[] {new GenericInternalRow(values)};
  }

  @Override
  public String description() {
    return "flightbridge rows of feed '" + feed + "'";
  }
}
