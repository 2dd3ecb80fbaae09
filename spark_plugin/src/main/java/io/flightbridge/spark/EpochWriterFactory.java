package io.flightbridge.spark;

import io.flightbridge.client.BridgeClients;
import org.apache.spark.sql.catalyst.InternalRow;
import org.apache.spark.sql.connector.write.DataWriter;
import org.apache.spark.sql.connector.write.streaming.StreamingDataWriterFactory;

/**
 * Travels to every task of every micro-batch.
 *
 * @param query what they have in common
 * @param writer the query's id
 */
record EpochWriterFactory(FeedWriterFactory query, String writer)
    implements StreamingDataWriterFactory {
  @Override
  public DataWriter<InternalRow> createWriter(int partition, long task, long epoch) {
    var job = new EpochJob(query, writer, epoch);
    try (var client = BridgeClients.lease(query.options().uri(), query.options().connection())) {
      boolean replayed = client.get().beginWrite(job.begin()).getAlreadyCommitted();
      return job.forTasks(replayed).createWriter(partition, task);
    }
  }
}
