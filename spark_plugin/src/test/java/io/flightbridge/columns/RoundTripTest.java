package io.flightbridge.columns;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertNull;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.flightbridge.memory.DirectPool;
import java.util.ArrayList;
import java.util.List;
import java.util.Random;
import org.apache.arrow.flatbuf.Message;
import org.apache.arrow.flatbuf.RecordBatch;
import org.apache.arrow.memory.ArrowBuf;
import org.apache.arrow.memory.RootAllocator;
import org.apache.arrow.vector.VectorLoader;
import org.apache.arrow.vector.VectorSchemaRoot;
import org.apache.arrow.vector.dictionary.DictionaryProvider;
import org.apache.arrow.vector.ipc.message.MessageSerializer;
import org.apache.spark.sql.catalyst.InternalRow;
import org.apache.spark.sql.catalyst.expressions.GenericInternalRow;
import org.apache.spark.sql.catalyst.expressions.UnsafeProjection;
import org.apache.spark.sql.catalyst.util.ArrayBasedMapData;
import org.apache.spark.sql.catalyst.util.GenericArrayData;
import org.apache.spark.sql.types.ArrayType;
import org.apache.spark.sql.types.DataType;
import org.apache.spark.sql.types.DataTypes;
import org.apache.spark.sql.types.Decimal;
import org.apache.spark.sql.types.DecimalType;
import org.apache.spark.sql.types.MapType;
import org.apache.spark.sql.types.StructType;
import org.apache.spark.sql.vectorized.ColumnVector;
import org.apache.spark.sql.vectorized.ColumnarBatch;
import org.apache.spark.unsafe.types.CalendarInterval;
import org.apache.spark.unsafe.types.UTF8String;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

/** Rows made into a message by {@link BatchBuilder}, read by Arrow and by {@link FeedColumns}. */
class RoundTripTest {
  private static final List<DataType> SIMPLE =
      List.of(
          DataTypes.BooleanType,
          DataTypes.ByteType,
          DataTypes.ShortType,
          DataTypes.IntegerType,
          DataTypes.LongType,
          DataTypes.FloatType,
          DataTypes.DoubleType,
          DataTypes.StringType,
          DataTypes.BinaryType,
          DataTypes.DateType,
          DataTypes.TimestampType,
          DataTypes.TimestampNTZType,
          DataTypes.CalendarIntervalType,
          DataTypes.createDayTimeIntervalType(),
          DataTypes.createYearMonthIntervalType(),
          new DecimalType(9, 2),
          new DecimalType(38, 10),
          DataTypes.NullType);

  private static StructType everything() {
    List<DataType> types = new ArrayList<>(SIMPLE);
    StructType struct = new StructType();
    for (DataType type : SIMPLE) {
      struct = struct.add("part" + struct.length(), type);
      types.add(DataTypes.createArrayType(type));
    }
    types.add(struct);
    types.add(DataTypes.createArrayType(DataTypes.createArrayType(DataTypes.StringType)));
    types.add(DataTypes.createArrayType(struct));
    types.add(DataTypes.createMapType(DataTypes.StringType, DataTypes.LongType));
    types.add(
        DataTypes.createMapType(
            DataTypes.IntegerType, DataTypes.createArrayType(DataTypes.BinaryType)));
    StructType columns = new StructType();
    for (DataType type : types) {
      columns = columns.add("c" + columns.length(), type);
    }
    return columns;
  }

  private static Object value(DataType type, Random random, double nulls) {
    if (type == DataTypes.NullType || random.nextDouble() < nulls) {
      return null;
    }
    if (type instanceof StructType struct) {
      return row(struct, random, nulls);
    }
    if (type instanceof ArrayType array) {
      return array(array.elementType(), random.nextInt(4), random, nulls);
    }
    if (type instanceof MapType map) {
      int size = random.nextInt(4);
      return new ArrayBasedMapData(
          array(map.keyType(), size, random, 0), array(map.valueType(), size, random, nulls));
    }
    if (type instanceof DecimalType decimal) {
      return Decimal.apply(random.nextInt(999_999_999), decimal.precision(), decimal.scale());
    }
    byte[] bytes = new byte[random.nextInt(20)];
    random.nextBytes(bytes);
    return switch (type.getClass().getSimpleName().replace("$", "")) {
      case "BooleanType" -> random.nextBoolean();
      case "ByteType" -> (byte) random.nextInt();
      case "ShortType" -> (short) random.nextInt();
      case "IntegerType", "DateType", "YearMonthIntervalType" -> random.nextInt();
      case "FloatType" -> random.nextFloat();
      case "DoubleType" -> random.nextDouble();
      case "StringType" -> UTF8String.fromString("ä€" + random.nextInt());
      case "BinaryType" -> bytes;
      case "CalendarIntervalType" ->
          new CalendarInterval(random.nextInt(), random.nextInt(), random.nextInt());
      default -> random.nextLong();
    };
  }

  private static GenericArrayData array(DataType type, int size, Random random, double nulls) {
    Object[] values = new Object[size];
    for (int i = 0; i < size; i++) {
      values[i] = value(type, random, nulls);
    }
    return new GenericArrayData(values);
  }

  private static InternalRow row(StructType columns, Random random, double nulls) {
    Object[] values = new Object[columns.length()];
    for (int i = 0; i < values.length; i++) {
      values[i] = value(columns.apply(i).dataType(), random, nulls);
    }
    return new GenericInternalRow(values);
  }

  /** What Arrow's own reader makes of the message must be the rows that were added. */
  private static void comesBack(StructType columns, List<InternalRow> rows) throws Exception {
    var builder = new BatchBuilder(columns, Long.MAX_VALUE, DirectPool.shared());
    rows.forEach(builder::add);
    EncodedBatch batch = builder.take();
    assertEquals(rows.size(), batch.rows());
    var message = new RecordBatch();
    Message.getRootAsMessage(batch.metadata()).header(message);
    try (var allocator = new RootAllocator();
        var root = VectorSchemaRoot.create(SparkTypes.arrowSchema(columns), allocator)) {
      ArrowBuf body = allocator.buffer(batch.bodyBytes()); // the message takes it over
      for (var bytes : batch.body()) {
        body.setBytes(body.writerIndex(), bytes.duplicate());
        body.writerIndex(body.writerIndex() + bytes.remaining());
      }
      assertEquals(batch.bodyBytes(), body.writerIndex());
      batch.release();
      try (var arrow = MessageSerializer.deserializeRecordBatch(message, body)) {
        new VectorLoader(root).load(arrow);
      }
      ColumnVector[] found = new ColumnVector[columns.length()];
      var feed = new FeedColumns(new DictionaryProvider.MapDictionaryProvider());
      for (int i = 0; i < found.length; i++) {
        found[i] = feed.of(columns.apply(i).dataType(), root.getVector(i), "c" + i);
      }
      var read = new ColumnarBatch(found, rows.size());
      UnsafeProjection there = UnsafeProjection.create(columns);
      UnsafeProjection back = UnsafeProjection.create(columns);
      for (int i = 0; i < rows.size(); i++) {
        assertEquals(there.apply(rows.get(i)), back.apply(read.getRow(i)), "row " + i);
      }
    } finally {
      builder.clear();
    }
  }

  private static List<InternalRow> rows(StructType columns, int count, double nulls) {
    var random = new Random(count);
    List<InternalRow> rows = new ArrayList<>();
    for (int i = 0; i < count; i++) {
      rows.add(row(columns, random, nulls));
    }
    return rows;
  }

  @ParameterizedTest
  @ValueSource(ints = {1, 7, 8, 63, 64, 65, 511, 512, 513, 1024, 1025})
  void everyTypeAtTheEdgesOfBlocks(int count) throws Exception {
    for (double nulls : new double[] {0, 0.3, 1}) {
      comesBack(everything(), rows(everything(), count, nulls));
    }
  }

  @Test
  void nullsThatBeginInALaterBlock() throws Exception {
    List<InternalRow> rows = rows(everything(), 600, 0);
    rows.addAll(rows(everything(), 600, 1));
    rows.addAll(rows(everything(), 300, 0));
    comesBack(everything(), rows);
  }

  @Test
  void bigStrings() throws Exception {
    StructType columns = new StructType().add("text", DataTypes.StringType);
    List<InternalRow> rows = new ArrayList<>();
    for (int size : new int[] {0, 5 << 20, 1, 3 << 20, 0}) {
      rows.add(new GenericInternalRow(new Object[] {UTF8String.fromString("x".repeat(size))}));
    }
    comesBack(columns, rows);
  }

  @Test
  void withoutRowsThereIsNoBatch() {
    assertNull(new BatchBuilder(everything(), 1, DirectPool.shared()).take());
  }

  @Test
  void buffersBeginAtCacheLines() {
    StructType columns = everything();
    var builder = new BatchBuilder(columns, Long.MAX_VALUE, DirectPool.shared());
    rows(columns, 100, 0.3).forEach(builder::add);
    EncodedBatch batch = builder.take();
    var message = new RecordBatch();
    Message.getRootAsMessage(batch.metadata()).header(message);
    assertTrue(message.buffersLength() > columns.length());
    for (int i = 0; i < message.buffersLength(); i++) {
      assertEquals(0, message.buffers(i).offset() % 64);
      assertEquals(batch.buffers().get(i).remaining(), message.buffers(i).length());
    }
    batch.release();
  }
}
