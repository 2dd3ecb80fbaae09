package io.flightbridge.spark;

import org.apache.spark.sql.catalyst.InternalRow;
import org.apache.spark.sql.connector.write.DataWriter;
import org.apache.spark.sql.connector.write.DataWriterFactory;
import org.apache.spark.sql.types.StructType;

/**
 * Travels to every task.
 *
 * @param skip the mode is {@code ignore} and the feed exists: nothing is to be sent
 */
record FeedWriterFactory(
    WriteOptions options, StructType columns, byte[] arrowSchema, String jobId, boolean skip)
    implements DataWriterFactory {
  @Override
  public DataWriter<InternalRow> createWriter(int partition, long task) {
    // The task's id never repeats within an application; attempt numbers do.
    return new FeedDataWriter(this, partition, task);
  }
}
