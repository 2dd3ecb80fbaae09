package io.flightbridge.spark;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertTrue;

import com.google.protobuf.ByteString;
import io.flightbridge.protocol.ColumnStatistics;
import io.flightbridge.protocol.StatisticsValue;
import java.math.BigDecimal;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Random;
import java.util.Set;
import org.apache.arrow.vector.types.FloatingPointPrecision;
import org.apache.arrow.vector.types.TimeUnit;
import org.apache.arrow.vector.types.pojo.ArrowType;
import org.apache.arrow.vector.types.pojo.Field;
import org.apache.spark.sql.connector.expressions.Expression;
import org.apache.spark.sql.connector.expressions.Expressions;
import org.apache.spark.sql.connector.expressions.Literal;
import org.apache.spark.sql.connector.expressions.LiteralValue;
import org.apache.spark.sql.connector.expressions.filter.And;
import org.apache.spark.sql.connector.expressions.filter.Not;
import org.apache.spark.sql.connector.expressions.filter.Or;
import org.apache.spark.sql.connector.expressions.filter.Predicate;
import org.apache.spark.sql.types.DataType;
import org.apache.spark.sql.types.DataTypes;
import org.apache.spark.sql.types.StructType;
import org.apache.spark.unsafe.types.UTF8String;
import org.junit.jupiter.api.Test;

class PartitionFilterTest {
  private static final StructType COLUMNS =
      new StructType()
          .add("i", DataTypes.IntegerType)
          .add("t", DataTypes.StringType)
          .add("x", DataTypes.DoubleType);

  private static Literal<Object> literal(Object value, DataType type) {
    return new LiteralValue<>(value, type);
  }

  private static Predicate of(String name, String column, Object... values) {
    List<Expression> parts = new ArrayList<>(List.of(Expressions.column(column)));
    for (Object value : values) {
      Object held = value instanceof String text ? UTF8String.fromString(text) : value;
      parts.add(literal(held, COLUMNS.apply(column).dataType()));
    }
    return new Predicate(name, parts.toArray(Expression[]::new));
  }

  private static ColumnRange ints(long values, long nulls, Integer min, Integer max) {
    return new ColumnRange(
        values,
        nulls,
        min == null ? null : Comparables.of((long) min),
        max == null ? null : Comparables.of((long) max),
        min != null && max != null);
  }

  private static ColumnRange texts(String min, String max) {
    return new ColumnRange(5, 0, bytes(min), bytes(max), true);
  }

  private static Comparable<Object> bytes(String text) {
    return text == null
        ? null
        : Comparables.of(new Comparables.Bytes(UTF8String.fromString(text).getBytes()));
  }

  private static boolean may(Predicate filter, String column, ColumnRange range) {
    return new PartitionFilter(COLUMNS, List.of(filter)).mayMatch(Map.of(column, range));
  }

  private static void check(Predicate filter, ColumnRange range, boolean yes, boolean no) {
    String column = filter.children()[0].toString();
    assertEquals(yes, may(filter, column, range), filter + " " + range);
    assertEquals(no, may(new Not(filter), column, range), "not " + filter + " " + range);
  }

  @Test
  void comparisonsAtTheBounds() {
    ColumnRange range = ints(5, 0, 10, 20);
    check(of("=", "i", 9), range, false, true);
    check(of("=", "i", 10), range, true, true);
    check(of("=", "i", 20), range, true, true);
    check(of("=", "i", 21), range, false, true);
    check(of("<", "i", 10), range, false, true);
    check(of("<", "i", 11), range, true, true);
    check(of("<", "i", 21), range, true, false);
    check(of("<=", "i", 9), range, false, true);
    check(of("<=", "i", 20), range, true, false);
    check(of(">", "i", 20), range, false, true);
    check(of(">", "i", 9), range, true, false);
    check(of(">=", "i", 21), range, false, true);
    check(of(">=", "i", 10), range, true, false);
    check(of("<>", "i", 15), range, true, true);
    check(of("<>", "i", 9), range, true, false);
    check(of("IN", "i", 1, 2), range, false, true);
    check(of("IN", "i", 1, 12), range, true, true);
    check(of("<=>", "i", 9), range, false, true);
  }

  @Test
  void oneValueThroughout() {
    ColumnRange range = ints(5, 0, 10, 10);
    check(of("=", "i", 10), range, true, false);
    check(of("<>", "i", 10), range, false, true);
    check(of("IN", "i", 9, 10), range, true, false);
    check(of("<=>", "i", 10), range, true, false);
    check(of("<=>", "i", 10), ints(5, 1, 10, 10), true, true);
  }

  @Test
  void nullsAreNeitherTrueNorFalse() {
    ColumnRange none = ints(0, 5, null, null);
    for (String name : List.of("=", "<>", "<", "<=", ">", ">=", "IN")) {
      check(of(name, "i", 10), none, false, false);
      check(of(name, "i", (Object) null), ints(5, 5, 1, 2), false, false);
    }
    check(of("IS_NULL", "i"), none, true, false);
    check(of("IS_NOT_NULL", "i"), none, false, true);
    check(of("IS_NULL", "i"), ints(5, 0, 1, 2), false, true);
    check(of("IS_NOT_NULL", "i"), ints(5, 0, 1, 2), true, false);
    check(of("<=>", "i", (Object) null), ints(5, 0, 1, 2), false, true);
    check(of("<=>", "i", (Object) null), none, true, false);
    check(of("IN", "i", 1, null), ints(5, 0, 5, 6), false, false);
    check(of("IN", "i", 5, null), ints(5, 0, 5, 6), true, false);
    ColumnRange empty = ints(0, 0, null, null);
    check(of("IS_NULL", "i"), empty, false, false);
    check(of("=", "i", 1), empty, false, false);
  }

  @Test
  void withoutABoundAnythingMayBe() {
    ColumnRange unknown = ints(5, 1, null, null);
    for (String name : List.of("=", "<>", "<", "<=", ">", ">=", "IN", "<=>")) {
      check(of(name, "i", 10), unknown, true, true);
    }
    check(of("STARTS_WITH", "t", "a"), texts(null, null), true, true);
    check(of(">", "t", "c"), texts("a", null), true, true);
    check(of("<", "t", "a"), texts("a", null), false, true);
  }

  @Test
  void prefixes() {
    check(of("STARTS_WITH", "t", "b"), texts("ba", "bz"), true, false);
    check(of("STARTS_WITH", "t", "bb"), texts("ba", "bz"), true, true);
    check(of("STARTS_WITH", "t", "bz"), texts("ba", "bz"), true, true);
    check(of("STARTS_WITH", "t", "bza"), texts("ba", "bz"), false, true);
    check(of("STARTS_WITH", "t", "a"), texts("ba", "bz"), false, true);
    check(of("STARTS_WITH", "t", "c"), texts("ba", "bz"), false, true);
    check(of("STARTS_WITH", "t", ""), texts("ba", "bz"), true, false);
    check(of("STARTS_WITH", "t", "ä"), texts("z", "é"), true, true);
  }

  @Test
  void junctions() {
    ColumnRange range = ints(5, 0, 10, 20);
    Predicate in = of("=", "i", 15);
    Predicate out = of("=", "i", 25);
    Predicate always = of("<", "i", 30);
    assertFalse(may(new And(in, out), "i", range));
    assertTrue(may(new Or(in, out), "i", range));
    assertTrue(may(new Not(new And(in, out)), "i", range));
    assertFalse(may(new Not(new Or(in, always)), "i", range));
    assertTrue(may(new Not(new And(in, always)), "i", range));
    assertFalse(may(new Not(new Not(out)), "i", range));
    // What is not understood may be either, and takes nothing from the other side.
    Predicate strange =
        new Predicate("BOOLEAN_EXPRESSION", new Expression[] {Expressions.column("i")});
    assertFalse(may(new And(out, strange), "i", range));
    assertTrue(may(new Or(out, strange), "i", range));
    assertTrue(may(new Not(new Or(out, strange)), "i", range));
    assertFalse(PartitionFilter.isUnderstood(strange, COLUMNS));
    assertTrue(PartitionFilter.isUnderstood(new Or(out, strange), COLUMNS));
  }

  @Test
  void literalsMayComeFirst() {
    var column = Expressions.column("i");
    var ten = literal(10, DataTypes.IntegerType);
    var filter = new Predicate("<", new Expression[] {ten, column});
    assertTrue(may(filter, "i", ints(5, 0, 5, 11)));
    assertFalse(may(filter, "i", ints(5, 0, 5, 10)));
  }

  @Test
  void onlyWhatComparesAsItIsIsUnderstood() {
    var column = Expressions.column("i");
    var wide = new Predicate("=", new Expression[] {column, literal(10L, DataTypes.LongType)});
    assertFalse(PartitionFilter.isUnderstood(wide, COLUMNS));
    var two = new Predicate("=", new Expression[] {column, column});
    assertFalse(PartitionFilter.isUnderstood(two, COLUMNS));
    var part = new Predicate("IS_NULL", new Expression[] {Expressions.column("i.j")});
    assertFalse(PartitionFilter.isUnderstood(part, COLUMNS));
    var absent = new Predicate("IS_NULL", new Expression[] {Expressions.column("other")});
    assertFalse(PartitionFilter.isUnderstood(absent, COLUMNS));
    assertEquals(
        Set.of("i", "t"),
        new PartitionFilter(COLUMNS, List.of(of("=", "i", 1), of("=", "t", "a"))).columnsUsed());
  }

  private static ColumnStatistics doubles(long nulls, long nans, double min, double max) {
    return ColumnStatistics.newBuilder()
        .setNulls(nulls)
        .setNans(nans)
        .setMin(StatisticsValue.newBuilder().setFloatValue(min))
        .setMax(StatisticsValue.newBuilder().setFloatValue(max))
        .build();
  }

  @Test
  void nansAreAboveAllNumbers() {
    Field field = Field.nullable("x", new ArrowType.FloatingPoint(FloatingPointPrecision.DOUBLE));
    ColumnRange some = ColumnRange.of(10, doubles(1, 2, -0.0, 5), field);
    check(of(">", "x", 100.0), some, true, true);
    check(of("=", "x", Double.NaN), some, true, true);
    check(of("<", "x", 0.0), some, false, true);
    check(of("=", "x", 0.0), some, true, true);
    check(of(">=", "x", -0.0), some, true, false);
    ColumnRange none = ColumnRange.of(10, doubles(1, 0, -0.0, 5), field);
    check(of("=", "x", Double.NaN), none, false, true);
    check(of(">", "x", 5.0), none, false, true);
    ColumnStatistics all = ColumnStatistics.newBuilder().setNulls(1).setNans(9).build();
    check(of("<", "x", 1e300), ColumnRange.of(10, all, field), false, true);
    check(of("=", "x", Double.NaN), ColumnRange.of(10, all, field), true, false);
  }

  @Test
  void boundsAreReadAsSparkReadsValues() {
    var nanos = Field.nullable("n", new ArrowType.Timestamp(TimeUnit.NANOSECOND, null));
    var value = StatisticsValue.newBuilder().setIntValue(-1).build();
    assertEquals((Object) (-1L), Comparables.ofBound(value, nanos));
    var seconds = Field.nullable("s", new ArrowType.Timestamp(TimeUnit.SECOND, "UTC"));
    assertEquals((Object) (-1_000_000L), Comparables.ofBound(value, seconds));
    var far = StatisticsValue.newBuilder().setIntValue(Long.MAX_VALUE).build();
    assertEquals(null, Comparables.ofBound(far, seconds));
    var unsigned = Field.nullable("u", new ArrowType.Int(64, false));
    var most = StatisticsValue.newBuilder().setUintValue(-1L).build();
    assertEquals(
        (Object) new BigDecimal("18446744073709551615"), Comparables.ofBound(most, unsigned));
    var decimal = Field.nullable("d", new ArrowType.Decimal(12, 2, 128));
    byte[] minusThree = new byte[16];
    java.util.Arrays.fill(minusThree, (byte) 0xFF);
    minusThree[15] = (byte) (256 - 300 % 256);
    minusThree[14] = (byte) 0xFE;
    var bytes = StatisticsValue.newBuilder().setBytesValue(ByteString.copyFrom(minusThree)).build();
    assertEquals((Object) new BigDecimal("-3.00"), Comparables.ofBound(bytes, decimal));
  }

  /** Never a no for values of which one is a yes. */
  @Test
  void randomFiltersAgainstTheValuesThemselves() {
    var random = new Random(7);
    int left = 0;
    for (int round = 0; round < 20_000; round++) {
      Integer[] values = new Integer[1 + random.nextInt(4)];
      int base = random.nextInt(10);
      for (int i = 0; i < values.length; i++) {
        values[i] = random.nextInt(4) == 0 ? null : base + random.nextInt(3);
      }
      Predicate filter = randomFilter(random, 0);
      boolean any = false;
      ColumnRange range = ints(0, 0, null, null);
      for (Integer value : values) {
        range = range.with(ints(value == null ? 0 : 1, value == null ? 1 : 0, value, value));
        any |= Boolean.TRUE.equals(evaluate(filter, value));
      }
      boolean may = may(filter, "i", range);
      assertTrue(may || !any, filter + " of " + List.of(range));
      left += may ? 0 : 1;
    }
    assertTrue(left > 4_000, "left out " + left);
  }

  private static Predicate randomFilter(Random random, int depth) {
    if (depth < 2 && random.nextInt(2) == 0) {
      Predicate one = randomFilter(random, depth + 1);
      Predicate two = randomFilter(random, depth + 1);
      return switch (random.nextInt(3)) {
        case 0 -> new And(one, two);
        case 1 -> new Or(one, two);
        default -> new Not(one);
      };
    }
    List<String> names =
        List.of("=", "<>", "<", "<=", ">", ">=", "<=>", "IS_NULL", "IS_NOT_NULL", "IN");
    String name = names.get(random.nextInt(names.size()));
    if (name.startsWith("IS")) {
      return of(name, "i");
    }
    Integer value = random.nextInt(8) == 0 ? null : random.nextInt(14);
    return name.equals("IN") ? of(name, "i", value, random.nextInt(14)) : of(name, "i", value);
  }

  /** As SQL does it, with null for unknown. */
  private static Boolean evaluate(Predicate filter, Integer value) {
    Expression[] parts = filter.children();
    switch (filter.name()) {
      case "AND", "OR" -> {
        boolean decides = filter.name().equals("OR");
        Boolean one = evaluate((Predicate) parts[0], value);
        Boolean two = evaluate((Predicate) parts[1], value);
        if ((one != null && one == decides) || (two != null && two == decides)) {
          return decides;
        }
        return one == null || two == null ? null : Boolean.valueOf(!decides);
      }
      case "NOT" -> {
        Boolean inner = evaluate((Predicate) parts[0], value);
        return inner == null ? null : Boolean.valueOf(!inner);
      }
      case "IS_NULL" -> {
        return value == null;
      }
      case "IS_NOT_NULL" -> {
        return value != null;
      }
      case "IN" -> {
        Boolean found = false;
        for (int i = 1; i < parts.length; i++) {
          Integer other = (Integer) ((Literal<?>) parts[i]).value();
          if (value == null || other == null) {
            found = null;
          } else if (value.equals(other)) {
            return true;
          }
        }
        return found;
      }
      default -> {
        Integer other = (Integer) ((Literal<?>) parts[1]).value();
        if (filter.name().equals("<=>")) {
          return java.util.Objects.equals(value, other);
        }
        if (value == null || other == null) {
          return null;
        }
        int order = value.compareTo(other);
        return switch (filter.name()) {
          case "=" -> order == 0;
          case "<>" -> order != 0;
          case "<" -> order < 0;
          case "<=" -> order <= 0;
          case ">" -> order > 0;
          default -> order >= 0;
        };
      }
    }
  }
}
