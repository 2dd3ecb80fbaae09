package io.flightbridge.columns;

import io.flightbridge.BridgeException;
import io.flightbridge.Code;
import java.util.ArrayList;
import java.util.EnumSet;
import java.util.List;
import java.util.Map;
import java.util.Set;
import org.apache.arrow.vector.types.FloatingPointPrecision;
import org.apache.arrow.vector.types.IntervalUnit;
import org.apache.arrow.vector.types.pojo.ArrowType;
import org.apache.arrow.vector.types.pojo.ArrowType.ArrowTypeID;
import org.apache.arrow.vector.types.pojo.Field;
import org.apache.arrow.vector.types.pojo.Schema;
import org.apache.spark.sql.types.ArrayType;
import org.apache.spark.sql.types.DataType;
import org.apache.spark.sql.types.DataTypes;
import org.apache.spark.sql.types.DayTimeIntervalType;
import org.apache.spark.sql.types.DecimalType;
import org.apache.spark.sql.types.MapType;
import org.apache.spark.sql.types.StructField;
import org.apache.spark.sql.types.StructType;
import org.apache.spark.sql.types.YearMonthIntervalType;

/**
 * What Spark makes of the columns of a feed; the other direction of {@link SparkTypes}. Spark has
 * no unsigned numbers and no half floats: they become the next wider type. Everything is nullable
 * but the keys of maps.
 */
public final class ReadTypes {
  private static final int MOST_DIGITS = 38;
  private static final Set<ArrowTypeID> LISTS =
      EnumSet.of(ArrowTypeID.List, ArrowTypeID.LargeList, ArrowTypeID.FixedSizeList);

  private ReadTypes() {}

  /**
   * The columns of a feed.
   *
   * @throws BridgeException a column has a type that Spark does not
   */
  public static StructType sparkSchema(Schema schema) {
    StructType columns = new StructType();
    for (Field field : schema.getFields()) {
      columns = columns.add(field.getName(), typeOf(field, field.getName()), true);
    }
    return columns;
  }

  /**
   * A table or a DataFrame may be older than its feed, or have a schema of its own. Values of
   * another type are refused: many, such as days as numbers, would be taken for what they are not.
   * What a nested column holds is asked of its parts.
   */
  static void refuseUnlessHolds(DataType wanted, Field field, String path) {
    ArrowTypeID found = field.getType().getTypeID();
    boolean holds;
    if (wanted instanceof StructType) {
      holds = found == ArrowTypeID.Struct && !isVariant(field);
    } else if (wanted instanceof ArrayType) {
      holds = LISTS.contains(found);
    } else if (wanted instanceof MapType) {
      holds = found == ArrowTypeID.Map;
    } else {
      holds = isSame(wanted, typeOf(field, path));
    }
    if (!holds) {
      throw mismatch(
          "column '"
              + path
              + "' is read as "
              + wanted.sql()
              + ", and the feed holds "
              + typeOf(field, path).sql());
    }
  }

  static BridgeException missing(String path, Field struct) {
    List<String> names = struct.getChildren().stream().map(Field::getName).toList();
    return mismatch(
        "the feed has no field '" + path + "'; those beside it are: " + String.join(", ", names));
  }

  private static BridgeException mismatch(String message) {
    return new BridgeException(
        Code.SCHEMA_MISMATCH,
        message + ": load the feed again without schema(), or create the table again");
  }

  private static boolean isSame(DataType wanted, DataType found) {
    // Which fields an interval has, and how long a text may be, does not change how it is held.
    return wanted.equals(found)
        || !(wanted instanceof DecimalType)
            && SparkTypes.readKind(wanted).equals(SparkTypes.readKind(found));
  }

  private static DataType typeOf(Field field, String path) {
    // Of a dictionary-encoded field this is the type of its values.
    ArrowType arrow = field.getType();
    return switch (arrow.getTypeID()) {
      case Null -> DataTypes.NullType;
      case Bool -> DataTypes.BooleanType;
      case Int -> integer((ArrowType.Int) arrow);
      case FloatingPoint ->
          ((ArrowType.FloatingPoint) arrow).getPrecision() == FloatingPointPrecision.DOUBLE
              ? DataTypes.DoubleType
              : DataTypes.FloatType;
      case Utf8, LargeUtf8 -> DataTypes.StringType;
      case Binary, LargeBinary, FixedSizeBinary -> DataTypes.BinaryType;
      case Decimal -> decimal((ArrowType.Decimal) arrow, field, path);
      case Date -> DataTypes.DateType;
      case Timestamp ->
          ((ArrowType.Timestamp) arrow).getTimezone() == null
              ? DataTypes.TimestampNTZType
              : DataTypes.TimestampType;
      case Time -> named("TimeType", field, path);
      case Duration -> DayTimeIntervalType.apply();
      case Interval -> interval((ArrowType.Interval) arrow, field, path);
      case List, LargeList, FixedSizeList -> {
        Field element = field.getChildren().get(0);
        yield DataTypes.createArrayType(typeOf(element, path + "[]"), true);
      }
      case Map -> {
        List<Field> entry = field.getChildren().get(0).getChildren();
        yield DataTypes.createMapType(
            typeOf(entry.get(0), path + ".key"), typeOf(entry.get(1), path + ".value"), true);
      }
      case Struct -> struct(field, path);
      default -> throw unsupported(field, path);
    };
  }

  private static DataType integer(ArrowType.Int type) {
    return switch (type.getBitWidth() + (type.getIsSigned() ? 0 : 1)) {
      case 8 -> DataTypes.ByteType;
      case 9, 16 -> DataTypes.ShortType;
      case 17, 32 -> DataTypes.IntegerType;
      case 33, 64 -> DataTypes.LongType;
      default -> DataTypes.createDecimalType(20, 0);
    };
  }

  private static DataType decimal(ArrowType.Decimal type, Field field, String path) {
    if (type.getPrecision() > MOST_DIGITS
        || type.getScale() < 0
        || type.getScale() > type.getPrecision()) {
      throw unsupported(field, path);
    }
    return new DecimalType(type.getPrecision(), type.getScale());
  }

  private static DataType interval(ArrowType.Interval type, Field field, String path) {
    if (type.getUnit() == IntervalUnit.YEAR_MONTH) {
      return YearMonthIntervalType.apply();
    }
    if (type.getUnit() == IntervalUnit.MONTH_DAY_NANO) {
      return DataTypes.CalendarIntervalType;
    }
    throw unsupported(field, path);
  }

  private static DataType struct(Field field, String path) {
    if (isVariant(field)) {
      return named("VariantType", field, path);
    }
    List<StructField> fields = new ArrayList<>();
    for (Field part : field.getChildren()) {
      DataType type = typeOf(part, path + "." + part.getName());
      fields.add(DataTypes.createStructField(part.getName(), type, true));
    }
    return DataTypes.createStructType(fields);
  }

  static boolean isVariant(Field field) {
    List<Field> parts = field.getChildren();
    if (parts.size() != 2 || !parts.get(1).getName().equals("metadata")) {
      return false;
    }
    Map<String, String> marks = parts.get(1).getMetadata();
    return marks != null && "true".equals(marks.get("variant"));
  }

  /** A type that not every Spark has. */
  private static DataType named(String type, Field field, String path) {
    try {
      Class<?> object = Class.forName("org.apache.spark.sql.types." + type + "$");
      Object module = object.getField("MODULE$").get(null);
      if (module instanceof DataType found) {
        return found;
      }
      return (DataType) module.getClass().getMethod("apply", int.class).invoke(module, 6);
    } catch (ReflectiveOperationException error) {
      throw unsupported(field, path);
    }
  }

  private static BridgeException unsupported(Field field, String path) {
    return new BridgeException(
        Code.UNSUPPORTED_TYPE,
        "column '"
            + path
            + "' has Arrow type "
            + field.getType()
            + ", which this Spark has no type for: write the feed with another, such as string");
  }
}
