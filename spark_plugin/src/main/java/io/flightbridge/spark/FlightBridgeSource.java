package io.flightbridge.spark;

import io.flightbridge.BridgeException;
import io.flightbridge.Code;
import io.flightbridge.client.BridgeClients;
import io.flightbridge.columns.SparkTypes;
import io.flightbridge.protocol.WriteMode;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.HashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import org.apache.spark.sql.Column;
import org.apache.spark.sql.Dataset;
import org.apache.spark.sql.Row;
import org.apache.spark.sql.SQLContext;
import org.apache.spark.sql.SaveMode;
import org.apache.spark.sql.connector.catalog.Table;
import org.apache.spark.sql.connector.catalog.TableProvider;
import org.apache.spark.sql.connector.expressions.Transform;
import org.apache.spark.sql.functions;
import org.apache.spark.sql.sources.BaseRelation;
import org.apache.spark.sql.sources.CreatableRelationProvider;
import org.apache.spark.sql.sources.DataSourceRegister;
import org.apache.spark.sql.types.DataType;
import org.apache.spark.sql.types.MapType;
import org.apache.spark.sql.types.StructField;
import org.apache.spark.sql.types.StructType;
import org.apache.spark.sql.util.CaseInsensitiveStringMap;

/**
 * The data source {@code flightbridge}.
 *
 * <p>{@code df.write.format("flightbridge")} comes in by {@link #createRelation}, which Spark calls
 * for all four save modes: it refuses {@code errorifexists}, its default, and {@code ignore} to
 * sources that offer only the second version of its API. From there the same write goes on by that
 * version.
 */
public final class FlightBridgeSource
    implements TableProvider, DataSourceRegister, CreatableRelationProvider {
  /** Option of writes that {@link #createRelation} has prepared. */
  static final String PLANNED = "flightbridge.planned";

  @Override
  public String shortName() {
    return "flightbridge";
  }

  @Override
  public StructType inferSchema(CaseInsensitiveStringMap options) {
    return FeedTable.of(options.asCaseSensitiveMap(), null).schema();
  }

  @Override
  public boolean supportsExternalMetadata() {
    return true;
  }

  @Override
  public Table getTable(
      StructType schema, Transform[] partitioning, Map<String, String> properties) {
    return FeedTable.of(properties, schema);
  }

  @Override
  public BaseRelation createRelation(
      SQLContext context,
      SaveMode mode,
      scala.collection.immutable.Map<String, String> parameters,
      Dataset<Row> data) {
    Map<String, String> given = new HashMap<>();
    parameters.foreach(entry -> given.put(entry._1().toLowerCase(Locale.ROOT), entry._2()));
    given.putIfAbsent("mode", mode.name());
    // Refused here, a mistake costs no work.
    WriteOptions options = WriteOptions.parse(given, null);
    given.putIfAbsent("uri", options.uri());
    StructType schema = data.schema();
    SparkTypes.arrowSchema(schema);
    if (!isThereAlready(options)) {
      arranged(data, options)
          .write()
          .format(FlightBridgeSource.class.getName())
          .options(given)
          .option(PLANNED, "true")
          .mode(SaveMode.Append)
          .save();
    }
    return new BaseRelation() {
      @Override
      public SQLContext sqlContext() {
        return context;
      }

      @Override
      public StructType schema() {
        return schema;
      }
    };
  }

  /**
   * Whether there is nothing to do, because the mode is {@code ignore} and the feed exists. Asked
   * early since Spark runs every shuffle of a plan before it opens the write; what counts is what
   * the server says then.
   */
  private static boolean isThereAlready(WriteOptions options) {
    if (options.mode() != WriteMode.WRITE_MODE_IGNORE
        && options.mode() != WriteMode.WRITE_MODE_ERROR_IF_EXISTS) {
      return false;
    }
    try (var client = BridgeClients.lease(options.uri(), options.connection())) {
      client.get().describeFeed(options.feed());
    } catch (BridgeException error) {
      if (error.code() == Code.NOT_FOUND || error.code() == Code.FAILED_PRECONDITION) {
        return false; // not there, or being written
      }
      throw error;
    }
    if (options.mode() == WriteMode.WRITE_MODE_IGNORE) {
      return true;
    }
    throw new BridgeException(
        Code.ALREADY_EXISTS,
        "feed '"
            + options.feed()
            + "' exists: write with mode append, overwrite or ignore, or drop it first");
  }

  /**
   * All: those that cannot cross are refused by {@link #createRelation} with the name of the column
   * and what to do about it. Spark 3.5 does not ask.
   */
  public boolean supportsDataType(DataType type) {
    return true;
  }

  /** In as many partitions, and in the order, that the options ask for. */
  private static Dataset<Row> arranged(Dataset<Row> data, WriteOptions options) {
    if (!options.shuffle()) {
      return options.shards() == 0 ? data : data.repartition(options.shards());
    }
    // By a hash of the row, so that a task that Spark repeats makes the same partition again. Equal
    // rows
    // lie side by side, where it makes no difference.
    List<Column> hashed = new ArrayList<>();
    hashed.add(functions.lit(options.seed()));
    for (StructField field : data.schema().fields()) {
      if (!containsMap(field.dataType())) {
        hashed.add(data.col("`" + field.name().replace("`", "``") + "`"));
      }
    }
    Column key =
        hashed.size() > 1
            ? functions.xxhash64(hashed.toArray(Column[]::new))
            : functions.rand(options.seed());
    Column order = functions.xxhash64(key, functions.lit(1));
    Dataset<Row> dealt =
        options.shards() == 0 ? data.repartition(key) : data.repartition(options.shards(), key);
    return dealt.sortWithinPartitions(order);
  }

  // Spark has no hash of maps.
  private static boolean containsMap(DataType type) {
    if (type instanceof StructType struct) {
      return Arrays.stream(struct.fields()).anyMatch(field -> containsMap(field.dataType()));
    }
    if (type instanceof org.apache.spark.sql.types.ArrayType array) {
      return containsMap(array.elementType());
    }
    return type instanceof MapType || type.typeName().equals("variant");
  }
}
