package io.flightbridge.columns;

import io.flightbridge.BridgeException;
import io.flightbridge.columns.NestedColumns.OfIntervals;
import io.flightbridge.columns.NestedColumns.OfLists;
import io.flightbridge.columns.NestedColumns.OfMaps;
import io.flightbridge.columns.NestedColumns.OfStructs;
import io.flightbridge.columns.ScalarColumns.OfBooleans;
import io.flightbridge.columns.ScalarColumns.OfBytes;
import io.flightbridge.columns.ScalarColumns.OfDecimals;
import io.flightbridge.columns.ScalarColumns.OfDoubles;
import io.flightbridge.columns.ScalarColumns.OfFixedBytes;
import io.flightbridge.columns.ScalarColumns.OfFloats;
import io.flightbridge.columns.ScalarColumns.OfInts;
import io.flightbridge.columns.ScalarColumns.OfLargeBytes;
import io.flightbridge.columns.ScalarColumns.OfLongs;
import io.flightbridge.columns.ScalarColumns.OfNulls;
import io.flightbridge.columns.ScalarColumns.OfUnsignedLongs;
import java.util.List;
import java.util.function.IntToLongFunction;
import java.util.function.IntUnaryOperator;
import org.apache.arrow.vector.BaseLargeVariableWidthVector;
import org.apache.arrow.vector.BaseVariableWidthVector;
import org.apache.arrow.vector.BigIntVector;
import org.apache.arrow.vector.BitVector;
import org.apache.arrow.vector.DateDayVector;
import org.apache.arrow.vector.DateMilliVector;
import org.apache.arrow.vector.Decimal256Vector;
import org.apache.arrow.vector.DecimalVector;
import org.apache.arrow.vector.DurationVector;
import org.apache.arrow.vector.FieldVector;
import org.apache.arrow.vector.FixedSizeBinaryVector;
import org.apache.arrow.vector.Float2Vector;
import org.apache.arrow.vector.Float4Vector;
import org.apache.arrow.vector.Float8Vector;
import org.apache.arrow.vector.IntVector;
import org.apache.arrow.vector.IntervalMonthDayNanoVector;
import org.apache.arrow.vector.IntervalYearVector;
import org.apache.arrow.vector.NullVector;
import org.apache.arrow.vector.SmallIntVector;
import org.apache.arrow.vector.TimeMicroVector;
import org.apache.arrow.vector.TimeMilliVector;
import org.apache.arrow.vector.TimeNanoVector;
import org.apache.arrow.vector.TimeSecVector;
import org.apache.arrow.vector.TimeStampVector;
import org.apache.arrow.vector.TinyIntVector;
import org.apache.arrow.vector.UInt1Vector;
import org.apache.arrow.vector.UInt2Vector;
import org.apache.arrow.vector.UInt4Vector;
import org.apache.arrow.vector.UInt8Vector;
import org.apache.arrow.vector.complex.FixedSizeListVector;
import org.apache.arrow.vector.complex.LargeListVector;
import org.apache.arrow.vector.complex.ListVector;
import org.apache.arrow.vector.complex.MapVector;
import org.apache.arrow.vector.complex.StructVector;
import org.apache.arrow.vector.dictionary.DictionaryProvider;
import org.apache.arrow.vector.types.TimeUnit;
import org.apache.arrow.vector.types.pojo.ArrowType;
import org.apache.arrow.vector.types.pojo.DictionaryEncoding;
import org.apache.spark.sql.types.ArrayType;
import org.apache.spark.sql.types.DataType;
import org.apache.spark.sql.types.DataTypes;
import org.apache.spark.sql.types.MapType;
import org.apache.spark.sql.types.StructField;
import org.apache.spark.sql.types.StructType;
import org.apache.spark.sql.types.UserDefinedType;
import org.apache.spark.sql.vectorized.ColumnVector;

/** Columns of record batches for Spark; of each type as {@link ReadTypes} says. */
public final class FeedColumns {
  private static final long DAY_MS = 86_400_000L;

  private final DictionaryProvider dictionaries;

  /** For columns whose dictionaries, where they have some, are there. */
  public FeedColumns(DictionaryProvider dictionaries) {
    this.dictionaries = dictionaries;
  }

  /**
   * The column, which is good for as long as the vector is.
   *
   * @param path its name, for errors
   * @throws BridgeException the vector does not hold what Spark expects of it
   */
  public ColumnVector of(DataType type, FieldVector vector, String path) {
    if (type instanceof UserDefinedType<?> user) {
      return of(user.sqlType(), vector, path);
    }
    DictionaryEncoding encoding = vector.getField().getDictionary();
    if (encoding != null) {
      FieldVector values = dictionaries.lookup(encoding.getId()).getVector();
      return new DictionaryColumn(type, vector, of(type, values, path));
    }
    ReadTypes.refuseUnlessHolds(type, vector.getField(), path);
    ColumnVector found = nested(type, vector, path);
    if (found == null) {
      found = integers(type, vector);
    }
    if (found == null) {
      found = times(type, vector);
    }
    if (found == null) {
      found = others(type, vector);
    }
    if (found == null) {
      throw new IllegalArgumentException(
          "no column of " + vector.getField().getType() + " for " + type.simpleString());
    }
    return found;
  }

  private ColumnVector nested(DataType type, FieldVector vector, String path) {
    if (vector instanceof MapVector map) { // before lists, which it is one of
      MapType kind = (MapType) type;
      List<FieldVector> entry = ((StructVector) map.getDataVector()).getChildrenFromFields();
      return new OfMaps(
          kind,
          map,
          of(kind.keyType(), entry.get(0), path + ".key"),
          of(kind.valueType(), entry.get(1), path + ".value"));
    }
    if (vector instanceof ListVector list) {
      return new OfLists(
          (ArrayType) type,
          list,
          elements(type, list.getDataVector(), path),
          list::getElementStartIndex,
          list::getElementEndIndex);
    }
    if (vector instanceof LargeListVector list) {
      return new OfLists(
          (ArrayType) type,
          list,
          elements(type, list.getDataVector(), path),
          row -> Math.toIntExact(list.getElementStartIndex(row)),
          row -> Math.toIntExact(list.getElementEndIndex(row)));
    }
    if (vector instanceof FixedSizeListVector list) {
      int size = list.getListSize();
      return new OfLists(
          (ArrayType) type,
          list,
          elements(type, list.getDataVector(), path),
          row -> row * size,
          row -> (row + 1) * size);
    }
    if (vector instanceof StructVector struct) {
      return new OfStructs(type, struct, parts(type, struct, path));
    }
    if (vector instanceof IntervalMonthDayNanoVector interval) {
      return new OfIntervals(type, interval);
    }
    return null;
  }

  private ColumnVector elements(DataType type, FieldVector vector, String path) {
    return of(((ArrayType) type).elementType(), vector, path + "[]");
  }

  /** By name: of a struct Spark asks for the fields that the query uses, and no others. */
  private ColumnVector[] parts(DataType type, StructVector vector, String path) {
    if (!(type instanceof StructType struct)) { // Variant, as value and metadata
      return vector.getChildrenFromFields().stream()
          .map(part -> of(DataTypes.BinaryType, part, path))
          .toArray(ColumnVector[]::new);
    }
    ColumnVector[] parts = new ColumnVector[struct.length()];
    for (int i = 0; i < parts.length; i++) {
      StructField wanted = struct.apply(i);
      String name = path + "." + wanted.name();
      var part = (FieldVector) vector.getChild(wanted.name());
      if (part == null) {
        throw ReadTypes.missing(name, vector.getField());
      }
      parts[i] = of(wanted.dataType(), part, name);
    }
    return parts;
  }

  private static ColumnVector integers(DataType type, FieldVector vector) {
    IntUnaryOperator small =
        vector instanceof TinyIntVector v
            ? v::get
            : vector instanceof UInt1Vector v
                ? row -> v.get(row) & 0xff
                : vector instanceof SmallIntVector v
                    ? v::get
                    : vector instanceof UInt2Vector v
                        ? v::get
                        : vector instanceof IntVector v ? v::get : null;
    if (small != null) {
      return new OfInts(type, vector, small);
    }
    if (vector instanceof BigIntVector v) {
      return new OfLongs(type, v, v::get);
    }
    if (vector instanceof UInt4Vector v) {
      return new OfLongs(type, v, row -> v.get(row) & 0xffff_ffffL);
    }
    return vector instanceof UInt8Vector v ? new OfUnsignedLongs(type, v) : null;
  }

  private static ColumnVector times(DataType type, FieldVector vector) {
    if (vector instanceof DateDayVector v) {
      return new OfInts(type, v, v::get);
    }
    if (vector instanceof DateMilliVector v) {
      return new OfInts(type, v, row -> (int) Math.floorDiv(v.get(row), DAY_MS));
    }
    if (vector instanceof IntervalYearVector v) {
      return new OfInts(type, v, v::get);
    }
    if (vector instanceof TimeStampVector v) {
      var unit = ((ArrowType.Timestamp) v.getField().getType()).getUnit();
      return new OfLongs(type, v, micros(v::get, unit));
    }
    if (vector instanceof DurationVector v) {
      var unit = ((ArrowType.Duration) v.getField().getType()).getUnit();
      var values = v.getDataBuffer();
      return new OfLongs(
          type, v, micros(row -> values.getLong((long) row * DurationVector.TYPE_WIDTH), unit));
    }
    if (vector instanceof TimeSecVector v) {
      return new OfLongs(type, v, row -> v.get(row) * 1_000_000_000L);
    }
    if (vector instanceof TimeMilliVector v) {
      return new OfLongs(type, v, row -> v.get(row) * 1_000_000L);
    }
    if (vector instanceof TimeMicroVector v) {
      return new OfLongs(type, v, row -> v.get(row) * 1_000L);
    }
    return vector instanceof TimeNanoVector v ? new OfLongs(type, v, v::get) : null;
  }

  private static ColumnVector others(DataType type, FieldVector vector) {
    if (vector instanceof NullVector v) {
      return new OfNulls(type, v);
    }
    if (vector instanceof BitVector v) {
      return new OfBooleans(type, v);
    }
    if (vector instanceof Float2Vector v) {
      return new OfFloats(type, v, v::getValueAsFloat);
    }
    if (vector instanceof Float4Vector v) {
      return new OfFloats(type, v, v::get);
    }
    if (vector instanceof Float8Vector v) {
      return new OfDoubles(type, v);
    }
    if (vector instanceof DecimalVector v) {
      return new OfDecimals(type, v, v::getObjectNotNull);
    }
    if (vector instanceof Decimal256Vector v) {
      return new OfDecimals(type, v, v::getObjectNotNull);
    }
    if (vector instanceof FixedSizeBinaryVector v) {
      return new OfFixedBytes(type, v);
    }
    if (vector instanceof BaseVariableWidthVector v) {
      return new OfBytes(type, v);
    }
    return vector instanceof BaseLargeVariableWidthVector v ? new OfLargeBytes(type, v) : null;
  }

  private static IntToLongFunction micros(IntToLongFunction value, TimeUnit unit) {
    return switch (unit) {
      case SECOND -> row -> Math.multiplyExact(value.applyAsLong(row), 1_000_000L);
      case MILLISECOND -> row -> Math.multiplyExact(value.applyAsLong(row), 1_000L);
      case MICROSECOND -> value;
      case NANOSECOND -> row -> Math.floorDiv(value.applyAsLong(row), 1_000L);
    };
  }
}
