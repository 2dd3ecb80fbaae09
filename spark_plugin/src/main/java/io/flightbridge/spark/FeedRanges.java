package io.flightbridge.spark;

import io.flightbridge.BridgeException;
import io.flightbridge.Code;
import io.flightbridge.client.BridgeClients;
import io.flightbridge.columns.ReadTypes;
import io.flightbridge.protocol.FeedInfo;
import io.flightbridge.protocol.FeedStatistics;
import io.flightbridge.protocol.FeedStatisticsResult;
import io.flightbridge.protocol.PartitionInfo;
import io.flightbridge.protocol.PartitionStatistics;
import java.util.ArrayList;
import java.util.Collection;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.TreeSet;
import org.apache.arrow.vector.types.pojo.Field;
import org.apache.arrow.vector.types.pojo.Schema;
import org.apache.spark.sql.types.StructField;
import org.apache.spark.sql.types.StructType;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/**
 * What the columns of a feed lie between, partition by partition, asked of its servers when it is
 * needed. They are a help: where they cannot be had, as from an older server, all is read, and what
 * is wrong shows then.
 */
final class FeedRanges {
  private static final Logger LOG = LoggerFactory.getLogger(FeedRanges.class);
  private static final long LONGEST_CALL_MS = 10_000;

  private final ReadOptions options;
  private final FeedInfo feed;
  private final StructType columns;
  private final Map<String, Map<Long, ColumnRange>> known = new HashMap<>(); // by column, partition
  private Schema schema;

  FeedRanges(ReadOptions options, FeedInfo feed, StructType columns) {
    this.options = options;
    this.feed = feed;
    this.columns = columns;
  }

  /** By partition, what is known of these columns. */
  Map<Long, Map<String, ColumnRange>> of(Collection<String> wanted) {
    ask(wanted);
    Map<Long, Map<String, ColumnRange>> byPartition = new HashMap<>();
    for (String column : wanted) {
      known
          .getOrDefault(column, Map.of())
          .forEach(
              (partition, range) ->
                  byPartition
                      .computeIfAbsent(partition, any -> new HashMap<>())
                      .put(column, range));
    }
    return byPartition;
  }

  /** Of the whole feed; null where that is not known of every partition. */
  ColumnRange ofFeed(String column) {
    ask(List.of(column));
    Map<Long, ColumnRange> found = known.getOrDefault(column, Map.of());
    ColumnRange all = new ColumnRange(0, 0, null, null, false);
    for (PartitionInfo partition : feed.getPartitionsList()) {
      ColumnRange one = found.get(partition.getPartition());
      if (one == null) {
        return null;
      }
      all = all.with(one);
    }
    return all;
  }

  private void ask(Collection<String> wanted) {
    Set<String> missing = new TreeSet<>(wanted);
    missing.removeAll(known.keySet());
    if (missing.isEmpty() || feed.getPartitionsCount() == 0) {
      return;
    }
    missing.forEach(column -> known.put(column, new HashMap<>()));
    try {
      List<Field> fields = fieldsOf(missing);
      long deadline = System.nanoTime() + options.connection().timeout().toNanos();
      for (int server = 0; !fields.isEmpty() && server < Math.max(1, feed.getServersCount()); ) {
        ask(
            feed.getServersCount() == 0 ? options.uri() : feed.getServers(server),
            fields,
            deadline);
        server++;
      }
    } catch (BridgeException error) {
      if (error.code() == Code.INVALID_ARGUMENT) { // it does not know the action
        LOG.info("FlightBridge: filters drop no partitions: {}", error.getMessage());
      } else {
        LOG.warn("FlightBridge: filters drop no partitions: {}", error.getMessage());
      }
    }
  }

  // A column that Spark takes for another type is an error of its reader, and not compared here.
  private List<Field> fieldsOf(Set<String> wanted) {
    if (schema == null) {
      try (var client = BridgeClients.lease(options.uri(), options.connection())) {
        schema = client.get().schemaOf(options.feed());
      }
    }
    List<Field> fields = new ArrayList<>();
    for (Field field : schema.getFields()) {
      if (!wanted.contains(field.getName())) {
        continue;
      }
      StructField found = ReadTypes.sparkSchema(new Schema(List.of(field))).apply(0);
      if (found.dataType().equals(columns.apply(field.getName()).dataType())) {
        fields.add(field);
      }
    }
    return fields;
  }

  private void ask(String uri, List<Field> fields, long deadline) {
    long callMs = Math.min(LONGEST_CALL_MS, options.connection().timeout().toMillis() / 2);
    FeedStatistics.Builder asked =
        FeedStatistics.newBuilder().setFeed(feed.getFeed()).setFeedId(feed.getFeedId());
    fields.forEach(field -> asked.addColumns(field.getName()));
    try (var client = BridgeClients.lease(uri, options.connection())) {
      boolean more = true;
      while (more) {
        long leftMs = Math.max(0, (deadline - System.nanoTime()) / 1_000_000);
        asked.setTimeoutMs(Math.min(callMs, leftMs));
        FeedStatisticsResult answer = client.get().statistics(asked.build());
        answer.getPartitionsList().forEach(partition -> keep(partition, fields));
        more = answer.getMore();
        asked.setFirstPartition(answer.getNextPartition());
        if (more && leftMs == 0) {
          LOG.warn(
              "FlightBridge: filters drop no partition of feed '{}' from number {} on: {} did not"
                  + " read their columns within timeout={}",
              feed.getFeed(),
              answer.getNextPartition(),
              uri,
              options.connection().timeout().toSeconds());
          return;
        }
      }
    }
  }

  private void keep(PartitionStatistics partition, List<Field> fields) {
    for (int i = 0; i < fields.size(); i++) {
      Field field = fields.get(i);
      known
          .get(field.getName())
          .put(
              partition.getPartition(),
              ColumnRange.of(partition.getRows(), partition.getColumns(i), field));
    }
  }
}
