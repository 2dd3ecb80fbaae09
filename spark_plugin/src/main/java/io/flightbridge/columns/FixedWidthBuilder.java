package io.flightbridge.columns;

import io.flightbridge.memory.DirectPool;
import io.flightbridge.memory.GrowingBuffer;
import org.apache.spark.sql.catalyst.expressions.SpecializedGetters;
import org.apache.spark.sql.catalyst.expressions.UnsafeArrayData;
import org.apache.spark.sql.catalyst.util.ArrayData;
import org.apache.spark.unsafe.Platform;

/**
 * Values of 1, 2, 4 or 8 bytes that Arrow holds as Spark does: integers, floats, dates and times.
 */
abstract class FixedWidthBuilder extends ColumnBuilder {
  final GrowingBuffer values;
  private final int width;

  private FixedWidthBuilder(DirectPool pool, int width) {
    super(pool);
    this.width = width;
    this.values = new GrowingBuffer(pool);
  }

  static FixedWidthBuilder of(DirectPool pool, int width) {
    return switch (width) {
      case 1 -> new Bytes1(pool);
      case 2 -> new Bytes2(pool);
      case 4 -> new Bytes4(pool);
      case 8 -> new Bytes8(pool);
      default -> throw new IllegalArgumentException("no values of " + width + " bytes");
    };
  }

  /** Copies the slots of a block's rows; those of nulls are zeros. */
  abstract void copySlots(byte[] bytes, int[] offsets, int rows, long slot, long to);

  @Override
  final void appendBlock(RowBlock block, int field) {
    int rows = block.rows();
    long bytes = (long) rows * width;
    copySlots(block.bytes(), block.offsets(), rows, block.slot(field), values.reserve(bytes));
    values.advance(bytes);
    noteBlock(block, field);
  }

  @Override
  final void appendArray(ArrayData array) {
    if (array instanceof UnsafeArrayData unsafe && !hasNull(unsafe)) {
      int elements = unsafe.numElements();
      long from = unsafe.getBaseOffset() + UnsafeArrayData.calculateHeaderPortionInBytes(elements);
      values.putBytes(unsafe.getBaseObject(), from, (long) elements * width);
      noteValid(elements);
    } else {
      super.appendArray(array);
    }
  }

  @Override
  final void appendNothing() {
    values.putZeros(width);
  }

  @Override
  final void collectBuffers(BatchParts parts) {
    parts.buffer(values, values.size());
  }

  @Override
  final long bytesOfBuffers() {
    return values.size();
  }

  @Override
  final void clearBuffers() {
    values.release();
  }

  private static boolean hasNull(UnsafeArrayData array) {
    int elements = array.numElements();
    Object base = array.getBaseObject();
    long words = array.getBaseOffset() + 8;
    for (int i = 0; i < (elements + 63) / 64; i++) {
      if (Platform.getLong(base, words + 8L * i) != 0) {
        return true;
      }
    }
    return false;
  }

  private static final class Bytes8 extends FixedWidthBuilder {
    Bytes8(DirectPool pool) {
      super(pool, 8);
    }

    @Override
    void copySlots(byte[] bytes, int[] offsets, int rows, long slot, long to) {
      for (int i = 0; i < rows; i++) {
        Platform.putLong(null, to + 8L * i, Platform.getLong(bytes, slot + offsets[i]));
      }
    }

    @Override
    void appendValue(SpecializedGetters row, int ordinal) {
      values.putLong(row.getLong(ordinal));
    }
  }

  private static final class Bytes4 extends FixedWidthBuilder {
    Bytes4(DirectPool pool) {
      super(pool, 4);
    }

    @Override
    void copySlots(byte[] bytes, int[] offsets, int rows, long slot, long to) {
      for (int i = 0; i < rows; i++) {
        Platform.putInt(null, to + 4L * i, Platform.getInt(bytes, slot + offsets[i]));
      }
    }

    @Override
    void appendValue(SpecializedGetters row, int ordinal) {
      values.putInt(row.getInt(ordinal));
    }
  }

  private static final class Bytes2 extends FixedWidthBuilder {
    Bytes2(DirectPool pool) {
      super(pool, 2);
    }

    @Override
    void copySlots(byte[] bytes, int[] offsets, int rows, long slot, long to) {
      for (int i = 0; i < rows; i++) {
        Platform.putShort(null, to + 2L * i, Platform.getShort(bytes, slot + offsets[i]));
      }
    }

    @Override
    void appendValue(SpecializedGetters row, int ordinal) {
      Platform.putShort(null, values.reserve(2), row.getShort(ordinal));
      values.advance(2);
    }
  }

  private static final class Bytes1 extends FixedWidthBuilder {
    Bytes1(DirectPool pool) {
      super(pool, 1);
    }

    @Override
    void copySlots(byte[] bytes, int[] offsets, int rows, long slot, long to) {
      for (int i = 0; i < rows; i++) {
        Platform.putByte(null, to + i, Platform.getByte(bytes, slot + offsets[i]));
      }
    }

    @Override
    void appendValue(SpecializedGetters row, int ordinal) {
      Platform.putByte(null, values.reserve(1), row.getByte(ordinal));
      values.advance(1);
    }
  }
}
