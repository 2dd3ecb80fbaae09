package io.flightbridge.columns;

import io.flightbridge.memory.DirectPool;
import org.apache.spark.sql.catalyst.InternalRow;
import org.apache.spark.sql.catalyst.expressions.UnsafeProjection;
import org.apache.spark.sql.catalyst.expressions.UnsafeRow;
import org.apache.spark.sql.types.StructField;
import org.apache.spark.sql.types.StructType;

/**
 * Makes record batches of Spark's rows. A batch is ready once it has {@code batchBytes}; its rows
 * are then a multiple of {@link RowBlock#ROWS}, so that every buffer of fixed width ends on a cache
 * line, unless its rows are very wide. Not thread-safe.
 */
public final class BatchBuilder {
  private final DirectPool pool;
  private final StructType columns;
  private final long batchBytes;
  private final RowBlock block;
  private final ColumnBuilder[] builders;
  private UnsafeProjection toUnsafe;
  private int rows;

  public BatchBuilder(StructType columns, long batchBytes, DirectPool pool) {
    this.pool = pool;
    this.columns = columns;
    this.batchBytes = batchBytes;
    this.block = new RowBlock(columns.length());
    this.builders = new ColumnBuilder[columns.length()];
    int i = 0;
    for (StructField column : columns.fields()) {
      builders[i++] = SparkTypes.builder(column.dataType(), pool);
    }
  }

  /** Adds a row, which is copied. Returns whether a batch is ready to be taken. */
  public boolean add(InternalRow row) {
    block.add(row instanceof UnsafeRow unsafe ? unsafe : projected(row));
    if (!block.isFull()) {
      return false;
    }
    drainBlock();
    return bytes() >= batchBytes;
  }

  /** The rows added since the last batch; null if there are none. */
  public EncodedBatch take() {
    drainBlock();
    if (rows == 0) {
      return null;
    }
    var parts = new BatchParts();
    for (ColumnBuilder builder : builders) {
      builder.collect(parts);
    }
    int taken = rows;
    rows = 0;
    return new EncodedBatch(pool, parts, taken);
  }

  /** Forgets all rows and gives the memory back. */
  public void clear() {
    block.clear();
    rows = 0;
    for (ColumnBuilder builder : builders) {
      builder.clear();
    }
  }

  private void drainBlock() {
    if (block.rows() == 0) {
      return;
    }
    for (int i = 0; i < builders.length; i++) {
      builders[i].appendBlock(block, i);
    }
    rows += block.rows();
    block.clear();
  }

  private long bytes() {
    long bytes = 0;
    for (ColumnBuilder builder : builders) {
      bytes += builder.bytes();
    }
    return bytes;
  }

  // Rows of other kinds are rare at the end of a plan; Spark's own code makes them what all others
  // are.
  private UnsafeRow projected(InternalRow row) {
    if (toUnsafe == null) {
      toUnsafe = UnsafeProjection.create(columns);
    }
    return toUnsafe.apply(row);
  }
}
