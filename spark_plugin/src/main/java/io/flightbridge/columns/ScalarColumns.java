package io.flightbridge.columns;

import java.math.BigDecimal;
import java.math.BigInteger;
import java.util.function.IntFunction;
import java.util.function.IntToLongFunction;
import java.util.function.IntUnaryOperator;
import org.apache.arrow.memory.ArrowBuf;
import org.apache.arrow.vector.BaseLargeVariableWidthVector;
import org.apache.arrow.vector.BaseVariableWidthVector;
import org.apache.arrow.vector.BitVector;
import org.apache.arrow.vector.FixedSizeBinaryVector;
import org.apache.arrow.vector.Float8Vector;
import org.apache.arrow.vector.NullVector;
import org.apache.arrow.vector.UInt8Vector;
import org.apache.arrow.vector.ValueVector;
import org.apache.spark.sql.types.DataType;
import org.apache.spark.sql.types.Decimal;
import org.apache.spark.unsafe.types.UTF8String;

/** Columns of single values. */
final class ScalarColumns {
  private ScalarColumns() {}

  @FunctionalInterface
  interface IntToFloat {
    float apply(int row);
  }

  static final class OfNulls extends FeedColumn {
    OfNulls(DataType type, NullVector vector) {
      super(type, vector);
    }

    @Override
    public boolean isNullAt(int row) {
      return true;
    }
  }

  static final class OfBooleans extends FeedColumn {
    private final BitVector vector;

    OfBooleans(DataType type, BitVector vector) {
      super(type, vector);
      this.vector = vector;
    }

    @Override
    public boolean getBoolean(int row) {
      return vector.get(row) != 0;
    }
  }

  /** Whatever fits 32 bits. */
  static final class OfInts extends FeedColumn {
    private final IntUnaryOperator value;

    OfInts(DataType type, ValueVector vector, IntUnaryOperator value) {
      super(type, vector);
      this.value = value;
    }

    @Override
    public byte getByte(int row) {
      return (byte) value.applyAsInt(row);
    }

    @Override
    public short getShort(int row) {
      return (short) value.applyAsInt(row);
    }

    @Override
    public int getInt(int row) {
      return value.applyAsInt(row);
    }
  }

  static final class OfLongs extends FeedColumn {
    private final IntToLongFunction value;

    OfLongs(DataType type, ValueVector vector, IntToLongFunction value) {
      super(type, vector);
      this.value = value;
    }

    @Override
    public long getLong(int row) {
      return value.applyAsLong(row);
    }
  }

  static final class OfUnsignedLongs extends FeedColumn {
    private final UInt8Vector vector;

    OfUnsignedLongs(DataType type, UInt8Vector vector) {
      super(type, vector);
      this.vector = vector;
    }

    @Override
    public Decimal getDecimal(int row, int precision, int scale) {
      if (isNullAt(row)) {
        return null;
      }
      long value = vector.get(row);
      BigInteger unsigned = BigInteger.valueOf(value);
      return decimal(
          new BigDecimal(value < 0 ? unsigned.add(BigInteger.ONE.shiftLeft(64)) : unsigned),
          precision,
          scale);
    }
  }

  static final class OfFloats extends FeedColumn {
    private final IntToFloat value;

    OfFloats(DataType type, ValueVector vector, IntToFloat value) {
      super(type, vector);
      this.value = value;
    }

    @Override
    public float getFloat(int row) {
      return value.apply(row);
    }
  }

  static final class OfDoubles extends FeedColumn {
    private final Float8Vector vector;

    OfDoubles(DataType type, Float8Vector vector) {
      super(type, vector);
      this.vector = vector;
    }

    @Override
    public double getDouble(int row) {
      return vector.get(row);
    }
  }

  static final class OfDecimals extends FeedColumn {
    private final IntFunction<BigDecimal> value;

    OfDecimals(DataType type, ValueVector vector, IntFunction<BigDecimal> value) {
      super(type, vector);
      this.value = value;
    }

    @Override
    public Decimal getDecimal(int row, int precision, int scale) {
      return isNullAt(row) ? null : decimal(value.apply(row), precision, scale);
    }
  }

  /** Texts and bytes with 32-bit offsets. */
  static final class OfBytes extends FeedColumn {
    private final BaseVariableWidthVector vector;

    OfBytes(DataType type, BaseVariableWidthVector vector) {
      super(type, vector);
      this.vector = vector;
    }

    @Override
    public UTF8String getUTF8String(int row) {
      if (isNullAt(row)) {
        return null;
      }
      int begin = vector.getStartOffset(row);
      return text(vector.getDataBuffer(), begin, vector.getEndOffset(row) - begin);
    }

    @Override
    public byte[] getBinary(int row) {
      if (isNullAt(row)) {
        return null;
      }
      int begin = vector.getStartOffset(row);
      return bytes(vector.getDataBuffer(), begin, vector.getEndOffset(row) - begin);
    }
  }

  /** Texts and bytes with 64-bit offsets. */
  static final class OfLargeBytes extends FeedColumn {
    private final BaseLargeVariableWidthVector vector;

    OfLargeBytes(DataType type, BaseLargeVariableWidthVector vector) {
      super(type, vector);
      this.vector = vector;
    }

    @Override
    public UTF8String getUTF8String(int row) {
      return isNullAt(row) ? null : text(vector.getDataBuffer(), begin(row), length(row));
    }

    @Override
    public byte[] getBinary(int row) {
      return isNullAt(row) ? null : bytes(vector.getDataBuffer(), begin(row), length(row));
    }

    private long begin(int row) {
      return vector
          .getOffsetBuffer()
          .getLong((long) row * BaseLargeVariableWidthVector.OFFSET_WIDTH);
    }

    private int length(int row) {
      return Math.toIntExact(begin(row + 1) - begin(row));
    }
  }

  static final class OfFixedBytes extends FeedColumn {
    private final FixedSizeBinaryVector vector;

    OfFixedBytes(DataType type, FixedSizeBinaryVector vector) {
      super(type, vector);
      this.vector = vector;
    }

    @Override
    public byte[] getBinary(int row) {
      return isNullAt(row) ? null : vector.get(row);
    }
  }

  private static Decimal decimal(BigDecimal value, int precision, int scale) {
    return Decimal.apply(value, precision, scale);
  }

  // Spark copies what it keeps of a batch before it asks for the next one.
  private static UTF8String text(ArrowBuf data, long begin, int length) {
    return UTF8String.fromAddress(null, data.memoryAddress() + begin, length);
  }

  private static byte[] bytes(ArrowBuf data, long begin, int length) {
    byte[] found = new byte[length];
    data.getBytes(begin, found);
    return found;
  }
}
