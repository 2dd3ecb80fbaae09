package io.flightbridge.columns;

import io.flightbridge.memory.DirectPool;
import io.flightbridge.memory.GrowingBuffer;
import java.math.BigInteger;
import org.apache.spark.sql.catalyst.expressions.SpecializedGetters;
import org.apache.spark.unsafe.Platform;

/** Decimals: 16 bytes each, little-endian, two's complement. */
final class DecimalBuilder extends ColumnBuilder {
  private static final int WIDTH = 16;
  private static final int MOST_DIGITS_OF_A_LONG = 18;

  private final int precision;
  private final int scale;
  private final GrowingBuffer values;

  DecimalBuilder(DirectPool pool, int precision, int scale) {
    super(pool);
    this.precision = precision;
    this.scale = scale;
    this.values = new GrowingBuffer(pool);
  }

  @Override
  void appendBlock(RowBlock block, int field) {
    if (precision > MOST_DIGITS_OF_A_LONG) {
      super.appendBlock(block, field);
      return;
    }
    int rows = block.rows();
    byte[] bytes = block.bytes();
    int[] offsets = block.offsets();
    long slot = block.slot(field);
    long to = values.reserve((long) WIDTH * rows);
    for (int i = 0; i < rows; i++) {
      put(to + (long) WIDTH * i, Platform.getLong(bytes, slot + offsets[i]));
    }
    values.advance((long) WIDTH * rows);
    noteBlock(block, field);
  }

  @Override
  void appendValue(SpecializedGetters row, int ordinal) {
    var decimal = row.getDecimal(ordinal, precision, scale);
    long to = values.reserve(WIDTH);
    if (precision <= MOST_DIGITS_OF_A_LONG) {
      put(to, decimal.toUnscaledLong());
    } else {
      BigInteger unscaled = decimal.toJavaBigDecimal().unscaledValue();
      Platform.putLong(null, to, unscaled.longValue());
      Platform.putLong(null, to + 8, unscaled.shiftRight(64).longValue());
    }
    values.advance(WIDTH);
  }

  @Override
  void appendNothing() {
    values.putZeros(WIDTH);
  }

  @Override
  void collectBuffers(BatchParts parts) {
    parts.buffer(values, values.size());
  }

  @Override
  long bytesOfBuffers() {
    return values.size();
  }

  @Override
  void clearBuffers() {
    values.release();
  }

  private static void put(long to, long unscaled) {
    Platform.putLong(null, to, unscaled);
    Platform.putLong(null, to + 8, unscaled >> 63);
  }
}
