package io.flightbridge.columns;

import io.flightbridge.memory.DirectPool;
import io.flightbridge.memory.GrowingBuffer;
import org.apache.spark.sql.catalyst.expressions.SpecializedGetters;
import org.apache.spark.unsafe.Platform;
import org.apache.spark.unsafe.types.UTF8String;

/** Strings and binary values: 32-bit offsets and bytes. */
final class BytesBuilder extends ColumnBuilder {
  private static final int COPIED_BY_WORDS = 64;

  private final boolean isText;
  private final GrowingBuffer offsets;
  private final GrowingBuffer data;

  BytesBuilder(DirectPool pool, boolean isText) {
    super(pool);
    this.isText = isText;
    this.offsets = new GrowingBuffer(pool);
    this.data = new GrowingBuffer(pool);
  }

  @Override
  void appendBlock(RowBlock block, int field) {
    int rows = block.rows();
    begin();
    byte[] bytes = block.bytes();
    int[] at = block.offsets();
    long slot = block.slot(field);
    long to = offsets.reserve(4L * rows);
    for (int i = 0; i < rows; i++) {
      // Of a null both are 0.
      long place = Platform.getLong(bytes, slot + at[i]);
      copyPadded(bytes, RowBlock.BASE + at[i] + (place >>> 32), (int) place);
      Platform.putInt(null, to + 4L * i, end());
    }
    offsets.advance(4L * rows);
    noteBlock(block, field);
  }

  @Override
  void appendValue(SpecializedGetters row, int ordinal) {
    begin();
    if (isText) {
      UTF8String text = row.getUTF8String(ordinal);
      data.putBytes(text.getBaseObject(), text.getBaseOffset(), text.numBytes());
    } else {
      byte[] bytes = row.getBinary(ordinal);
      data.putBytes(bytes, Platform.BYTE_ARRAY_OFFSET, bytes.length);
    }
    offsets.putInt(end());
  }

  /** A binary value that is part of some other. */
  void appendBytes(byte[] from, int first, int length) {
    begin();
    data.putBytes(from, Platform.BYTE_ARRAY_OFFSET + first, length);
    offsets.putInt(end());
    noteValid(1);
  }

  @Override
  void appendNothing() {
    begin();
    offsets.putInt(end());
  }

  @Override
  void collectBuffers(BatchParts parts) {
    begin();
    parts.buffer(offsets, offsets.size());
    parts.buffer(data, data.size());
  }

  @Override
  long bytesOfBuffers() {
    return offsets.size() + data.size();
  }

  @Override
  void clearBuffers() {
    offsets.release();
    data.release();
  }

  private void begin() {
    if (offsets.size() == 0) {
      offsets.putInt(0);
    }
  }

  private int end() {
    if (data.size() > Integer.MAX_VALUE) {
      throw new IllegalArgumentException(
          "the values of one column in 512 rows have more than 2 GiB");
    }
    return (int) data.size();
  }

  // Short values by words: Spark pads them to 8 bytes, and there is room for as much behind them.
  private void copyPadded(Object base, long from, int length) {
    if (length > COPIED_BY_WORDS) {
      data.putBytes(base, from, length);
      return;
    }
    long to = data.reserve(length);
    for (int i = 0; i < length; i += 8) {
      Platform.putLong(null, to + i, Platform.getLong(base, from + i));
    }
    data.advance(length);
  }
}
