package io.flightbridge.spark;

import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import org.apache.spark.sql.catalyst.InternalRow;
import org.apache.spark.sql.catalyst.expressions.GenericInternalRow;
import org.apache.spark.sql.connector.expressions.Expression;
import org.apache.spark.sql.connector.expressions.NamedReference;
import org.apache.spark.sql.connector.expressions.aggregate.AggregateFunc;
import org.apache.spark.sql.connector.expressions.aggregate.Aggregation;
import org.apache.spark.sql.connector.expressions.aggregate.Count;
import org.apache.spark.sql.connector.expressions.aggregate.CountStar;
import org.apache.spark.sql.connector.expressions.aggregate.Max;
import org.apache.spark.sql.connector.expressions.aggregate.Min;
import org.apache.spark.sql.types.DataType;
import org.apache.spark.sql.types.DataTypes;
import org.apache.spark.sql.types.StructType;

/**
 * Aggregates of a whole feed that its description and its columns' bounds answer: {@code COUNT(*)},
 * {@code COUNT(column)}, and {@code MIN} and {@code MAX} where the bounds are values.
 *
 * <p>Spark says {@code COUNT(*)} also where it is asked for {@code COUNT(DISTINCT 1)}, and does not
 * tell which. So the count is given as parts, which Spark adds: with {@code SUM} for the one, with
 * {@code SUM(DISTINCT)} for the other, and of the rows below both are right.
 */
final class FeedAggregate {
  private final List<Object> values;
  private final StructType columns;
  private final int[] counts; // places of COUNT(*)
  private final int[] partCounts; // places of COUNT(column), beside COUNT(*)
  private final long rows;

  private FeedAggregate(
      List<Object> values, StructType columns, int[] counts, int[] partCounts, long rows) {
    this.values = values;
    this.columns = columns;
    this.counts = counts;
    this.partCounts = partCounts;
    this.rows = rows;
  }

  /** Null where it is not answered. */
  static FeedAggregate of(
      Aggregation aggregation, long rows, StructType schema, FeedRanges ranges) {
    AggregateFunc[] functions = aggregation.aggregateExpressions();
    if (aggregation.groupByExpressions().length > 0 || functions.length == 0) {
      return null;
    }
    List<Object> values = new ArrayList<>();
    StructType columns = new StructType();
    List<Integer> counts = new ArrayList<>();
    List<Integer> partCounts = new ArrayList<>();
    for (int i = 0; i < functions.length; i++) {
      DataType type = DataTypes.LongType;
      if (functions[i] instanceof CountStar) {
        counts.add(i);
        values.add(rows);
      } else {
        String column = columnOf(functions[i]);
        if (column == null || !Arrays.asList(schema.fieldNames()).contains(column)) {
          return null;
        }
        ColumnRange range = ranges.ofFeed(column);
        if (range == null) {
          return null;
        }
        if (functions[i] instanceof Count) {
          partCounts.add(i);
          values.add(range.values());
        } else {
          type = schema.apply(column).dataType();
          if (range.values() > 0 && !isAnswer(range)) {
            return null;
          }
          Comparable<Object> bound = functions[i] instanceof Min ? range.min() : range.max();
          values.add(range.values() == 0 ? null : Comparables.internal(bound, type));
        }
      }
      columns = columns.add("aggregate" + i, type, true);
    }
    return new FeedAggregate(values, columns, places(counts), places(partCounts), rows);
  }

  /** Whether what {@link #rows} gives is the answer, and nothing has to be added up. */
  boolean isComplete() {
    return counts.length == 0;
  }

  StructType columns() {
    return columns;
  }

  InternalRow[] rows() {
    if (isComplete()) {
      return new InternalRow[] {new GenericInternalRow(values.toArray())};
    }
    long[] parts = parts(rows);
    InternalRow[] found = new InternalRow[parts.length];
    for (int part = 0; part < parts.length; part++) {
      Object[] row = values.toArray();
      for (int place : counts) {
        row[place] = parts[part];
      }
      for (int place : partCounts) {
        row[place] = part == 0 ? row[place] : 0L;
      }
      found[part] = new GenericInternalRow(row);
    }
    return found;
  }

  /** Numbers of which the sum is n, and of which those that differ have the sum 1, or 0 as n is. */
  static long[] parts(long n) {
    if (n <= 1) {
      return new long[] {n};
    }
    return n == 2 ? new long[] {1, 1} : new long[] {1, n - 1, n - 1, 1 - n};
  }

  // Which zero it is, of the two of floats, the bounds do not say.
  private static boolean isAnswer(ColumnRange range) {
    Object zero = 0.0;
    return range.exact() && !zero.equals(range.min()) && !zero.equals(range.max());
  }

  private static String columnOf(AggregateFunc function) {
    Expression column = null;
    if (function instanceof Min min) {
      column = min.column();
    } else if (function instanceof Max max) {
      column = max.column();
    } else if (function instanceof Count count && !count.isDistinct()) {
      column = count.column();
    }
    return column instanceof NamedReference name && name.fieldNames().length == 1
        ? name.fieldNames()[0]
        : null;
  }

  private static int[] places(List<Integer> found) {
    return found.stream().mapToInt(Integer::intValue).toArray();
  }
}
