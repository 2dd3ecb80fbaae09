package io.flightbridge.spark;

import com.google.protobuf.InvalidProtocolBufferException;
import io.flightbridge.BridgeException;
import io.flightbridge.Code;
import io.flightbridge.client.ConnectionOptions;
import io.flightbridge.client.Endpoint;
import io.flightbridge.protocol.Retention;
import io.flightbridge.protocol.Visibility;
import io.flightbridge.protocol.WriteMode;
import java.io.Serializable;
import java.util.HashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.Optional;
import java.util.Set;
import java.util.TreeSet;

/**
 * The options of a write to a feed, checked one by one before Spark does any work. docs/spark.md
 * lists them.
 *
 * @param uri one server, or the several of the feed, separated by commas
 * @param feed its name
 * @param mode what to do where the feed exists
 * @param visible when readers see what was written
 * @param retention how long the feed keeps its rows, encoded; null: nothing is said
 * @param batchBytes size from which a record batch is sent
 * @param shards partitions of the feed, or 0: those of the DataFrame
 * @param shuffle whether the rows are to be in a random order, over all partitions
 * @param seed of that order
 * @param connection how the servers are reached
 */
public record WriteOptions(
    String uri,
    String feed,
    WriteMode mode,
    Visibility visible,
    byte[] retention,
    long batchBytes,
    int shards,
    boolean shuffle,
    long seed,
    ConnectionOptions connection)
    implements Serializable {

  static final long DEFAULT_BATCH_BYTES = 2L << 20;

  private static final long LEAST_BATCH_BYTES = 64L << 10;
  private static final long MOST_BATCH_BYTES = 64L << 20;
  static final Set<String> KNOWN =
      new TreeSet<>(
          List.of(
              "uri",
              "feed",
              "mode",
              "token",
              "timeout",
              "visible",
              "retention",
              "ttl",
              "tls_ca",
              "tls_client_cert",
              "tls_client_key",
              "batch_bytes",
              "shards",
              "shuffle",
              "seed",
              "transport"));
  // What Spark itself, or the catalog that holds a table, puts beside a user's options.
  static final Set<String> SPARKS_OWN =
      Set.of(
          "path",
          "provider",
          "owner",
          "location",
          "external",
          "is_managed_location",
          "comment",
          "collation",
          "table_type",
          "serialization.format",
          "option.serialization.format",
          "checkpointlocation",
          "queryname",
          FlightBridgeSource.PLANNED);

  /**
   * @param given names in any case
   * @param mode where {@code given} has none
   */
  public static WriteOptions parse(Map<String, String> given, WriteMode mode) {
    var options = new OptionReader(given);
    options.refuseUnknown(KNOWN, SPARKS_OWN);
    String uri = options.uri();
    Endpoint.parseList(uri);
    return new WriteOptions(
        uri,
        options.required("feed", "ratings"),
        options.get("mode", mode, WriteOptions::modeNamed),
        options.get("visible", Visibility.VISIBILITY_JOB, WriteOptions::visibilityNamed),
        retention(options),
        options.number("batch_bytes", DEFAULT_BATCH_BYTES, LEAST_BATCH_BYTES, MOST_BATCH_BYTES),
        (int) options.number("shards", 0, 0, 1_000_000),
        options.flag("shuffle"),
        options.number("seed", 0, Long.MIN_VALUE, Long.MAX_VALUE),
        options.connection());
  }

  /** What is left of the options of a table, which are those of reads and writes. */
  static Map<String, String> withoutReads(Map<String, String> ofTable) {
    Map<String, String> left = new HashMap<>(ofTable);
    left.keySet().removeIf(ReadOptions.SPLIT_BYTES::equalsIgnoreCase);
    return left;
  }

  Optional<Retention> retentionMessage() {
    try {
      return retention == null ? Optional.empty() : Optional.of(Retention.parseFrom(retention));
    } catch (InvalidProtocolBufferException error) {
      throw new IllegalStateException(error);
    }
  }

  /** The same for the micro-batches of a streaming query. */
  WriteOptions forStream() {
    if (mode != WriteMode.WRITE_MODE_APPEND) {
      throw new BridgeException(
          Code.INVALID_ARGUMENT,
          "a streaming query adds to its feed: use outputMode(\"append\") or \"update\", and leave"
              + " the option mode out");
    }
    if (shards != 0 || shuffle) {
      throw new BridgeException(
          Code.INVALID_ARGUMENT,
          "options shards and shuffle are not for streaming queries: repartition the streaming"
              + " DataFrame, and let readers shuffle");
    }
    if (visible != Visibility.VISIBILITY_JOB) {
      throw new BridgeException(
          Code.INVALID_ARGUMENT,
          "option visible='partition' is not for streaming queries: each micro-batch becomes"
              + " visible as a whole; leave it out");
    }
    return this;
  }

  static WriteMode modeNamed(String name) {
    return switch (name.toLowerCase(Locale.ROOT)) {
      case "errorifexists", "error", "default" -> WriteMode.WRITE_MODE_ERROR_IF_EXISTS;
      case "append" -> WriteMode.WRITE_MODE_APPEND;
      case "overwrite" -> WriteMode.WRITE_MODE_OVERWRITE;
      case "ignore" -> WriteMode.WRITE_MODE_IGNORE;
      default ->
          throw new IllegalArgumentException(
              "is not a save mode: use one of errorifexists, append, overwrite, ignore");
    };
  }

  private static Visibility visibilityNamed(String name) {
    return switch (name.toLowerCase(Locale.ROOT)) {
      case "job" -> Visibility.VISIBILITY_JOB;
      case "partition" -> Visibility.VISIBILITY_PARTITION;
      default -> throw new IllegalArgumentException("is not known: use one of job, partition");
    };
  }

  private static byte[] retention(OptionReader options) {
    if (!options.has("retention") && !options.has("ttl")) {
      return null;
    }
    return Retention.newBuilder()
        .setEpochs(options.get("retention", 0L, WriteOptions::epochsKept))
        .setTtlMs((long) Math.ceil(options.seconds("ttl", 0) * 1000))
        .build()
        .toByteArray();
  }

  private static long epochsKept(String text) {
    if (text.equals("keep")) {
      return 0;
    }
    if (text.equals("once")) {
      return 1;
    }
    if (text.matches("epochs=[1-9][0-9]{0,8}")) {
      return Long.parseLong(text.substring("epochs=".length()));
    }
    throw new IllegalArgumentException(
        "is not a retention: use keep, once, or epochs=N with N from 1");
  }
}
