package io.flightbridge.columns;

import io.flightbridge.BridgeException;
import io.flightbridge.Code;
import io.flightbridge.memory.DirectPool;
import java.util.ArrayList;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;
import org.apache.arrow.vector.types.DateUnit;
import org.apache.arrow.vector.types.FloatingPointPrecision;
import org.apache.arrow.vector.types.IntervalUnit;
import org.apache.arrow.vector.types.TimeUnit;
import org.apache.arrow.vector.types.pojo.ArrowType;
import org.apache.arrow.vector.types.pojo.Field;
import org.apache.arrow.vector.types.pojo.FieldType;
import org.apache.arrow.vector.types.pojo.Schema;
import org.apache.spark.sql.types.ArrayType;
import org.apache.spark.sql.types.DataType;
import org.apache.spark.sql.types.DecimalType;
import org.apache.spark.sql.types.MapType;
import org.apache.spark.sql.types.Metadata;
import org.apache.spark.sql.types.StructField;
import org.apache.spark.sql.types.StructType;
import org.apache.spark.sql.types.UserDefinedType;

/**
 * Spark SQL types as feeds hold them: the Arrow type of each, and what makes columns of it. The
 * table in docs/tensorflow.md shows them. Types are known by the names of their classes, which are
 * the same in every Spark that has the type.
 */
public final class SparkTypes {
  /** Metadata of a field of MLlib vectors: how long they are. */
  public static final String VECTOR_SIZE = "flightbridge.vector_size";

  private static final ArrowType UTF8 = new ArrowType.Utf8();
  private static final ArrowType BINARY = new ArrowType.Binary();
  private static final ArrowType STRUCT = new ArrowType.Struct();
  private static final Map<String, ArrowType> SIMPLE =
      Map.ofEntries(
          Map.entry("BooleanType", new ArrowType.Bool()),
          Map.entry("ByteType", new ArrowType.Int(8, true)),
          Map.entry("ShortType", new ArrowType.Int(16, true)),
          Map.entry("IntegerType", new ArrowType.Int(32, true)),
          Map.entry("LongType", new ArrowType.Int(64, true)),
          Map.entry("FloatType", new ArrowType.FloatingPoint(FloatingPointPrecision.SINGLE)),
          Map.entry("DoubleType", new ArrowType.FloatingPoint(FloatingPointPrecision.DOUBLE)),
          Map.entry("StringType", UTF8),
          Map.entry("CharType", UTF8),
          Map.entry("VarcharType", UTF8),
          Map.entry("BinaryType", BINARY),
          Map.entry("DateType", new ArrowType.Date(DateUnit.DAY)),
          Map.entry("TimestampType", new ArrowType.Timestamp(TimeUnit.MICROSECOND, "UTC")),
          Map.entry("TimestampNTZType", new ArrowType.Timestamp(TimeUnit.MICROSECOND, null)),
          Map.entry("TimeType", new ArrowType.Time(TimeUnit.NANOSECOND, 64)),
          Map.entry("DayTimeIntervalType", new ArrowType.Duration(TimeUnit.MICROSECOND)),
          Map.entry("YearMonthIntervalType", new ArrowType.Interval(IntervalUnit.YEAR_MONTH)),
          Map.entry("CalendarIntervalType", new ArrowType.Interval(IntervalUnit.MONTH_DAY_NANO)),
          Map.entry("NullType", new ArrowType.Null()));

  private SparkTypes() {}

  /**
   * The schema of a feed with these columns.
   *
   * @throws BridgeException a column's type cannot cross, or two columns share a name
   */
  public static Schema arrowSchema(StructType columns) {
    if (columns.isEmpty()) {
      throw unsupported("the DataFrame has no columns: select at least one");
    }
    Set<String> names = new HashSet<>();
    List<Field> fields = new ArrayList<>();
    for (StructField column : columns.fields()) {
      if (!names.add(column.name())) {
        throw unsupported(
            "column '"
                + column.name()
                + "' appears more than once: rename one of them with alias()");
      }
      fields.add(field(column.name(), column.dataType(), column.name(), vectorSize(column)));
    }
    return new Schema(fields);
  }

  /** What makes columns of that type, which {@link #arrowSchema} accepted. */
  static ColumnBuilder builder(DataType type, DirectPool pool) {
    if (type instanceof UserDefinedType<?> user) {
      return builder(user.sqlType(), pool);
    }
    if (type instanceof DecimalType decimal) {
      return new DecimalBuilder(pool, decimal.precision(), decimal.scale());
    }
    if (type instanceof ArrayType array) {
      return new NestedBuilder.OfList(pool, builder(array.elementType(), pool));
    }
    if (type instanceof MapType map) {
      return new NestedBuilder.OfMap(
          pool, builder(map.keyType(), pool), builder(map.valueType(), pool));
    }
    if (type instanceof StructType struct) {
      List<ColumnBuilder> fields = new ArrayList<>();
      for (StructField field : struct.fields()) {
        fields.add(builder(field.dataType(), pool));
      }
      return new NestedBuilder.OfStruct(pool, fields);
    }
    return switch (kind(type)) {
      case "BooleanType" -> new BooleanBuilder(pool);
      case "ByteType" -> FixedWidthBuilder.of(pool, 1);
      case "ShortType" -> FixedWidthBuilder.of(pool, 2);
      case "IntegerType", "FloatType", "DateType", "YearMonthIntervalType" ->
          FixedWidthBuilder.of(pool, 4);
      case "LongType",
          "DoubleType",
          "TimestampType",
          "TimestampNTZType",
          "TimeType",
          "DayTimeIntervalType" ->
          FixedWidthBuilder.of(pool, 8);
      case "StringType", "CharType", "VarcharType" -> new BytesBuilder(pool, true);
      case "BinaryType" -> new BytesBuilder(pool, false);
      case "CalendarIntervalType" -> new IntervalBuilder(pool);
      case "VariantType" -> new VariantBuilder(pool);
      case "NullType" -> new NullBuilder(pool);
      default -> throw new IllegalArgumentException("no columns of type " + type.simpleString());
    };
  }

  private static Field field(String name, DataType type, String path, long vectorSize) {
    Map<String, String> metadata =
        vectorSize > 0 ? Map.of(VECTOR_SIZE, Long.toString(vectorSize)) : null;
    return field(name, type, path, true, metadata);
  }

  private static Field field(
      String name, DataType type, String path, boolean nullable, Map<String, String> metadata) {
    List<Field> children = new ArrayList<>();
    ArrowType arrow;
    if (type instanceof UserDefinedType<?> user) {
      if (!isVector(user)) {
        throw unsupported(path, type, "select its parts as ordinary columns");
      }
      return field(name, user.sqlType(), path, nullable, metadata);
    } else if (type instanceof DecimalType decimal) {
      arrow = new ArrowType.Decimal(decimal.precision(), decimal.scale(), 128);
    } else if (type instanceof ArrayType array) {
      arrow = new ArrowType.List();
      children.add(field("element", array.elementType(), path + "[]", true, null));
    } else if (type instanceof MapType map) {
      arrow = new ArrowType.Map(false);
      children.add(
          new Field(
              "entries",
              FieldType.notNullable(STRUCT),
              List.of(
                  field("key", map.keyType(), path + ".key", false, null),
                  field("value", map.valueType(), path + ".value", true, null))));
    } else if (type instanceof StructType struct) {
      arrow = STRUCT;
      for (StructField part : struct.fields()) {
        children.add(field(part.name(), part.dataType(), path + "." + part.name(), true, null));
      }
    } else if (kind(type).equals("VariantType")) {
      arrow = STRUCT;
      children.add(Field.notNullable("value", BINARY));
      children.add(
          new Field(
              "metadata", new FieldType(false, BINARY, null, Map.of("variant", "true")), null));
    } else {
      arrow = SIMPLE.get(kind(type));
      if (arrow == null) {
        throw unsupported(path, type, "cast it to string or binary");
      }
    }
    return new Field(name, new FieldType(nullable, arrow, null, metadata), children);
  }

  // StringType of Spark 4 has subclasses, and type objects are instances of `Name$`.
  private static String kind(DataType type) {
    for (Class<?> c = type.getClass(); c != null; c = c.getSuperclass()) {
      String name = c.getSimpleName().replace("$", "");
      if (SIMPLE.containsKey(name) || name.equals("VariantType")) {
        return name;
      }
    }
    return type.getClass().getSimpleName();
  }

  /** As {@link #kind}, with all texts alike: that is how they come back. */
  static String readKind(DataType type) {
    String kind = kind(type);
    return kind.equals("CharType") || kind.equals("VarcharType") ? "StringType" : kind;
  }

  static boolean isVector(UserDefinedType<?> type) {
    return type.getClass().getSimpleName().equals("VectorUDT")
        || type.userClass().getSimpleName().equals("Vector");
  }

  // MLlib's transformers note the size of the vectors that they make.
  private static long vectorSize(StructField column) {
    Metadata metadata = column.metadata();
    if (column.dataType() instanceof UserDefinedType<?> && metadata.contains("ml_attr")) {
      Metadata attributes = metadata.getMetadata("ml_attr");
      if (attributes.contains("num_attrs")) {
        return attributes.getLong("num_attrs");
      }
    }
    return 0;
  }

  private static BridgeException unsupported(String path, DataType type, String remedy) {
    return unsupported(
        "column '"
            + path
            + "' has Spark type "
            + type.simpleString()
            + ", which a feed cannot hold: "
            + remedy
            + ", or drop it");
  }

  private static BridgeException unsupported(String message) {
    return new BridgeException(Code.UNSUPPORTED_TYPE, message);
  }
}
