package io.flightbridge.spark;

import io.flightbridge.BridgeException;
import io.flightbridge.Code;
import io.flightbridge.client.BridgeClients;
import io.flightbridge.protocol.FeedInfo;
import io.flightbridge.protocol.FeedState;
import io.flightbridge.protocol.PartitionInfo;
import java.util.List;
import java.util.Map;
import java.util.stream.Stream;
import org.apache.spark.sql.connector.expressions.aggregate.Aggregation;
import org.apache.spark.sql.connector.expressions.filter.Predicate;
import org.apache.spark.sql.connector.read.Scan;
import org.apache.spark.sql.connector.read.ScanBuilder;
import org.apache.spark.sql.connector.read.SupportsPushDownAggregates;
import org.apache.spark.sql.connector.read.SupportsPushDownLimit;
import org.apache.spark.sql.connector.read.SupportsPushDownRequiredColumns;
import org.apache.spark.sql.connector.read.SupportsPushDownV2Filters;
import org.apache.spark.sql.types.StructType;

/**
 * A read of a feed as it is planned: the feed is looked up once, and what is read is that content
 * or an error. Only the columns that are needed travel, of a {@code LIMIT} no more rows than it
 * takes, and of aggregates that are known none. Filters leave out partitions that have no row for
 * them; Spark applies them to all others.
 */
final class FeedScanBuilder
    implements ScanBuilder,
        SupportsPushDownRequiredColumns,
        SupportsPushDownLimit,
        SupportsPushDownV2Filters,
        SupportsPushDownAggregates {
  private final ReadOptions options;
  private final FeedInfo feed;
  private StructType columns;
  private final StructType schema;
  private final FeedRanges ranges;
  private long limit = Long.MAX_VALUE;
  private List<Predicate> filters = List.of();
  private FeedAggregate aggregate;

  FeedScanBuilder(ReadOptions options, StructType columns) {
    this.options = options;
    this.columns = columns;
    this.schema = columns;
    try (var client = BridgeClients.lease(options.uri(), options.connection())) {
      this.feed = readable(client.get().describeFeed(options.feed()));
    }
    this.ranges = new FeedRanges(options, feed, schema);
  }

  @Override
  public void pruneColumns(StructType required) {
    columns = required;
  }

  @Override
  public boolean pushLimit(int rows) {
    limit = rows;
    return true;
  }

  /** Spark applies all of them to the rows that are read. */
  @Override
  public Predicate[] pushPredicates(Predicate[] predicates) {
    filters =
        Stream.of(predicates)
            .filter(filter -> PartitionFilter.isUnderstood(filter, schema))
            .toList();
    return predicates;
  }

  @Override
  public Predicate[] pushedPredicates() {
    return filters.toArray(Predicate[]::new);
  }

  @Override
  public boolean supportCompletePushDown(Aggregation aggregation) {
    FeedAggregate answer = FeedAggregate.of(aggregation, feed.getRows(), schema, ranges);
    return answer != null && answer.isComplete();
  }

  @Override
  public boolean pushAggregation(Aggregation aggregation) {
    aggregate = FeedAggregate.of(aggregation, feed.getRows(), schema, ranges);
    return aggregate != null;
  }

  @Override
  public Scan build() {
    if (aggregate != null) {
      return new AggregateScan(aggregate, options.feed());
    }
    FeedInfo read = feed;
    if (!filters.isEmpty()) {
      var filter = new PartitionFilter(schema, filters);
      var found = ranges.of(filter.columnsUsed());
      read =
          only(
              feed.getPartitionsList().stream()
                  .filter(one -> filter.mayMatch(found.getOrDefault(one.getPartition(), Map.of())))
                  .toList());
    }
    return new FeedScan(options, read, columns, limit, filters, feed.getPartitionsCount());
  }

  /** The feed as if it had these partitions. */
  private FeedInfo only(List<PartitionInfo> partitions) {
    return feed.toBuilder()
        .clearPartitions()
        .addAllPartitions(partitions)
        .setRows(partitions.stream().mapToLong(PartitionInfo::getRows).sum())
        .setBytes(partitions.stream().mapToLong(PartitionInfo::getBytes).sum())
        .build();
  }

  private static FeedInfo readable(FeedInfo feed) {
    if (feed.getState() == FeedState.FEED_STATE_OPEN && feed.getGenerationsCount() == 0) {
      throw new BridgeException(
          Code.FAILED_PRECONDITION,
          "feed '"
              + feed.getFeed()
              + "' is being written: read it when its write is committed, or train on it meanwhile"
              + " with flightbridge.tf.dataset(follow=True)");
    }
    for (PartitionInfo partition : feed.getPartitionsList()) {
      if (partition.getReleased()) {
        throw new BridgeException(
            Code.FAILED_PRECONDITION,
            "rows of feed '"
                + feed.getFeed()
                + "' are gone: its readers have confirmed partition "
                + partition.getPartition()
                + ", and its retention is not 'keep'; write it again to read all of it");
      }
    }
    return feed;
  }
}
