package io.flightbridge.spark;

import io.flightbridge.protocol.ColumnStatistics;
import io.flightbridge.protocol.StatisticsValue;
import org.apache.arrow.vector.types.pojo.Field;

/**
 * What the values of a column lie between, in one partition or in all. Values are as {@link
 * Comparables} makes them.
 *
 * @param values how many are not null
 * @param nulls how many are
 * @param min no value is below it; null: unknown, or there is no value
 * @param max no value is above it
 * @param exact whether both are values of the column
 */
record ColumnRange(
    long values, long nulls, Comparable<Object> min, Comparable<Object> max, boolean exact) {

  static ColumnRange of(long rows, ColumnStatistics found, Field column) {
    long values = rows - found.getNulls();
    Comparable<Object> min = bound(found.hasMin(), found.getMin(), column);
    Comparable<Object> max = bound(found.hasMax(), found.getMax(), column);
    if (found.getNans() > 0) { // which Spark sorts behind all other values
      max = Comparables.of(Double.NaN);
      min = found.getNans() == values ? max : min;
    }
    boolean cut = found.getMin().getCut() || found.getMax().getCut();
    return new ColumnRange(values, found.getNulls(), min, max, min != null && max != null && !cut);
  }

  private static Comparable<Object> bound(boolean there, StatisticsValue value, Field column) {
    return there ? Comparables.ofBound(value, column) : null;
  }

  /** The range of the values of both. */
  ColumnRange with(ColumnRange other) {
    if (other.values == 0) {
      return new ColumnRange(values, nulls + other.nulls, min, max, exact);
    }
    if (values == 0) {
      return new ColumnRange(other.values, nulls + other.nulls, other.min, other.max, other.exact);
    }
    boolean known = min != null && max != null && other.min != null && other.max != null;
    return new ColumnRange(
        values + other.values,
        nulls + other.nulls,
        known ? (min.compareTo(other.min) <= 0 ? min : other.min) : null,
        known ? (max.compareTo(other.max) >= 0 ? max : other.max) : null,
        known && exact && other.exact);
  }

  /** Whether one of the values may be equal to that one. */
  boolean mayHold(Comparable<Object> value) {
    return mayBeAtMost(value) && mayBeAtLeast(value);
  }

  boolean mayBeAtMost(Comparable<Object> value) {
    return values > 0 && (min == null || min.compareTo(value) <= 0);
  }

  boolean mayBeAtLeast(Comparable<Object> value) {
    return values > 0 && (max == null || max.compareTo(value) >= 0);
  }

  boolean mayBeBelow(Comparable<Object> value) {
    return values > 0 && (min == null || min.compareTo(value) < 0);
  }

  boolean mayBeAbove(Comparable<Object> value) {
    return values > 0 && (max == null || max.compareTo(value) > 0);
  }

  /** Whether one of the values may be another than that one. */
  boolean mayDiffer(Comparable<Object> value) {
    return mayBeBelow(value) || mayBeAbove(value);
  }
}
