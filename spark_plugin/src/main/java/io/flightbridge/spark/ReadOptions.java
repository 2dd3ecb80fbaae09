package io.flightbridge.spark;

import io.flightbridge.client.ConnectionOptions;
import io.flightbridge.client.Endpoint;
import java.io.Serializable;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.TreeSet;

/**
 * The options of a read of a feed. docs/spark.md lists them.
 *
 * @param uri one server, or the several of the feed, separated by commas
 * @param feed its name
 * @param splitBytes about how much of it a task reads
 * @param connection how the servers are reached
 */
record ReadOptions(String uri, String feed, long splitBytes, ConnectionOptions connection)
    implements Serializable {
  static final String SPLIT_BYTES = "split_bytes";
  private static final long DEFAULT_SPLIT_BYTES = 64L << 20;
  private static final Set<String> OWN =
      Set.of(
          "uri",
          "feed",
          "token",
          "timeout",
          "transport",
          "tls_ca",
          "tls_client_cert",
          "tls_client_key");

  /** Options of writes are let pass: a table of a catalog has both. */
  static ReadOptions parse(Map<String, String> given) {
    var options = new OptionReader(given);
    Set<String> known = new TreeSet<>(OWN);
    known.add(SPLIT_BYTES);
    Set<String> ignored = new TreeSet<>(WriteOptions.SPARKS_OWN);
    ignored.addAll(WriteOptions.KNOWN);
    options.refuseUnknown(known, ignored);
    String uri = options.uri();
    Endpoint.parseList(uri);
    return new ReadOptions(
        uri,
        options.required("feed", "ratings"),
        options.number(SPLIT_BYTES, DEFAULT_SPLIT_BYTES, 1, Long.MAX_VALUE),
        options.connection());
  }

  List<String> servers() {
    return Endpoint.parseList(uri).stream().map(Endpoint::uri).toList();
  }
}
