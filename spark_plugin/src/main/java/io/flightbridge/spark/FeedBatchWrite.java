package io.flightbridge.spark;

import com.google.protobuf.ByteString;
import io.flightbridge.client.BridgeClients;
import io.flightbridge.protocol.BeginWrite;
import java.util.UUID;
import org.apache.spark.sql.connector.write.BatchWrite;
import org.apache.spark.sql.connector.write.DataWriterFactory;
import org.apache.spark.sql.connector.write.PhysicalWriteInfo;
import org.apache.spark.sql.connector.write.WriterCommitMessage;
import org.apache.spark.sql.types.StructType;

/**
 * One write job, on the driver. It is opened just before the tasks start, so that a refusal (the
 * feed exists, its schema differs, no server answers) costs no task; the commit names the attempts
 * that won.
 */
final class FeedBatchWrite implements BatchWrite {
  private final WriteOptions options;
  private final StructType columns;
  private final byte[] arrowSchema;
  private final String jobId;

  FeedBatchWrite(WriteOptions options, StructType columns, byte[] arrowSchema, String queryId) {
    this.options = options;
    this.columns = columns;
    this.arrowSchema = arrowSchema;
    // A plan may be executed again, and that is another write.
    this.jobId = queryId + "." + UUID.randomUUID().toString().substring(0, 8);
  }

  @Override
  public DataWriterFactory createBatchWriterFactory(PhysicalWriteInfo info) {
    BeginWrite.Builder begin =
        BeginWrite.newBuilder()
            .setFeed(options.feed())
            .setJobId(jobId)
            .setMode(options.mode())
            .setVisible(options.visible())
            .setSchema(ByteString.copyFrom(arrowSchema));
    options.retentionMessage().ifPresent(begin::setRetention);
    try (var client = client()) {
      boolean skip = client.get().beginWrite(begin.build()).getSkip();
      OpenJobs.opened(this);
      return new FeedWriterFactory(options, columns, arrowSchema, jobId, skip);
    }
  }

  @Override
  public void commit(WriterCommitMessage[] messages) {
    try (var client = client()) {
      client.get().commitWrite(options.feed(), jobId, AttemptMessage.all(messages), null);
      OpenJobs.ended(this);
    }
  }

  @Override
  public void abort(WriterCommitMessage[] messages) {
    try (var client = client()) {
      client.get().abortWrite(options.feed(), jobId);
      OpenJobs.ended(this);
    }
  }

  private BridgeClients.Lease client() {
    return BridgeClients.lease(options.uri(), options.connection());
  }
}
