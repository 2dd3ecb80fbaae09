package io.flightbridge.columns;

import io.flightbridge.memory.DirectPool;
import io.flightbridge.memory.GrowingBuffer;
import org.apache.spark.sql.catalyst.expressions.SpecializedGetters;
import org.apache.spark.sql.catalyst.util.ArrayData;
import org.apache.spark.unsafe.Platform;

/**
 * Makes one Arrow array of Spark's values, in the layout of the Arrow columnar format. Values are
 * written through addresses, typed, without an object per value. Not thread-safe.
 */
abstract class ColumnBuilder {
  final DirectPool pool;
  int count;
  private int nulls;
  // One bit per value, 1 where there is one. Made when the first null comes; until then all have
  // one.
  private GrowingBuffer validity;
  private boolean hasValidity;

  ColumnBuilder(DirectPool pool) {
    this.pool = pool;
  }

  /** The value at that place, which is not null. */
  abstract void appendValue(SpecializedGetters row, int ordinal);

  /** What lies where there is no value. */
  abstract void appendNothing();

  /** Adds the arrays' buffers, after the validity bitmap, and its children. */
  abstract void collectBuffers(BatchParts parts);

  abstract long bytesOfBuffers();

  abstract void clearBuffers();

  final void append(SpecializedGetters row, int ordinal) {
    if (row.isNullAt(ordinal)) {
      appendNull();
    } else {
      appendValue(row, ordinal);
      noteValid(1);
    }
  }

  final void appendNull() {
    appendNothing();
    noteNull();
  }

  /** All values of an array. */
  void appendArray(ArrayData array) {
    int values = array.numElements();
    for (int i = 0; i < values; i++) {
      append(array, i);
    }
  }

  /** One field of all rows of a block. */
  void appendBlock(RowBlock block, int field) {
    int rows = block.rows();
    for (int i = 0; i < rows; i++) {
      append(block.row(i), field);
    }
  }

  final void noteValid(int values) {
    if (hasValidity) {
      int end = count + values;
      growValidity(end);
      for (int i = count; i < end; i++) {
        setBit(validity.addressOf(0), i);
      }
    }
    count += values;
  }

  final void noteNull() {
    needValidity();
    growValidity(count + 1);
    count++;
    nulls++;
  }

  /** The validity of a block's field whose values were appended. */
  final void noteBlock(RowBlock block, int field) {
    int rows = block.rows();
    if (!block.hasNulls(field)) {
      noteValid(rows);
      return;
    }
    needValidity();
    growValidity(count + rows);
    long bits = validity.addressOf(0);
    for (int i = 0; i < rows; i++) {
      if (block.isNull(i, field)) {
        nulls++;
      } else {
        setBit(bits, count + i);
      }
    }
    count += rows;
  }

  final long bytes() {
    return bytesOfBuffers() + (hasValidity ? validity.size() : 0);
  }

  /** Hands everything over and begins anew. */
  final void collect(BatchParts parts) {
    parts.node(count, nulls);
    if (hasValidityBuffer()) {
      if (nulls > 0) {
        parts.buffer(validity, (count + 7) / 8);
      } else {
        parts.empty();
      }
    }
    forgetValidity();
    collectBuffers(parts);
  }

  /** Forgets everything and gives the memory back. */
  final void clear() {
    forgetValidity();
    clearBuffers();
  }

  /** Only the null type has none, by the format. */
  boolean hasValidityBuffer() {
    return true;
  }

  private void forgetValidity() {
    if (validity != null) {
      validity.release();
    }
    hasValidity = false;
    count = 0;
    nulls = 0;
  }

  private void needValidity() {
    if (hasValidity) {
      return;
    }
    if (validity == null) {
      validity = new GrowingBuffer(pool);
    }
    hasValidity = true;
    growValidity(count);
    for (int i = 0; i < count; i++) {
      setBit(validity.addressOf(0), i);
    }
  }

  // Zeros up to the byte of the last value.
  private void growValidity(int values) {
    long missing = (values + 7) / 8 - validity.size();
    if (missing > 0) {
      validity.putZeros(missing);
    }
  }

  static void setBit(long bits, int index) {
    long at = bits + (index >> 3);
    Platform.putByte(null, at, (byte) (Platform.getByte(null, at) | 1 << (index & 7)));
  }
}
