package io.flightbridge.spark;

import io.flightbridge.protocol.FeedInfo;
import io.flightbridge.protocol.GetTicket;
import io.flightbridge.protocol.PartitionInfo;
import io.flightbridge.protocol.RowRange;
import java.util.ArrayList;
import java.util.List;
import java.util.OptionalLong;
import org.apache.spark.sql.connector.expressions.filter.Predicate;
import org.apache.spark.sql.connector.metric.CustomMetric;
import org.apache.spark.sql.connector.metric.CustomTaskMetric;
import org.apache.spark.sql.connector.read.Batch;
import org.apache.spark.sql.connector.read.InputPartition;
import org.apache.spark.sql.connector.read.PartitionReaderFactory;
import org.apache.spark.sql.connector.read.Scan;
import org.apache.spark.sql.connector.read.Statistics;
import org.apache.spark.sql.connector.read.SupportsReportStatistics;
import org.apache.spark.sql.types.StructType;

/**
 * Rows of a feed. Its large partitions are read by several tasks, its small ones several by one
 * task, always of one server.
 */
final class FeedScan implements Scan, Batch, SupportsReportStatistics {
  private final ReadOptions options;
  private final FeedInfo feed;
  private final StructType columns;
  private final long limit;
  private final List<Predicate> filters;
  private final int allPartitions;

  /**
   * @param feed with those of its partitions that are read
   * @param filters by which they were chosen
   * @param allPartitions that it has
   */
  FeedScan(
      ReadOptions options,
      FeedInfo feed,
      StructType columns,
      long limit,
      List<Predicate> filters,
      int allPartitions) {
    this.options = options;
    this.feed = feed;
    this.columns = columns;
    this.limit = limit;
    this.filters = filters;
    this.allPartitions = allPartitions;
  }

  @Override
  public StructType readSchema() {
    return columns;
  }

  @Override
  public String description() {
    return "flightbridge feed '"
        + options.feed()
        + "' at "
        + options.uri()
        + " "
        + columns.simpleString()
        + (limit == Long.MAX_VALUE ? "" : " limit " + limit)
        + (filters.isEmpty() ? "" : ", PushedFilters: " + filters)
        + (", partitions: " + feed.getPartitionsCount() + " of " + allPartitions);
  }

  @Override
  public Batch toBatch() {
    return this;
  }

  @Override
  public Statistics estimateStatistics() {
    long rows = Math.min(feed.getRows(), limit);
    long bytes =
        feed.getRows() == 0 ? 0 : (long) ((double) feed.getBytes() / feed.getRows() * rows);
    return new Statistics() {
      @Override
      public OptionalLong sizeInBytes() {
        return OptionalLong.of(Math.max(1, bytes));
      }

      @Override
      public OptionalLong numRows() {
        return OptionalLong.of(rows);
      }
    };
  }

  @Override
  public InputPartition[] planInputPartitions() {
    List<InputPartition> tasks = new ArrayList<>();
    Split split = new Split();
    long left = limit;
    for (PartitionInfo partition : feed.getPartitionsList()) {
      long wanted = Math.min(partition.getRows(), left);
      left -= wanted;
      long rowBytes = Math.max(1, partition.getBytes() / Math.max(1, partition.getRows()));
      for (long begin = 0; begin < wanted; ) {
        if (!split.fits(partition.getServer(), rowBytes)) {
          split.endInto(tasks);
          split = new Split();
        }
        begin = split.take(partition, begin, wanted, rowBytes);
      }
    }
    split.endInto(tasks);
    return tasks.toArray(InputPartition[]::new);
  }

  @Override
  public PartitionReaderFactory createReaderFactory() {
    return new FeedReaderFactory(options, columns);
  }

  @Override
  public CustomMetric[] supportedCustomMetrics() {
    return ReadMetrics.all();
  }

  @Override
  public CustomTaskMetric[] reportDriverMetrics() {
    return ReadMetrics.ofPlan(feed.getPartitionsCount(), allPartitions);
  }

  /** What one task reads. */
  private final class Split {
    private final GetTicket.Builder ticket =
        GetTicket.newBuilder()
            .setFeed(options.feed())
            .setFeedId(feed.getFeedId())
            .addAllColumns(List.of(columns.fieldNames()));
    private int server;
    private long rows;
    private long bytes;

    boolean fits(int other, long rowBytes) {
      return rows == 0 || (other == server && bytes + rowBytes <= options.splitBytes());
    }

    /** Takes rows of a partition from that one on; the first it does not take. */
    long take(PartitionInfo partition, long begin, long end, long rowBytes) {
      server = partition.getServer();
      long taken = Math.min(end - begin, Math.max(1, (options.splitBytes() - bytes) / rowBytes));
      ticket.addRanges(
          RowRange.newBuilder()
              .setPartition(partition.getPartition())
              .setRowBegin(begin)
              .setRowEnd(begin + taken));
      rows += taken;
      bytes += taken * rowBytes;
      return begin + taken;
    }

    void endInto(List<InputPartition> tasks) {
      if (rows > 0) {
        String uri = feed.getServersCount() == 0 ? options.uri() : feed.getServers(server);
        tasks.add(new FeedInputPartition(uri, ticket.build().toByteArray(), rows));
      }
    }
  }
}
