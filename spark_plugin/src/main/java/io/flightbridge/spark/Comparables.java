package io.flightbridge.spark;

import io.flightbridge.protocol.StatisticsValue;
import java.math.BigDecimal;
import java.math.BigInteger;
import java.util.Arrays;
import org.apache.arrow.vector.types.DateUnit;
import org.apache.arrow.vector.types.TimeUnit;
import org.apache.arrow.vector.types.pojo.ArrowType;
import org.apache.arrow.vector.types.pojo.Field;
import org.apache.spark.sql.types.ByteType;
import org.apache.spark.sql.types.DataType;
import org.apache.spark.sql.types.DataTypes;
import org.apache.spark.sql.types.DateType;
import org.apache.spark.sql.types.Decimal;
import org.apache.spark.sql.types.DecimalType;
import org.apache.spark.sql.types.FloatType;
import org.apache.spark.sql.types.IntegerType;
import org.apache.spark.sql.types.ShortType;
import org.apache.spark.sql.types.YearMonthIntervalType;
import org.apache.spark.unsafe.types.UTF8String;

/**
 * Values in one form for bounds and for Spark's literals, which compares as Spark does: Long of
 * integers, booleans and all that counts time, Double, BigDecimal, or {@link Bytes}.
 */
final class Comparables {
  private static final long DAY_MS = 86_400_000;

  private Comparables() {}

  /** Texts and bytes, compared byte by byte, without signs. */
  record Bytes(byte[] bytes) implements Comparable<Bytes> {
    @Override
    public int compareTo(Bytes other) {
      return Arrays.compareUnsigned(bytes, other.bytes);
    }

    boolean startsWith(Bytes prefix) {
      return bytes.length >= prefix.bytes.length
          && Arrays.equals(bytes, 0, prefix.bytes.length, prefix.bytes, 0, prefix.bytes.length);
    }

    @Override
    public boolean equals(Object other) {
      return other instanceof Bytes that && Arrays.equals(bytes, that.bytes);
    }

    @Override
    public int hashCode() {
      return Arrays.hashCode(bytes);
    }
  }

  @SuppressWarnings("unchecked") // only values of the same class are compared
  static Comparable<Object> of(Comparable<?> value) {
    return (Comparable<Object>) value;
  }

  /** A bound of a column, as Spark reads its values; null where it cannot be told. */
  static Comparable<Object> ofBound(StatisticsValue value, Field column) {
    ArrowType type = column.getType();
    long number = value.getIntValue();
    try {
      return switch (type.getTypeID()) {
        case Bool -> of(number);
        case Int -> {
          if (((ArrowType.Int) type).getIsSigned()) {
            yield of(number);
          }
          yield ((ArrowType.Int) type).getBitWidth() < 64
              ? of(value.getUintValue())
              : of(new BigDecimal(Long.toUnsignedString(value.getUintValue())));
        }
        case FloatingPoint -> of(withoutSignOfZero(value.getFloatValue()));
        case Decimal ->
            of(
                new BigDecimal(
                    new BigInteger(value.getBytesValue().toByteArray()),
                    ((ArrowType.Decimal) type).getScale()));
        case Date ->
            of(
                ((ArrowType.Date) type).getUnit() == DateUnit.DAY
                    ? number
                    : Math.floorDiv(number, DAY_MS));
        case Time -> of(Math.multiplyExact(number, nanosOf(((ArrowType.Time) type).getUnit())));
        case Timestamp -> of(micros(number, ((ArrowType.Timestamp) type).getUnit()));
        case Duration -> of(micros(number, ((ArrowType.Duration) type).getUnit()));
        case Interval -> of(number); // of months: no other kind has bounds
        case Utf8, LargeUtf8, Binary, LargeBinary, FixedSizeBinary ->
            of(new Bytes(value.getBytesValue().toByteArray()));
        default -> null;
      };
    } catch (ArithmeticException | NumberFormatException error) {
      return null; // what Spark could not read, either
    }
  }

  /** A literal beside a column of that type; null where the two do not compare as they are. */
  static Comparable<Object> ofLiteral(Object value, DataType type, DataType column) {
    boolean decimals = type instanceof DecimalType && column instanceof DecimalType;
    if (value == null || (!decimals && !type.equals(column))) {
      return null;
    }
    if (value instanceof Boolean truth) {
      return of(truth ? 1L : 0L);
    } else if (value instanceof Float || value instanceof Double) {
      return of(withoutSignOfZero(((Number) value).doubleValue()));
    } else if (value instanceof Number number && !(value instanceof BigDecimal)) {
      return of(number.longValue());
    } else if (value instanceof Decimal decimal) {
      return of(decimal.toJavaBigDecimal());
    } else if (value instanceof UTF8String text) {
      // Texts of another collation are neither ordered nor equal by their bytes.
      return type.equals(DataTypes.StringType) ? of(new Bytes(text.getBytes())) : null;
    }
    return value instanceof byte[] bytes ? of(new Bytes(bytes)) : null;
  }

  /** The value as Spark holds it inside of rows. */
  static Object internal(Comparable<Object> value, DataType type) {
    Object plain = value;
    if (plain instanceof Long number) {
      if (type.equals(DataTypes.BooleanType)) {
        return number != 0;
      } else if (type instanceof ByteType) {
        return number.byteValue();
      } else if (type instanceof ShortType) {
        return number.shortValue();
      }
      boolean ints =
          type instanceof IntegerType
              || type instanceof DateType
              || type instanceof YearMonthIntervalType;
      return ints ? (Object) number.intValue() : number;
    } else if (plain instanceof Double number) {
      return type instanceof FloatType ? (Object) number.floatValue() : number;
    } else if (plain instanceof BigDecimal number) {
      DecimalType decimal = (DecimalType) type;
      return Decimal.apply(number, decimal.precision(), decimal.scale());
    }
    byte[] bytes = ((Bytes) plain).bytes();
    return type.equals(DataTypes.StringType) ? UTF8String.fromBytes(bytes) : bytes;
  }

  // Both zeros are equal to Spark.
  private static double withoutSignOfZero(double value) {
    return value == 0.0 ? 0.0 : value;
  }

  private static long micros(long value, TimeUnit unit) {
    return unit == TimeUnit.NANOSECOND
        ? Math.floorDiv(value, 1_000L)
        : Math.multiplyExact(value, nanosOf(unit) / 1_000L);
  }

  private static long nanosOf(TimeUnit unit) {
    return switch (unit) {
      case SECOND -> 1_000_000_000L;
      case MILLISECOND -> 1_000_000L;
      case MICROSECOND -> 1_000L;
      case NANOSECOND -> 1L;
    };
  }
}
