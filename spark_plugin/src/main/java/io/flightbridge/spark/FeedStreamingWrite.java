package io.flightbridge.spark;

import io.flightbridge.client.BridgeClients;
import java.util.UUID;
import org.apache.spark.sql.connector.write.PhysicalWriteInfo;
import org.apache.spark.sql.connector.write.WriterCommitMessage;
import org.apache.spark.sql.connector.write.streaming.StreamingDataWriterFactory;
import org.apache.spark.sql.connector.write.streaming.StreamingWrite;
import org.apache.spark.sql.types.StructType;

/**
 * The micro-batches of a streaming query, each a generation of the feed.
 *
 * <p>Exactly once: the query's id, which stays with its checkpoint, and the number of the
 * micro-batch are the writer and the epoch of docs/protocol.md. A micro-batch that Spark runs again
 * after a crash is a replay, which the server knows and drops. The job is opened by its tasks,
 * since Spark tells the driver the epoch only at the commit.
 */
final class FeedStreamingWrite implements StreamingWrite {
  private final FeedWriterFactory job;
  private final String query;

  FeedStreamingWrite(WriteOptions options, StructType columns, byte[] arrowSchema, String query) {
    // Task ids begin anew with every driver, so each run of a query has jobs of its own.
    String run = UUID.randomUUID().toString().substring(0, 8);
    this.job = new FeedWriterFactory(options, columns, arrowSchema, run, false);
    this.query = query;
  }

  @Override
  public StreamingDataWriterFactory createStreamingWriterFactory(PhysicalWriteInfo info) {
    return new EpochWriterFactory(job, query);
  }

  @Override
  public void commit(long epoch, WriterCommitMessage[] messages) {
    EpochJob job = jobOf(epoch);
    try (var client = client()) {
      // Once more: there may have been no task.
      client.get().beginWrite(job.begin());
      client
          .get()
          .commitWrite(
              job.options().feed(), job.jobId(), AttemptMessage.all(messages), job.epoch());
    }
  }

  @Override
  public void abort(long epoch, WriterCommitMessage[] messages) {
    EpochJob job = jobOf(epoch);
    try (var client = client()) {
      client.get().abortWrite(job.options().feed(), job.jobId());
    }
  }

  private EpochJob jobOf(long epoch) {
    return new EpochJob(job, query, epoch);
  }

  private BridgeClients.Lease client() {
    return BridgeClients.lease(job.options().uri(), job.options().connection());
  }
}
