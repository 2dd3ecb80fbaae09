package io.flightbridge.spark;

import io.flightbridge.BridgeException;
import io.flightbridge.Code;
import io.flightbridge.client.BridgeClients;
import io.flightbridge.protocol.FeedInfo;
import io.flightbridge.protocol.FeedState;
import io.flightbridge.protocol.PartitionInfo;
import org.apache.spark.sql.connector.expressions.aggregate.AggregateFunc;
import org.apache.spark.sql.connector.expressions.aggregate.Aggregation;
import org.apache.spark.sql.connector.expressions.aggregate.CountStar;
import org.apache.spark.sql.connector.read.Scan;
import org.apache.spark.sql.connector.read.ScanBuilder;
import org.apache.spark.sql.connector.read.SupportsPushDownAggregates;
import org.apache.spark.sql.connector.read.SupportsPushDownLimit;
import org.apache.spark.sql.connector.read.SupportsPushDownRequiredColumns;
import org.apache.spark.sql.types.DataTypes;
import org.apache.spark.sql.types.StructType;

/**
 * A read of a feed as it is planned: the feed is looked up once, and what is read is that content
 * or an error. Only the columns that are needed travel, of a {@code LIMIT} no more rows than it
 * takes, and of {@code COUNT(*)} none.
 */
final class FeedScanBuilder
    implements ScanBuilder,
        SupportsPushDownRequiredColumns,
        SupportsPushDownLimit,
        SupportsPushDownAggregates {
  private final ReadOptions options;
  private final FeedInfo feed;
  private StructType columns;
  private long limit = Long.MAX_VALUE;
  private int counts;

  FeedScanBuilder(ReadOptions options, StructType columns) {
    this.options = options;
    this.columns = columns;
    try (var client = BridgeClients.lease(options.uri(), options.connection())) {
      this.feed = readable(client.get().describeFeed(options.feed()));
    }
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

  @Override
  public boolean supportCompletePushDown(Aggregation aggregation) {
    return onlyCountsRows(aggregation);
  }

  @Override
  public boolean pushAggregation(Aggregation aggregation) {
    if (!onlyCountsRows(aggregation)) {
      return false;
    }
    counts = aggregation.aggregateExpressions().length;
    return true;
  }

  @Override
  public Scan build() {
    if (counts > 0) {
      StructType row = new StructType();
      for (int i = 0; i < counts; i++) {
        row = row.add("count" + i, DataTypes.LongType, false);
      }
      return new CountScan(row, feed.getRows(), options.feed());
    }
    return new FeedScan(options, feed, columns, limit);
  }

  private static boolean onlyCountsRows(Aggregation aggregation) {
    if (aggregation.groupByExpressions().length > 0) {
      return false;
    }
    for (AggregateFunc function : aggregation.aggregateExpressions()) {
      if (!(function instanceof CountStar)) {
        return false;
      }
    }
    return aggregation.aggregateExpressions().length > 0;
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
