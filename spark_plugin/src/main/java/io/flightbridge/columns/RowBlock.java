package io.flightbridge.columns;

import java.util.Arrays;
import org.apache.spark.sql.catalyst.expressions.UnsafeRow;
import org.apache.spark.unsafe.Platform;

/**
 * Some rows in Spark's own layout, one behind the other. Columns are made of a block at a time, so
 * that each column's loop is tight and the rows are still in the cache.
 *
 * <p>The layout of a row (Spark's {@code UnsafeRow}): a bit per field that says whether it is null,
 * in whole 8-byte words; 8 bytes per field with its value or, for values of variable length,
 * (offset &lt;&lt; 32 | length); then those values, each padded with zeros to 8 bytes.
 */
public final class RowBlock {
  /** Rows in a block. Bitmaps of whole blocks are whole words, and columns whole cache lines. */
  public static final int ROWS = 512;

  static final long BASE = Platform.BYTE_ARRAY_OFFSET;
  // A block of wide rows ends early.
  private static final int MOST_BYTES = 4 << 20;

  private final int numFields;
  private final int nullWords;
  private final long[] anyNull;
  private final int[] offsets = new int[ROWS + 1];
  private final UnsafeRow view;
  private byte[] bytes = new byte[64 << 10];
  private int rows;

  public RowBlock(int numFields) {
    this.numFields = numFields;
    this.nullWords = (numFields + 63) / 64;
    this.anyNull = new long[nullWords];
    this.view = new UnsafeRow(numFields);
  }

  public int rows() {
    return rows;
  }

  public boolean isFull() {
    return rows == ROWS || offsets[rows] >= MOST_BYTES;
  }

  /** Copies a row; the block must not be full. */
  public void add(UnsafeRow row) {
    int begin = offsets[rows];
    int size = row.getSizeInBytes();
    int end = Math.addExact(begin, size);
    if (end > bytes.length) {
      bytes = Arrays.copyOf(bytes, Math.max(end, (int) Math.min(2L * bytes.length, 1 << 30)));
    }
    Platform.copyMemory(row.getBaseObject(), row.getBaseOffset(), bytes, BASE + begin, size);
    for (int i = 0; i < nullWords; i++) {
      anyNull[i] |= Platform.getLong(bytes, BASE + begin + 8L * i);
    }
    offsets[++rows] = end;
  }

  public void clear() {
    rows = 0;
    Arrays.fill(anyNull, 0);
    if (bytes.length > 2 * MOST_BYTES) {
      bytes = new byte[64 << 10]; // a giant row came by
    }
  }

  byte[] bytes() {
    return bytes;
  }

  int[] offsets() {
    return offsets;
  }

  /** Where a field's 8 bytes are, from the beginning of a row's bytes in {@link #bytes()}. */
  long slot(int field) {
    return BASE + 8L * (nullWords + field);
  }

  boolean hasNulls(int field) {
    return (anyNull[field >> 6] >>> (field & 63) & 1) != 0;
  }

  boolean isNull(int row, int field) {
    return (Platform.getLong(bytes, BASE + offsets[row] + 8L * (field >> 6)) >>> (field & 63) & 1)
        != 0;
  }

  /** The row, until the next call. */
  UnsafeRow row(int index) {
    view.pointTo(bytes, BASE + offsets[index], offsets[index + 1] - offsets[index]);
    return view;
  }

  int numFields() {
    return numFields;
  }
}
