package io.flightbridge.spark;

import com.google.protobuf.ByteString;
import io.flightbridge.protocol.BeginWrite;
import io.flightbridge.protocol.WriteMode;
import io.flightbridge.protocol.WriterEpoch;

/**
 * The write job of one micro-batch.
 *
 * @param query what all micro-batches have in common; its job id is that of the run
 * @param writer the query's id
 * @param number of the micro-batch
 */
record EpochJob(FeedWriterFactory query, String writer, long number) {
  WriteOptions options() {
    return query.options();
  }

  String jobId() {
    return writer + "." + number + "." + query.jobId();
  }

  WriterEpoch epoch() {
    return WriterEpoch.newBuilder().setWriter(writer).setEpoch(number).build();
  }

  BeginWrite begin() {
    BeginWrite.Builder begin =
        BeginWrite.newBuilder()
            .setFeed(options().feed())
            .setJobId(jobId())
            .setMode(WriteMode.WRITE_MODE_STREAM)
            .setEpoch(epoch())
            .setSchema(ByteString.copyFrom(query.arrowSchema()));
    options().retentionMessage().ifPresent(begin::setRetention);
    return begin.build();
  }

  /** As its tasks need it. */
  FeedWriterFactory forTasks(boolean skip) {
    return new FeedWriterFactory(options(), query.columns(), query.arrowSchema(), jobId(), skip);
  }
}
