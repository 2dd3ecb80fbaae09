package io.flightbridge.spark;

import java.util.Arrays;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.TreeSet;
import org.apache.spark.sql.connector.expressions.Expression;
import org.apache.spark.sql.connector.expressions.Literal;
import org.apache.spark.sql.connector.expressions.NamedReference;
import org.apache.spark.sql.connector.expressions.filter.Predicate;
import org.apache.spark.sql.types.StructType;

/**
 * Whether a partition may have rows for which filters are true, by what its columns lie between.
 * What it does not understand may be true of any row: Spark applies all filters to the rows that
 * are read, so the only mistake would be to say no.
 */
final class PartitionFilter {
  private static final Set<String> COMPARISONS = Set.of("=", "<=>", "<>", "<", "<=", ">", ">=");

  private final StructType columns;
  private final List<Predicate> filters;

  PartitionFilter(StructType columns, List<Predicate> filters) {
    this.columns = columns;
    this.filters = filters;
  }

  /** Columns whose ranges {@link #mayMatch} asks for. */
  Set<String> columnsUsed() {
    Set<String> used = new TreeSet<>();
    filters.forEach(filter -> collect(filter, used));
    return used;
  }

  /** Whether something of it can be told by ranges. */
  static boolean isUnderstood(Predicate filter, StructType columns) {
    return !new PartitionFilter(columns, List.of(filter)).columnsUsed().isEmpty();
  }

  /** With ranges by column; a column without one may hold anything. */
  boolean mayMatch(Map<String, ColumnRange> ranges) {
    return filters.stream().allMatch(filter -> may(filter, true, ranges));
  }

  private void collect(Expression filter, Set<String> used) {
    if (isJunction(filter) || is(filter, "NOT")) {
      for (Expression child : filter.children()) {
        collect(child, used);
      }
    } else if (filter instanceof Predicate predicate) {
      Comparison found = comparison(predicate);
      if (found != null) {
        used.add(found.column);
      }
    }
  }

  /** Whether a row may make the filter true, or else false: a null makes it neither. */
  private boolean may(Expression filter, boolean wanted, Map<String, ColumnRange> ranges) {
    if (is(filter, "NOT")) {
      return may(filter.children()[0], !wanted, ranges);
    }
    if (isJunction(filter)) {
      // Of "and" both have to be true, of "or" both have to be false.
      boolean all = is(filter, "AND") == wanted;
      boolean left = may(filter.children()[0], wanted, ranges);
      boolean right = may(filter.children()[1], wanted, ranges);
      return all ? left && right : left || right;
    }
    if (is(filter, "ALWAYS_FALSE") || is(filter, "ALWAYS_TRUE")) {
      return is(filter, "ALWAYS_TRUE") == wanted;
    }
    Comparison found = filter instanceof Predicate p ? comparison(p) : null;
    ColumnRange range = found == null ? null : ranges.get(found.column);
    return range == null || (wanted ? found.mayBeTrue(range) : found.mayBeFalse(range));
  }

  private static boolean is(Expression filter, String name) {
    return filter instanceof Predicate predicate && predicate.name().equals(name);
  }

  private static boolean isJunction(Expression filter) {
    return is(filter, "AND") || is(filter, "OR");
  }

  /** Of a column with literals; null for anything else. */
  private Comparison comparison(Predicate filter) {
    Expression[] parts = filter.children();
    String name = filter.name();
    if (COMPARISONS.contains(name) && parts[0] instanceof Literal<?>) {
      parts = new Expression[] {parts[1], parts[0]};
      name = turned(name);
    }
    if (parts.length == 0
        || !(parts[0] instanceof NamedReference reference)
        || reference.fieldNames().length != 1
        || !Arrays.asList(columns.fieldNames()).contains(reference.fieldNames()[0])) {
      return null;
    }
    String column = reference.fieldNames()[0];
    boolean known =
        switch (name) {
          case "IS_NULL", "IS_NOT_NULL" -> true;
          case "IN", "STARTS_WITH" -> parts.length > 1;
          default -> COMPARISONS.contains(name);
        };
    if (!known) {
      return null;
    }
    Operand[] operands = new Operand[parts.length - 1];
    for (int i = 0; i < operands.length; i++) {
      if (!(parts[i + 1] instanceof Literal<?> literal)) {
        return null;
      }
      var value =
          Comparables.ofLiteral(
              literal.value(), literal.dataType(), columns.apply(column).dataType());
      if (value == null && literal.value() != null) {
        return null;
      }
      operands[i] = new Operand(value);
    }
    return new Comparison(column, name, operands);
  }

  private static String turned(String name) {
    return switch (name) {
      case "<" -> ">";
      case "<=" -> ">=";
      case ">" -> "<";
      case ">=" -> "<=";
      default -> name;
    };
  }

  /** A literal; of a null there is no value. */
  private record Operand(Comparable<Object> value) {
    boolean isNull() {
      return value == null;
    }
  }

  private record Comparison(String column, String name, Operand[] operands) {
    boolean mayBeTrue(ColumnRange range) {
      return switch (name) {
        case "IS_NULL" -> range.nulls() > 0;
        case "IS_NOT_NULL" -> range.values() > 0;
        case "<=>" -> operands[0].isNull() ? range.nulls() > 0 : may("=", range);
        case "IN" -> Arrays.stream(operands).anyMatch(o -> !o.isNull() && range.mayHold(o.value()));
        default -> may(name, range);
      };
    }

    boolean mayBeFalse(ColumnRange range) {
      return switch (name) {
        case "IS_NULL" -> range.values() > 0;
        case "IS_NOT_NULL" -> range.nulls() > 0;
        case "<=>" -> operands[0].isNull() ? range.values() > 0 : mayNotBe(range);
        case "IN" -> // it is not, where one of the list is null
            Arrays.stream(operands).allMatch(o -> !o.isNull() && range.mayDiffer(o.value()));
        case "STARTS_WITH" -> !operands[0].isNull() && !allStartWith(range);
        default -> may(opposite(name), range);
      };
    }

    private boolean mayNotBe(ColumnRange range) {
      return range.nulls() > 0 || range.mayDiffer(operands[0].value());
    }

    private boolean may(String comparison, ColumnRange range) {
      if (operands[0].isNull()) {
        return false; // compared with null nothing is true, and nothing false
      }
      Comparable<Object> value = operands[0].value();
      return switch (comparison) {
        case "=" -> range.mayHold(value);
        case "<>" -> range.mayDiffer(value);
        case "<" -> range.mayBeBelow(value);
        case "<=" -> range.mayBeAtMost(value);
        case ">" -> range.mayBeAbove(value);
        case ">=" -> range.mayBeAtLeast(value);
        case "STARTS_WITH" -> mayStart(range, value);
        default -> true;
      };
    }

    private static String opposite(String name) {
      return switch (name) {
        case "=" -> "<>";
        case "<>" -> "=";
        case "<" -> ">=";
        case "<=" -> ">";
        case ">" -> "<=";
        case ">=" -> "<";
        default -> name;
      };
    }

    // Texts with a prefix come one behind the other, from the prefix itself on.
    private static boolean mayStart(ColumnRange range, Comparable<Object> prefix) {
      if (!range.mayBeAtLeast(prefix)) {
        return false;
      }
      return range.min() == null || range.mayBeAtMost(prefix) || starts(range.min(), prefix);
    }

    private boolean allStartWith(ColumnRange range) {
      return range.values() == 0
          || (range.min() != null
              && range.max() != null
              && starts(range.min(), operands[0].value())
              && starts(range.max(), operands[0].value()));
    }

    private static boolean starts(Object text, Object prefix) {
      return ((Comparables.Bytes) text).startsWith((Comparables.Bytes) prefix);
    }
  }
}
