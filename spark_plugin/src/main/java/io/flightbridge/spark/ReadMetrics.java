package io.flightbridge.spark;

import org.apache.spark.sql.connector.metric.CustomMetric;
import org.apache.spark.sql.connector.metric.CustomSumMetric;
import org.apache.spark.sql.connector.metric.CustomTaskMetric;

/** What Spark's UI shows of a read, beside the rows that it counts itself. */
public final class ReadMetrics {
  private static final String BYTES = "flightbridgeBytesRead";
  private static final String READ = "flightbridgePartitionsRead";
  private static final String LEFT_OUT = "flightbridgePartitionsLeftOut";

  private ReadMetrics() {}

  static CustomMetric[] all() {
    return new CustomMetric[] {new Bytes(), new PartitionsRead(), new PartitionsLeftOut()};
  }

  static CustomTaskMetric[] values(long bytes) {
    return new CustomTaskMetric[] {new Value(BYTES, bytes)};
  }

  /** Of the driver, once it knows what is read. */
  static CustomTaskMetric[] ofPlan(int read, int all) {
    return new CustomTaskMetric[] {new Value(READ, read), new Value(LEFT_OUT, all - read)};
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

  /** Partitions that may have rows for the filters. */
  public static final class PartitionsRead extends CustomSumMetric {
    @Override
    public String name() {
      return READ;
    }

    @Override
    public String description() {
      return "partitions of the feed that are read";
    }
  }

  /** Partitions that have none. */
  public static final class PartitionsLeftOut extends CustomSumMetric {
    @Override
    public String name() {
      return LEFT_OUT;
    }

    @Override
    public String description() {
      return "partitions that the filters leave out";
    }
  }
}
