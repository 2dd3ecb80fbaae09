package io.flightbridge.spark;

import io.flightbridge.BridgeException;
import io.flightbridge.Code;
import io.flightbridge.client.BridgeClient;
import io.flightbridge.client.BridgeClients;
import io.flightbridge.protocol.FeedInfo;
import io.flightbridge.protocol.WriteMode;
import java.util.Arrays;
import java.util.Map;
import java.util.function.Function;
import org.apache.spark.sql.catalyst.analysis.NoSuchNamespaceException;
import org.apache.spark.sql.catalyst.analysis.NoSuchTableException;
import org.apache.spark.sql.catalyst.analysis.TableAlreadyExistsException;
import org.apache.spark.sql.connector.catalog.Identifier;
import org.apache.spark.sql.connector.catalog.NamespaceChange;
import org.apache.spark.sql.connector.catalog.StagedTable;
import org.apache.spark.sql.connector.catalog.StagingTableCatalog;
import org.apache.spark.sql.connector.catalog.SupportsNamespaces;
import org.apache.spark.sql.connector.catalog.Table;
import org.apache.spark.sql.connector.catalog.TableChange;
import org.apache.spark.sql.connector.expressions.Transform;
import org.apache.spark.sql.types.StructType;
import org.apache.spark.sql.util.CaseInsensitiveStringMap;

/**
 * The feeds of a bridge as a catalog of Spark's: {@code
 * spark.sql.catalog.NAME=io.flightbridge.spark.FeedCatalog}, and how the bridge is reached as
 * {@code spark.sql.catalog.NAME.uri} and its like. Tables are feeds, on one level, and nothing is
 * kept here. What {@code CREATE TABLE ... AS SELECT} and its kin write is one write job, whose
 * commit shows all of it or nothing.
 */
public final class FeedCatalog implements StagingTableCatalog, SupportsNamespaces {
  private String name;
  private CatalogOptions options;

  @Override
  public void initialize(String givenName, CaseInsensitiveStringMap given) {
    name = givenName;
    options = new CatalogOptions(givenName, given.asCaseSensitiveMap());
  }

  @Override
  public String name() {
    return name;
  }

  @Override
  public Identifier[] listTables(String[] namespace) throws NoSuchNamespaceException {
    loadNamespaceMetadata(namespace);
    return ask(BridgeClient::listFeeds).stream()
        .map(FeedInfo::getFeed)
        .sorted()
        .map(feed -> Identifier.of(namespace, feed))
        .toArray(Identifier[]::new);
  }

  @Override
  public boolean tableExists(Identifier table) {
    String feed = options.feedOf(table);
    return isThere(
        client -> {
          client.describeFeed(feed);
          return true;
        });
  }

  @Override
  public Table loadTable(Identifier table) throws NoSuchTableException {
    try {
      return FeedTable.of(options.ofTable(table), null);
    } catch (BridgeException error) {
      if (error.code() == Code.NOT_FOUND) {
        throw new NoSuchTableException(table);
      }
      throw error;
    }
  }

  @Override
  public boolean dropTable(Identifier table) {
    String feed = options.feedOf(table);
    return isThere(
        client -> {
          client.dropFeed(feed);
          return true;
        });
  }

  /** The same: a feed that is dropped cannot be had back. */
  @Override
  public boolean purgeTable(Identifier table) {
    return dropTable(table);
  }

  /** An empty feed, so that its columns are known from then on. */
  @Override
  @SuppressWarnings("deprecation") // what all of Spark 3.5 and 4 can call
  public Table createTable(
      Identifier table,
      StructType columns,
      Transform[] partitioning,
      Map<String, String> properties)
      throws TableAlreadyExistsException {
    try {
      stageCreate(table, columns, partitioning, properties).commitStagedChanges();
    } catch (BridgeException error) {
      if (error.code() == Code.ALREADY_EXISTS) {
        throw new TableAlreadyExistsException(table);
      }
      throw error;
    }
    return FeedTable.of(options.ofTable(table), columns);
  }

  @Override
  @SuppressWarnings("deprecation")
  public StagedTable stageCreate(
      Identifier table,
      StructType columns,
      Transform[] partitioning,
      Map<String, String> properties) {
    return staged(table, columns, partitioning, properties, WriteMode.WRITE_MODE_ERROR_IF_EXISTS);
  }

  /** Spark has looked that there is one; should it be dropped meanwhile, it is there again. */
  @Override
  @SuppressWarnings("deprecation")
  public StagedTable stageReplace(
      Identifier table,
      StructType columns,
      Transform[] partitioning,
      Map<String, String> properties) {
    return staged(table, columns, partitioning, properties, WriteMode.WRITE_MODE_OVERWRITE);
  }

  @Override
  @SuppressWarnings("deprecation")
  public StagedTable stageCreateOrReplace(
      Identifier table,
      StructType columns,
      Transform[] partitioning,
      Map<String, String> properties) {
    return stageReplace(table, columns, partitioning, properties);
  }

  private StagedTable staged(
      Identifier table,
      StructType columns,
      Transform[] partitioning,
      Map<String, String> properties,
      WriteMode mode) {
    return new StagedFeed(
        options.ofNewTable(table, columns, partitioning, properties), columns, mode);
  }

  @Override
  public Table alterTable(Identifier table, TableChange... changes) {
    throw impossible(
        "ALTER TABLE",
        options.feedOf(table),
        "a feed keeps its columns and settings: write it again with CREATE OR REPLACE TABLE ... AS"
            + " SELECT");
  }

  @Override
  public void renameTable(Identifier table, Identifier newTable) {
    throw impossible(
        "ALTER TABLE ... RENAME",
        options.feedOf(table),
        "a feed keeps its name: CREATE TABLE ... AS SELECT one of the other name, and DROP this"
            + " one");
  }

  @Override
  public String[][] listNamespaces() {
    return new String[0][];
  }

  @Override
  public String[][] listNamespaces(String[] namespace) throws NoSuchNamespaceException {
    loadNamespaceMetadata(namespace);
    return new String[0][];
  }

  @Override
  public boolean namespaceExists(String[] namespace) {
    return namespace.length == 0;
  }

  @Override
  public Map<String, String> loadNamespaceMetadata(String[] namespace)
      throws NoSuchNamespaceException {
    if (!namespaceExists(namespace)) {
      throw new NoSuchNamespaceException(namespace);
    }
    return Map.of();
  }

  @Override
  public void createNamespace(String[] namespace, Map<String, String> metadata) {
    throw noNamespaces(namespace);
  }

  @Override
  public void alterNamespace(String[] namespace, NamespaceChange... changes) {
    throw noNamespaces(namespace);
  }

  @Override
  public boolean dropNamespace(String[] namespace, boolean cascade) {
    throw noNamespaces(namespace);
  }

  private boolean isThere(Function<BridgeClient, Boolean> call) {
    try {
      return ask(call);
    } catch (BridgeException error) {
      if (error.code() == Code.NOT_FOUND) {
        return false;
      }
      throw error;
    }
  }

  private <T> T ask(Function<BridgeClient, T> call) {
    try (var client = BridgeClients.lease(options.uri(), options.connection())) {
      return call.apply(client.get());
    }
  }

  private static BridgeException impossible(String statement, String feed, String remedy) {
    return new BridgeException(
        Code.INVALID_ARGUMENT, statement + " of feed '" + feed + "' is not possible: " + remedy);
  }

  private BridgeException noNamespaces(String[] namespace) {
    return new BridgeException(
        Code.INVALID_ARGUMENT,
        "catalog "
            + name
            + " has no namespaces to create, change or drop, such as "
            + Arrays.toString(namespace)
            + ": its tables are feeds, on one level; put what you would name the namespace before"
            + " the feed's name, as in "
            + name
            + ".`clicks.daily`");
  }
}
