package io.flightbridge.spark;

import io.flightbridge.client.BridgeClients;
import io.flightbridge.client.PutStream;
import io.flightbridge.columns.BatchBuilder;
import io.flightbridge.columns.EncodedBatch;
import io.flightbridge.memory.DirectPool;
import io.flightbridge.protocol.AttemptRef;
import io.flightbridge.protocol.PutCommand;
import io.flightbridge.protocol.PutResult;
import org.apache.spark.sql.catalyst.InternalRow;
import org.apache.spark.sql.connector.metric.CustomTaskMetric;
import org.apache.spark.sql.connector.write.DataWriter;
import org.apache.spark.sql.connector.write.WriterCommitMessage;

/** Streams one partition as one attempt. A partition without rows opens none. */
final class FeedDataWriter implements DataWriter<InternalRow> {
  private final FeedWriterFactory job;
  private final int partition;
  private final long task;
  private final BatchBuilder batches;
  private BridgeClients.Lease client;
  private PutStream put;
  private long rows;
  private long bytes;
  private long mappedBytes;
  private long waitedNanos;
  private boolean finished;

  FeedDataWriter(FeedWriterFactory job, int partition, long task) {
    this.job = job;
    this.partition = partition;
    this.task = task;
    this.batches = new BatchBuilder(job.columns(), job.options().batchBytes(), DirectPool.shared());
  }

  @Override
  public void write(InternalRow row) {
    if (!job.skip() && batches.add(row)) {
      send(batches.take());
    }
  }

  @Override
  public WriterCommitMessage commit() {
    EncodedBatch last = batches.take();
    if (last != null) {
      send(last);
    }
    if (put == null) {
      return new AttemptMessage(null);
    }
    PutResult staged = put.finish();
    finished = true;
    return new AttemptMessage(
        AttemptRef.newBuilder()
            .setPartition(partition)
            .setAttempt(task)
            .setRows(staged.getRows())
            .setBatches(staged.getBatches())
            .setCrc32C(staged.getCrc32C())
            .setBytes(staged.getBytes())
            .build()
            .toByteArray());
  }

  @Override
  public void abort() {
    close();
  }

  @Override
  public void close() {
    if (put != null) {
      waitedNanos = put.waitedNanos();
      mappedBytes = put.mappedBytes();
      WriteTotals.ended(finished, mappedBytes, waitedNanos);
      put.close();
      put = null;
    }
    if (client != null) {
      client.close();
      client = null;
    }
    batches.clear();
  }

  @Override
  public CustomTaskMetric[] currentMetricsValues() {
    return put == null
        ? WriteMetrics.values(rows, bytes, mappedBytes, waitedNanos)
        : WriteMetrics.values(rows, bytes, put.mappedBytes(), put.waitedNanos());
  }

  private void send(EncodedBatch batch) {
    if (put == null) {
      open(batch.bodyBytes());
    }
    rows += batch.rows();
    bytes += batch.bodyBytes();
    WriteTotals.sent(batch.rows(), batch.bodyBytes());
    put.write(batch);
  }

  private void open(long batchBytes) {
    client = BridgeClients.lease(job.options().uri(), job.options().connection());
    PutCommand command =
        PutCommand.newBuilder()
            .setFeed(job.options().feed())
            .setJobId(job.jobId())
            .setPartition(partition)
            .setAttempt(task)
            .build();
    put = client.get().openPut(command, job.arrowSchema(), batchBytes);
  }
}
