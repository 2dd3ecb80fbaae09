package io.flightbridge.spark;

import io.flightbridge.BridgeException;
import io.flightbridge.protocol.WriteMode;
import java.util.HashMap;
import java.util.Map;
import java.util.Set;
import java.util.UUID;
import org.apache.spark.sql.connector.catalog.StagedTable;
import org.apache.spark.sql.connector.catalog.SupportsWrite;
import org.apache.spark.sql.connector.catalog.TableCapability;
import org.apache.spark.sql.connector.write.BatchWrite;
import org.apache.spark.sql.connector.write.LogicalWriteInfo;
import org.apache.spark.sql.connector.write.SupportsTruncate;
import org.apache.spark.sql.connector.write.Write;
import org.apache.spark.sql.connector.write.WriteBuilder;
import org.apache.spark.sql.connector.write.WriterCommitMessage;
import org.apache.spark.sql.types.StructType;

/**
 * A feed that a statement makes or replaces. Its rows are one write job, and the commit of that job
 * is the statement's: until then the feed is as it was, and a job that fails leaves it so.
 */
final class StagedFeed implements StagedTable, SupportsWrite {
  private final Map<String, String> properties;
  private final StructType columns;
  private final WriteMode mode;
  private boolean hasWrite;

  StagedFeed(Map<String, String> properties, StructType columns, WriteMode mode) {
    this.properties = WriteOptions.withoutReads(properties);
    this.columns = columns;
    this.mode = mode;
    WriteOptions.parse(this.properties, mode); // a mistake costs no work
  }

  @Override
  public String name() {
    return "flightbridge " + properties.get("feed");
  }

  @Override
  @SuppressWarnings("deprecation") // what Spark 3.5 knows
  public StructType schema() {
    return columns;
  }

  @Override
  public Set<TableCapability> capabilities() {
    // Spark replaces rows by an overwrite of all.
    return Set.of(TableCapability.BATCH_WRITE, TableCapability.TRUNCATE);
  }

  @Override
  public WriteBuilder newWriteBuilder(LogicalWriteInfo info) {
    CatalogOptions.refuseOfStatements(info.options());
    Map<String, String> options = new HashMap<>(properties);
    options.putAll(info.options().asCaseSensitiveMap());
    Write write = writeOf(options, info.schema(), info.queryId());
    hasWrite = true;
    return new Builder(write);
  }

  /** What the mode says already. */
  private record Builder(Write write) implements WriteBuilder, SupportsTruncate {
    @Override
    public WriteBuilder truncate() {
      return this;
    }

    @Override
    public Write build() {
      return write;
    }
  }

  /** Rows have been committed by then; a statement without any makes an empty feed. */
  @Override
  public void commitStagedChanges() {
    if (hasWrite) {
      return;
    }
    BatchWrite write = writeOf(properties, columns, UUID.randomUUID().toString()).toBatch();
    WriterCommitMessage[] none = {};
    write.createBatchWriterFactory(null);
    try {
      write.commit(none);
    } catch (BridgeException error) {
      try {
        write.abort(none);
      } catch (BridgeException other) {
        error.addSuppressed(other);
      }
      throw error;
    }
  }

  /** Spark has aborted the job, if there was one. */
  @Override
  public void abortStagedChanges() {}

  private Write writeOf(Map<String, String> options, StructType rows, String id) {
    return new FeedWrite(WriteOptions.parse(options, mode), rows, id);
  }
}
