package io.flightbridge.columns;

import org.apache.arrow.vector.ValueVector;
import org.apache.spark.sql.types.DataType;
import org.apache.spark.sql.types.Decimal;
import org.apache.spark.sql.vectorized.ColumnVector;
import org.apache.spark.sql.vectorized.ColumnarArray;
import org.apache.spark.sql.vectorized.ColumnarMap;
import org.apache.spark.unsafe.types.UTF8String;

/** A column of a received record batch as Spark reads it, without a copy. */
abstract class FeedColumn extends ColumnVector {
  private final ValueVector vector;

  FeedColumn(DataType type, ValueVector vector) {
    super(type);
    this.vector = vector;
  }

  @Override
  public boolean isNullAt(int row) {
    return vector.isNull(row);
  }

  @Override
  public boolean hasNull() {
    return vector.getNullCount() > 0;
  }

  @Override
  public int numNulls() {
    return vector.getNullCount();
  }

  /** The memory is the stream's. */
  @Override
  public void close() {}

  @Override
  public boolean getBoolean(int row) {
    throw wrong();
  }

  @Override
  public byte getByte(int row) {
    throw wrong();
  }

  @Override
  public short getShort(int row) {
    throw wrong();
  }

  @Override
  public int getInt(int row) {
    throw wrong();
  }

  @Override
  public long getLong(int row) {
    throw wrong();
  }

  @Override
  public float getFloat(int row) {
    throw wrong();
  }

  @Override
  public double getDouble(int row) {
    throw wrong();
  }

  @Override
  public ColumnarArray getArray(int row) {
    throw wrong();
  }

  @Override
  public ColumnarMap getMap(int row) {
    throw wrong();
  }

  @Override
  public Decimal getDecimal(int row, int precision, int scale) {
    throw wrong();
  }

  @Override
  public UTF8String getUTF8String(int row) {
    throw wrong();
  }

  @Override
  public byte[] getBinary(int row) {
    throw wrong();
  }

  @Override
  public ColumnVector getChild(int ordinal) {
    throw wrong();
  }

  private UnsupportedOperationException wrong() {
    return new UnsupportedOperationException("not of a column of type " + type.simpleString());
  }
}
