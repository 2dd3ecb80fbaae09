package io.flightbridge.spark;

import org.apache.spark.sql.catalyst.InternalRow;
import org.apache.spark.sql.connector.read.LocalScan;
import org.apache.spark.sql.types.StructType;

/** Aggregates that are known without a row being read. */
final class AggregateScan implements LocalScan {
  private final FeedAggregate aggregate;
  private final String feed;

  AggregateScan(FeedAggregate aggregate, String feed) {
    this.aggregate = aggregate;
    this.feed = feed;
  }

  @Override
  public StructType readSchema() {
    return aggregate.columns();
  }

  @Override
  public InternalRow[] rows() {
    return aggregate.rows();
  }

  @Override
  public String description() {
    return "flightbridge aggregates of feed '" + feed + "'";
  }
}
