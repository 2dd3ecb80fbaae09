package io.flightbridge.spark;

import org.apache.spark.sql.connector.metric.CustomMetric;
import org.apache.spark.sql.connector.metric.CustomSumMetric;
import org.apache.spark.sql.connector.metric.CustomTaskMetric;

/** What Spark's UI shows of a read, beside the rows that it counts itself. */
public final class ReadMetrics {
  private static final String BYTES = "flightbridgeBytesRead";

  private ReadMetrics() {}

  static CustomMetric[] all() {
    return new CustomMetric[] {new Bytes()};
  }

  static CustomTaskMetric[] values(long bytes) {
    return new CustomTaskMetric[] {new Value(BYTES, bytes)};
  }

  private record Value(String name, long value) implements CustomTaskMetric {}

  /** Bytes of Arrow buffers received. */
  public static final class Bytes extends CustomSumMetric {
    @Override
    public String name() {
      return BYTES;
    }

    @Override
    public String description() {
      return "bytes received from the feed";
    }
  }
}
