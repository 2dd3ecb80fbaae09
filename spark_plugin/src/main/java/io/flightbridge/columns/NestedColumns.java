package io.flightbridge.columns;

import io.flightbridge.columns.ScalarColumns.OfInts;
import io.flightbridge.columns.ScalarColumns.OfLongs;
import java.util.function.IntUnaryOperator;
import org.apache.arrow.vector.IntervalMonthDayNanoVector;
import org.apache.arrow.vector.ValueVector;
import org.apache.arrow.vector.complex.MapVector;
import org.apache.arrow.vector.complex.StructVector;
import org.apache.spark.sql.types.ArrayType;
import org.apache.spark.sql.types.DataType;
import org.apache.spark.sql.types.DataTypes;
import org.apache.spark.sql.types.MapType;
import org.apache.spark.sql.vectorized.ColumnVector;
import org.apache.spark.sql.vectorized.ColumnarArray;
import org.apache.spark.sql.vectorized.ColumnarMap;

/** Columns of values that have parts. */
final class NestedColumns {
  private NestedColumns() {}

  static final class OfLists extends FeedColumn {
    private final ColumnVector elements;
    private final IntUnaryOperator begin;
    private final IntUnaryOperator end;

    OfLists(
        ArrayType type,
        ValueVector vector,
        ColumnVector elements,
        IntUnaryOperator begin,
        IntUnaryOperator end) {
      super(type, vector);
      this.elements = elements;
      this.begin = begin;
      this.end = end;
    }

    @Override
    public ColumnarArray getArray(int row) {
      int first = begin.applyAsInt(row);
      return new ColumnarArray(elements, first, end.applyAsInt(row) - first);
    }
  }

  static final class OfMaps extends FeedColumn {
    private final MapVector vector;
    private final ColumnVector keys;
    private final ColumnVector values;

    OfMaps(MapType type, MapVector vector, ColumnVector keys, ColumnVector values) {
      super(type, vector);
      this.vector = vector;
      this.keys = keys;
      this.values = values;
    }

    @Override
    public ColumnarMap getMap(int row) {
      int first = vector.getElementStartIndex(row);
      return new ColumnarMap(keys, values, first, vector.getElementEndIndex(row) - first);
    }
  }

  /** Structs, and Variant, which Spark takes apart as value and metadata. */
  static final class OfStructs extends FeedColumn {
    private final ColumnVector[] parts;

    OfStructs(DataType type, StructVector vector, ColumnVector[] parts) {
      super(type, vector);
      this.parts = parts;
    }

    @Override
    public ColumnVector getChild(int ordinal) {
      return parts[ordinal];
    }
  }

  /** Spark takes them apart as months, days and microseconds; 3.5 has that method final. */
  static final class OfIntervals extends FeedColumn {
    private final ColumnVector[] parts;

    OfIntervals(DataType type, IntervalMonthDayNanoVector vector) {
      super(type, vector);
      var values = vector.getDataBuffer();
      this.parts =
          new ColumnVector[] {
            new OfInts(
                DataTypes.IntegerType,
                vector,
                row -> IntervalMonthDayNanoVector.getMonths(values, row)),
            new OfInts(
                DataTypes.IntegerType,
                vector,
                row -> IntervalMonthDayNanoVector.getDays(values, row)),
            new OfLongs(
                DataTypes.LongType,
                vector,
                row ->
                    Math.floorDiv(IntervalMonthDayNanoVector.getNanoseconds(values, row), 1_000L))
          };
    }

    @Override
    public ColumnVector getChild(int ordinal) {
      return parts[ordinal];
    }
  }
}
