package io.flightbridge.spark;

import org.apache.spark.sql.connector.metric.CustomMetric;
import org.apache.spark.sql.connector.metric.CustomSumMetric;
import org.apache.spark.sql.connector.metric.CustomTaskMetric;

/** What Spark's UI shows of a write. Spark makes the classes by their names. */
public final class WriteMetrics {
  private static final String ROWS = "flightbridgeRows";
  private static final String BYTES = "flightbridgeBytes";
  private static final String MAPPED = "flightbridgeMappedBytes";
  private static final String WAITED = "flightbridgeWaitedMs";

  private WriteMetrics() {}

  static CustomMetric[] all() {
    return new CustomMetric[] {new Rows(), new Bytes(), new Mapped(), new Waited()};
  }

  static CustomTaskMetric[] values(long rows, long bytes, long mappedBytes, long waitedNanos) {
    return new CustomTaskMetric[] {
      new Value(ROWS, rows),
      new Value(BYTES, bytes),
      new Value(MAPPED, mappedBytes),
      new Value(WAITED, waitedNanos / 1_000_000)
    };
  }

  private record Value(String name, long value) implements CustomTaskMetric {}

  /** Rows sent. */
  public static final class Rows extends CustomSumMetric {
    @Override
    public String name() {
      return ROWS;
    }

    @Override
    public String description() {
      return "rows sent to the feed";
    }
  }

  /** Bytes of Arrow buffers sent. */
  public static final class Bytes extends CustomSumMetric {
    @Override
    public String name() {
      return BYTES;
    }

    @Override
    public String description() {
      return "bytes sent to the feed";
    }
  }

  /** Those of them that went through memory shared with a server on the executor's machine. */
  public static final class Mapped extends CustomSumMetric {
    @Override
    public String name() {
      return MAPPED;
    }

    @Override
    public String description() {
      return "bytes that went through shared memory";
    }
  }

  /** Time in which a task could not go on because the server did not take more. */
  public static final class Waited extends CustomSumMetric {
    @Override
    public String name() {
      return WAITED;
    }

    @Override
    public String description() {
      return "time waiting for the server (ms)";
    }
  }
}
