package io.flightbridge.spark;

import io.flightbridge.client.BridgeClients;
import io.flightbridge.columns.ReadTypes;
import io.flightbridge.protocol.WriteMode;
import java.util.EnumSet;
import java.util.HashMap;
import java.util.Map;
import java.util.Set;
import org.apache.spark.sql.connector.catalog.SupportsRead;
import org.apache.spark.sql.connector.catalog.SupportsWrite;
import org.apache.spark.sql.connector.catalog.TableCapability;
import org.apache.spark.sql.connector.read.ScanBuilder;
import org.apache.spark.sql.connector.write.LogicalWriteInfo;
import org.apache.spark.sql.connector.write.SupportsTruncate;
import org.apache.spark.sql.connector.write.Write;
import org.apache.spark.sql.connector.write.WriteBuilder;
import org.apache.spark.sql.internal.connector.SupportsStreamingUpdateAsAppend;
import org.apache.spark.sql.types.StructType;
import org.apache.spark.sql.util.CaseInsensitiveStringMap;

/** A feed as a table of Spark's. Nothing is asked of the server before it has to be. */
final class FeedTable implements SupportsRead, SupportsWrite {
  /** Property of tables of a {@link FeedCatalog}. */
  static final String OF_CATALOG = "option.catalog";

  private final Map<String, String> properties;
  private final StructType schema;

  private FeedTable(Map<String, String> properties, StructType schema) {
    this.properties = properties;
    this.schema = schema;
  }

  static FeedTable of(Map<String, String> properties, StructType schema) {
    return new FeedTable(properties, schema == null ? schemaOf(properties) : schema);
  }

  @Override
  public String name() {
    return "flightbridge " + properties.getOrDefault("feed", "");
  }

  @Override
  @SuppressWarnings("deprecation") // what Spark 3.5 knows
  public StructType schema() {
    return schema;
  }

  @Override
  public Set<TableCapability> capabilities() {
    Set<TableCapability> all =
        EnumSet.of(
            TableCapability.BATCH_READ, TableCapability.TRUNCATE, TableCapability.STREAMING_WRITE);
    if (isOfCatalog()) {
      // Spark fits what is inserted to the table's columns, by name or by position.
      all.add(TableCapability.BATCH_WRITE);
      return all;
    }
    all.add(TableCapability.ACCEPT_ANY_SCHEMA);
    if (properties.containsKey(FlightBridgeSource.PLANNED)) {
      all.add(TableCapability.BATCH_WRITE);
    }
    return all;
  }

  /**
   * Whether this is a table of a {@link FeedCatalog}, or was made by {@code CREATE TABLE}: the
   * session's catalog gives the options twice, once as it keeps them. A DataFrame that is saved
   * comes without, and must not find a table that takes batches: see {@link
   * FlightBridgeSource#createRelation}.
   */
  private boolean isOfCatalog() {
    return properties.containsKey(OF_CATALOG)
        || properties.containsKey("option.feed")
        || properties.containsKey("option.uri");
  }

  @Override
  public ScanBuilder newScanBuilder(CaseInsensitiveStringMap options) {
    return new FeedScanBuilder(ReadOptions.parse(with(options)), schema);
  }

  @Override
  public WriteBuilder newWriteBuilder(LogicalWriteInfo info) {
    if (properties.containsKey(OF_CATALOG)) {
      CatalogOptions.refuseOfStatements(info.options());
    } else if (isOfCatalog()) {
      CatalogOptions.refuseInSession(with(info.options()));
    }
    return new Builder(info, WriteOptions.withoutReads(with(info.options())));
  }

  private static StructType schemaOf(Map<String, String> properties) {
    ReadOptions options = ReadOptions.parse(properties);
    try (var client = BridgeClients.lease(options.uri(), options.connection())) {
      return ReadTypes.sparkSchema(client.get().schemaOf(options.feed()));
    }
  }

  private Map<String, String> with(CaseInsensitiveStringMap options) {
    Map<String, String> all = new HashMap<>(properties);
    all.putAll(options.asCaseSensitiveMap());
    return all;
  }

  private static final class Builder
      implements WriteBuilder, SupportsTruncate, SupportsStreamingUpdateAsAppend {
    private final LogicalWriteInfo info;
    private final Map<String, String> options;
    private WriteMode mode = WriteMode.WRITE_MODE_APPEND;

    Builder(LogicalWriteInfo info, Map<String, String> options) {
      this.info = info;
      this.options = options;
    }

    @Override
    public WriteBuilder truncate() {
      mode = WriteMode.WRITE_MODE_OVERWRITE;
      return this;
    }

    @Override
    public Write build() {
      return new FeedWrite(WriteOptions.parse(options, mode), info.schema(), info.queryId());
    }
  }
}
