package io.flightbridge.spark;

import io.flightbridge.columns.SparkTypes;
import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.channels.Channels;
import org.apache.arrow.vector.ipc.WriteChannel;
import org.apache.arrow.vector.ipc.message.MessageSerializer;
import org.apache.spark.sql.connector.metric.CustomMetric;
import org.apache.spark.sql.connector.write.BatchWrite;
import org.apache.spark.sql.connector.write.Write;
import org.apache.spark.sql.connector.write.streaming.StreamingWrite;
import org.apache.spark.sql.types.StructType;

/** One write of a DataFrame into a feed, as planned. */
final class FeedWrite implements Write {
  private final WriteOptions options;
  private final StructType columns;
  private final byte[] arrowSchema;
  private final String queryId;

  FeedWrite(WriteOptions options, StructType columns, String queryId) {
    this.options = options;
    this.columns = columns;
    this.arrowSchema = encoded(columns);
    this.queryId = queryId;
  }

  @Override
  public String description() {
    return "flightbridge feed '" + options.feed() + "' at " + options.uri();
  }

  @Override
  public BatchWrite toBatch() {
    return new FeedBatchWrite(options, columns, arrowSchema, queryId);
  }

  @Override
  public StreamingWrite toStreaming() {
    return new FeedStreamingWrite(options.forStream(), columns, arrowSchema, queryId);
  }

  @Override
  public CustomMetric[] supportedCustomMetrics() {
    return WriteMetrics.all();
  }

  private static byte[] encoded(StructType columns) {
    var bytes = new ByteArrayOutputStream();
    try {
      MessageSerializer.serialize(
          new WriteChannel(Channels.newChannel(bytes)), SparkTypes.arrowSchema(columns));
    } catch (IOException error) {
      throw new UncheckedIOException(error);
    }
    return bytes.toByteArray();
  }
}
