package io.flightbridge.spark;

import org.apache.spark.sql.connector.read.PartitionReader;
import org.apache.spark.sql.vectorized.ColumnVector;
import org.apache.spark.sql.vectorized.ColumnarBatch;

/** Rows of which no column is wanted: nothing is asked of the server. */
final class RowCountReader implements PartitionReader<ColumnarBatch> {
  private static final int MOST_ROWS = 1 << 20;
  private long left;
  private int rows;

  RowCountReader(long rows) {
    this.left = rows;
  }

  @Override
  public boolean next() {
    rows = (int) Math.min(left, MOST_ROWS);
    left -= rows;
    return rows > 0;
  }

  @Override
  public ColumnarBatch get() {
    return new ColumnarBatch(new ColumnVector[0], rows);
  }

  @Override
  public void close() {}
}
