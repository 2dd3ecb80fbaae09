package io.flightbridge.columns;

import org.apache.arrow.vector.BaseIntVector;
import org.apache.arrow.vector.FieldVector;
import org.apache.spark.sql.types.DataType;
import org.apache.spark.sql.types.Decimal;
import org.apache.spark.sql.vectorized.ColumnVector;
import org.apache.spark.sql.vectorized.ColumnarArray;
import org.apache.spark.sql.vectorized.ColumnarMap;
import org.apache.spark.unsafe.types.UTF8String;

/** Values that are looked up in a dictionary, at any depth of a column. */
final class DictionaryColumn extends FeedColumn {
  private final FieldVector rows;
  private final BaseIntVector codes;
  private final ColumnVector values;

  DictionaryColumn(DataType type, FieldVector codes, ColumnVector values) {
    super(type, codes);
    this.rows = codes;
    this.codes = (BaseIntVector) codes;
    this.values = values;
  }

  // The dictionary may have nulls of its own.
  @Override
  public boolean isNullAt(int row) {
    return rows.isNull(row) || values.isNullAt(code(row));
  }

  @Override
  public boolean hasNull() {
    return super.hasNull() || values.hasNull();
  }

  @Override
  public int numNulls() {
    int nulls = 0;
    for (int row = 0; row < rows.getValueCount(); row++) {
      nulls += isNullAt(row) ? 1 : 0;
    }
    return nulls;
  }

  @Override
  public boolean getBoolean(int row) {
    return values.getBoolean(code(row));
  }

  @Override
  public byte getByte(int row) {
    return values.getByte(code(row));
  }

  @Override
  public short getShort(int row) {
    return values.getShort(code(row));
  }

  @Override
  public int getInt(int row) {
    return values.getInt(code(row));
  }

  @Override
  public long getLong(int row) {
    return values.getLong(code(row));
  }

  @Override
  public float getFloat(int row) {
    return values.getFloat(code(row));
  }

  @Override
  public double getDouble(int row) {
    return values.getDouble(code(row));
  }

  @Override
  public ColumnarArray getArray(int row) {
    return values.getArray(code(row));
  }

  @Override
  public ColumnarMap getMap(int row) {
    return values.getMap(code(row));
  }

  @Override
  public Decimal getDecimal(int row, int precision, int scale) {
    return isNullAt(row) ? null : values.getDecimal(code(row), precision, scale);
  }

  @Override
  public UTF8String getUTF8String(int row) {
    return isNullAt(row) ? null : values.getUTF8String(code(row));
  }

  @Override
  public byte[] getBinary(int row) {
    return isNullAt(row) ? null : values.getBinary(code(row));
  }

  @Override
  public ColumnVector getChild(int ordinal) {
    ColumnVector part = values.getChild(ordinal);
    return new DictionaryColumn(part.dataType(), rows, part);
  }

  private int code(int row) {
    return Math.toIntExact(codes.getValueAsLong(row));
  }
}
