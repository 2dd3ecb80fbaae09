package io.flightbridge.spark;

import io.flightbridge.BridgeException;
import io.flightbridge.Code;
import io.flightbridge.client.ConnectionOptions;
import io.flightbridge.client.Endpoint;
import java.util.HashMap;
import java.util.Locale;
import java.util.Map;
import java.util.Set;
import java.util.TreeSet;
import org.apache.spark.sql.connector.catalog.Identifier;
import org.apache.spark.sql.connector.expressions.Transform;
import org.apache.spark.sql.internal.SQLConf;
import org.apache.spark.sql.types.StructField;
import org.apache.spark.sql.types.StructType;

/**
 * The options of a {@link FeedCatalog}, which are those of reads and writes of all its feeds, and
 * what statements add to them.
 */
final class CatalogOptions {
  /** Of writes that are no statements. */
  private static final Set<String> OF_STATEMENTS =
      Set.of("feed", "mode", "shards", "shuffle", "seed");

  /** Where the feeds are, which is the same for all of them. */
  private static final Set<String> OF_CATALOGS =
      Set.of("uri", "token", "tls_ca", "tls_client_cert", "tls_client_key");

  private static final String SAID_OTHERWISE =
      "the table's name, INSERT INTO or OVERWRITE, CREATE OR REPLACE TABLE, and hints such as"
          + " /*+ REPARTITION(8) */ say it";

  private final String catalog;
  private final Map<String, String> given;

  CatalogOptions(String catalog, Map<String, String> given) {
    this.catalog = catalog;
    this.given = Map.copyOf(given);
    Set<String> known = new TreeSet<>(WriteOptions.KNOWN);
    known.add(ReadOptions.SPLIT_BYTES);
    known.removeAll(OF_STATEMENTS);
    for (String option : given.keySet()) {
      if (!known.contains(option.toLowerCase(Locale.ROOT))) {
        throw invalid(
            "option spark.sql.catalog."
                + catalog
                + "."
                + option
                + " is not known: remove it, or use one of "
                + String.join(", ", known));
      }
    }
    if (new OptionReader(given).has("uri")) {
      Endpoint.parseList(uri());
    }
    connection();
  }

  /** Asked for anew each time: servers of the application's own come and go. */
  String uri() {
    try {
      return new OptionReader(given).uri();
    } catch (BridgeException error) {
      throw invalid(
          "catalog "
              + catalog
              + " does not say where its feeds are: set spark.sql.catalog."
              + catalog
              + ".uri to the bridge, such as grpc://127.0.0.1:8815");
    }
  }

  ConnectionOptions connection() {
    return new OptionReader(given).connection();
  }

  String feedOf(Identifier table) {
    if (table.namespace().length > 0) {
      String feed = String.join(".", table.namespace()) + "." + table.name();
      throw invalid(
          "the feeds of catalog "
              + catalog
              + " lie on one level, without namespaces: quote a name with dots, as in "
              + catalog
              + ".`"
              + feed
              + "`");
    }
    return table.name();
  }

  /** Options of a {@link FeedTable}. */
  Map<String, String> ofTable(Identifier table) {
    Map<String, String> options = new HashMap<>(given);
    options.put("feed", feedOf(table));
    options.put("uri", uri());
    options.put(FeedTable.OF_CATALOG, table.name());
    return options;
  }

  /** The same with those of the statement that makes it, which must not ask for what cannot be. */
  Map<String, String> ofNewTable(
      Identifier table,
      StructType columns,
      Transform[] partitioning,
      Map<String, String> properties) {
    Map<String, String> options = ofTable(table);
    String feed = options.get("feed");
    if (partitioning.length > 0) {
      throw refused(
          feed,
          "PARTITIONED BY and its like",
          "a feed has the partitions of the DataFrame: leave it out, and sort or repartition what"
              + " is selected");
    }
    for (StructField column : columns.fields()) {
      if (!column.nullable()) {
        throw refused(
            feed,
            "NOT NULL of column '" + column.name() + "'",
            "every column of a feed may hold nulls: leave it out");
      }
    }
    properties.forEach(
        (property, value) -> {
          String option = property.toLowerCase(Locale.ROOT);
          if (option.equals("comment") || option.equals("location")) {
            throw refused(
                feed, option.toUpperCase(Locale.ROOT), "the bridge keeps none: leave it out");
          }
          if (option.equals("provider")) {
            refuseOtherFormat(feed, value);
          } else if (OF_CATALOGS.contains(option) || OF_STATEMENTS.contains(option)) {
            throw refused(
                feed,
                "option " + option,
                OF_CATALOGS.contains(option)
                    ? "it is the catalog's: set spark.sql.catalog." + catalog + "." + option
                    : SAID_OTHERWISE);
          } else if (!option.startsWith("option.") && !WriteOptions.SPARKS_OWN.contains(option)) {
            options.put(option, value);
          }
        });
    return options;
  }

  /** Of a write to a table, where nobody would heed them. */
  static void refuseOfStatements(Map<String, String> writes) {
    refuse(writes, OF_STATEMENTS);
  }

  /**
   * The same where the session's catalog keeps the table, whose options say which feed it is. A
   * write could ask Spark to arrange rows, but by columns of theirs alone: not evenly, nor at
   * random.
   */
  static void refuseInSession(Map<String, String> writes) {
    Set<String> names = new TreeSet<>(OF_STATEMENTS);
    names.remove("feed");
    refuse(writes, names);
  }

  private static void refuse(Map<String, String> writes, Set<String> names) {
    writes.forEach(
        (option, value) -> {
          if (names.contains(option.toLowerCase(Locale.ROOT))) {
            throw invalid(
                "option "
                    + option.toLowerCase(Locale.ROOT)
                    + "='"
                    + value
                    + "' is not for writes to a table: leave it out of the statement and of the"
                    + " table's OPTIONS; "
                    + SAID_OTHERWISE
                    + ", and df.write.format(\"flightbridge\") takes it");
          }
        });
  }

  // saveAsTable names Spark's default format where the user names none.
  private static void refuseOtherFormat(String feed, String format) {
    if (!format.equalsIgnoreCase("flightbridge")
        && !format.equalsIgnoreCase(SQLConf.get().defaultDataSourceName())) {
      throw refused(feed, "USING " + format, "its tables are feeds: leave it out");
    }
  }

  private static BridgeException refused(String feed, String what, String why) {
    return invalid("feed '" + feed + "' cannot be created with " + what + ": " + why);
  }

  private static BridgeException invalid(String message) {
    return new BridgeException(Code.INVALID_ARGUMENT, message);
  }
}
