package io.flightbridge.columns;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertNull;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.flightbridge.BridgeException;
import io.flightbridge.Code;
import java.math.BigDecimal;
import java.nio.charset.StandardCharsets;
import java.util.List;
import org.apache.arrow.memory.RootAllocator;
import org.apache.arrow.vector.FieldVector;
import org.apache.arrow.vector.IntVector;
import org.apache.arrow.vector.TinyIntVector;
import org.apache.arrow.vector.UInt1Vector;
import org.apache.arrow.vector.UInt2Vector;
import org.apache.arrow.vector.UInt4Vector;
import org.apache.arrow.vector.UInt8Vector;
import org.apache.arrow.vector.VarCharVector;
import org.apache.arrow.vector.complex.FixedSizeListVector;
import org.apache.arrow.vector.complex.StructVector;
import org.apache.arrow.vector.dictionary.Dictionary;
import org.apache.arrow.vector.dictionary.DictionaryProvider;
import org.apache.arrow.vector.types.pojo.ArrowType;
import org.apache.arrow.vector.types.pojo.DictionaryEncoding;
import org.apache.arrow.vector.types.pojo.FieldType;
import org.apache.spark.sql.types.DataType;
import org.apache.spark.sql.types.DataTypes;
import org.apache.spark.sql.types.DecimalType;
import org.apache.spark.sql.types.StructType;
import org.apache.spark.sql.vectorized.ColumnVector;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Test;

/** Arrow's types that Spark never writes, but other writers of feeds do. */
class FeedColumnsTest {
  private final RootAllocator allocator = new RootAllocator();
  private final DictionaryProvider.MapDictionaryProvider dictionaries =
      new DictionaryProvider.MapDictionaryProvider();

  @AfterEach
  void close() {
    allocator.close(); // throws where a vector was not closed
  }

  private ColumnVector column(DataType type, FieldVector vector) {
    return new FeedColumns(dictionaries).of(type, vector, "c");
  }

  private VarCharVector words(String... words) {
    var vector = new VarCharVector("words", allocator);
    for (int i = 0; i < words.length; i++) {
      if (words[i] != null) {
        vector.setSafe(i, words[i].getBytes(StandardCharsets.UTF_8));
      }
    }
    vector.setValueCount(words.length);
    return vector;
  }

  private static FieldType encoded(ArrowType.Int codes) {
    return new FieldType(true, codes, new DictionaryEncoding(1, false, codes));
  }

  @Test
  void dictionariesAreTheirValues() {
    try (var values = words("a", null, "ccc");
        var codes = new TinyIntVector("c", encoded(new ArrowType.Int(8, true)), allocator)) {
      int[] rows = {2, 0, 1, -1, 2};
      for (int i = 0; i < rows.length; i++) {
        if (rows[i] >= 0) {
          codes.setSafe(i, rows[i]);
        }
      }
      codes.setValueCount(rows.length);
      dictionaries.put(new Dictionary(values, codes.getField().getDictionary()));
      ColumnVector column = column(DataTypes.StringType, codes);
      assertEquals("ccc", column.getUTF8String(0).toString());
      assertEquals("a", column.getUTF8String(1).toString());
      assertTrue(column.isNullAt(2)); // of the dictionary
      assertNull(column.getUTF8String(2));
      assertTrue(column.isNullAt(3)); // of the row
      assertNull(column.getUTF8String(3));
      assertFalse(column.isNullAt(4));
      assertTrue(column.hasNull());
      assertEquals(2, column.numNulls());
    }
  }

  @Test
  void codesHaveNoSign() {
    try (var values = new IntVector("values", allocator);
        var codes = new UInt1Vector("c", encoded(new ArrowType.Int(8, false)), allocator)) {
      for (int i = 0; i < 256; i++) {
        values.setSafe(i, 1000 * i);
        codes.setSafe(i, (byte) (255 - i));
      }
      values.setValueCount(256);
      codes.setValueCount(256);
      dictionaries.put(new Dictionary(values, codes.getField().getDictionary()));
      ColumnVector column = column(DataTypes.IntegerType, codes);
      for (int i = 0; i < 256; i++) {
        assertEquals(1000 * (255 - i), column.getInt(i));
      }
      assertFalse(column.hasNull());
    }
  }

  @Test
  void unsignedNumbersHaveTheirLargestValues() {
    try (var bytes = new UInt1Vector("c", allocator);
        var shorts = new UInt2Vector("c", allocator);
        var ints = new UInt4Vector("c", allocator);
        var longs = new UInt8Vector("c", allocator)) {
      bytes.setSafe(0, (byte) -1);
      bytes.setValueCount(2);
      shorts.setSafe(0, (char) 0xffff);
      shorts.setValueCount(2);
      ints.setSafe(0, -1);
      ints.setValueCount(2);
      longs.setSafe(0, -1L);
      longs.setValueCount(2);
      assertEquals(255, column(DataTypes.ShortType, bytes).getShort(0));
      assertEquals(65_535, column(DataTypes.IntegerType, shorts).getInt(0));
      assertEquals(4_294_967_295L, column(DataTypes.LongType, ints).getLong(0));
      assertEquals(
          new BigDecimal("18446744073709551615"),
          column(new DecimalType(20, 0), longs).getDecimal(0, 20, 0).toJavaBigDecimal());
      for (var vector : List.of(bytes, shorts, ints)) {
        assertEquals(1, vector.getNullCount());
      }
      assertTrue(column(new DecimalType(20, 0), longs).isNullAt(1));
      assertNull(column(new DecimalType(20, 0), longs).getDecimal(1, 20, 0));
    }
  }

  @Test
  void listsOfOneSizeBeginWhereTheyBelong() {
    try (var lists = FixedSizeListVector.empty("c", 3, allocator)) {
      var numbers =
          (IntVector)
              lists.addOrGetVector(FieldType.nullable(new ArrowType.Int(32, true))).getVector();
      for (int i = 0; i < 9; i++) {
        if (i != 7) {
          numbers.setSafe(i, 10 * i);
        }
      }
      numbers.setValueCount(9);
      lists.setNotNull(0);
      lists.setNotNull(2);
      lists.setValueCount(3);
      ColumnVector column = column(DataTypes.createArrayType(DataTypes.IntegerType), lists);
      assertArrayEquals(new int[] {0, 10, 20}, column.getArray(0).toIntArray());
      assertTrue(column.isNullAt(1)); // and takes three places all the same
      assertEquals(3, column.getArray(2).numElements());
      assertEquals(60, column.getArray(2).getInt(0));
      assertTrue(column.getArray(2).isNullAt(1));
      assertEquals(80, column.getArray(2).getInt(2));
    }
  }

  @Test
  void ofAStructAreTakenTheFieldsThatAreAskedForByName() {
    try (var struct = StructVector.empty("c", allocator)) {
      var number = FieldType.nullable(new ArrowType.Int(32, true));
      for (String name : List.of("a", "b", "x")) {
        IntVector part = struct.addOrGet(name, number, IntVector.class);
        part.setSafe(0, name.charAt(0));
        part.setValueCount(2);
      }
      struct.setIndexDefined(0);
      struct.setValueCount(2);
      var some = new StructType().add("x", DataTypes.IntegerType).add("a", DataTypes.IntegerType);
      ColumnVector column = column(some, struct);
      assertEquals('x', column.getStruct(0).getInt(0));
      assertEquals('a', column.getStruct(0).getInt(1));
      assertTrue(column.isNullAt(1));
      var other = new StructType().add("y", DataTypes.IntegerType);
      var error = assertThrows(BridgeException.class, () -> column(other, struct));
      assertEquals(Code.SCHEMA_MISMATCH, error.code());
      assertTrue(error.getMessage().contains("c.y"), error.getMessage());
    }
  }
}
