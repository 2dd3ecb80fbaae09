package io.flightbridge.spark;

import com.google.protobuf.InvalidProtocolBufferException;
import io.flightbridge.BridgeException;
import io.flightbridge.Code;
import io.flightbridge.client.BridgeClients;
import io.flightbridge.client.GetStream;
import io.flightbridge.columns.FeedColumns;
import io.flightbridge.protocol.GetTicket;
import java.util.List;
import org.apache.arrow.vector.FieldVector;
import org.apache.spark.sql.connector.metric.CustomTaskMetric;
import org.apache.spark.sql.connector.read.PartitionReader;
import org.apache.spark.sql.types.StructField;
import org.apache.spark.sql.types.StructType;
import org.apache.spark.sql.vectorized.ColumnVector;
import org.apache.spark.sql.vectorized.ColumnarBatch;

/** The rows of one task. A stream that ends early is an error, never the end of the rows. */
final class FeedReader implements PartitionReader<ColumnarBatch> {
  private final StructType columns;
  private final long wanted;
  private final BridgeClients.Lease client;
  private final GetStream stream;
  private ColumnarBatch batch;
  private long rows;
  private long bytes;

  FeedReader(FeedReaderFactory read, FeedInputPartition part) {
    this.columns = read.columns();
    this.wanted = part.rows();
    this.client = BridgeClients.lease(part.uri(), read.options().connection());
    try {
      this.stream = client.get().openGet(GetTicket.parseFrom(part.ticket()));
    } catch (InvalidProtocolBufferException error) {
      client.close();
      throw new IllegalStateException(error);
    } catch (RuntimeException error) {
      client.close();
      throw error;
    }
  }

  @Override
  public boolean next() {
    if (!stream.next()) {
      if (rows != wanted) {
        throw new BridgeException(
            Code.DATA_LOSS, rows + " of " + wanted + " rows came: the stream ended too early");
      }
      return false;
    }
    List<FieldVector> vectors = stream.columns();
    var feed = new FeedColumns(stream.dictionaries());
    ColumnVector[] found = new ColumnVector[vectors.size()];
    for (int i = 0; i < found.length; i++) {
      StructField column = columns.apply(i);
      found[i] = feed.of(column.dataType(), vectors.get(i), column.name());
      bytes += vectors.get(i).getBufferSize();
    }
    rows += stream.rows();
    batch = new ColumnarBatch(found, stream.rows());
    return true;
  }

  @Override
  public ColumnarBatch get() {
    return batch;
  }

  @Override
  public CustomTaskMetric[] currentMetricsValues() {
    return ReadMetrics.values(bytes);
  }

  @Override
  public void close() {
    try {
      stream.close();
    } finally {
      client.close();
    }
  }
}
