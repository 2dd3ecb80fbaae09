package io.flightbridge.columns;

import io.flightbridge.memory.DirectPool;
import io.flightbridge.memory.GrowingBuffer;
import org.apache.spark.sql.catalyst.expressions.SpecializedGetters;
import org.apache.spark.unsafe.Platform;

/** Booleans, one bit each. */
final class BooleanBuilder extends ColumnBuilder {
  private final GrowingBuffer bits;

  BooleanBuilder(DirectPool pool) {
    super(pool);
    this.bits = new GrowingBuffer(pool);
  }

  @Override
  void appendBlock(RowBlock block, int field) {
    int rows = block.rows();
    grow(count + rows);
    byte[] bytes = block.bytes();
    int[] offsets = block.offsets();
    long slot = block.slot(field);
    long to = bits.addressOf(0);
    for (int i = 0; i < rows; i++) {
      if (Platform.getByte(bytes, slot + offsets[i]) != 0) {
        setBit(to, count + i);
      }
    }
    noteBlock(block, field);
  }

  @Override
  void appendValue(SpecializedGetters row, int ordinal) {
    grow(count + 1);
    if (row.getBoolean(ordinal)) {
      setBit(bits.addressOf(0), count);
    }
  }

  @Override
  void appendNothing() {
    grow(count + 1);
  }

  @Override
  void collectBuffers(BatchParts parts) {
    parts.buffer(bits, bits.size());
  }

  @Override
  long bytesOfBuffers() {
    return bits.size();
  }

  @Override
  void clearBuffers() {
    bits.release();
  }

  private void grow(int values) {
    long missing = (values + 7) / 8 - bits.size();
    if (missing > 0) {
      bits.putZeros(missing);
    }
  }
}
