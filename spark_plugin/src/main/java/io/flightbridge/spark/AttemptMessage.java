package io.flightbridge.spark;

import com.google.protobuf.InvalidProtocolBufferException;
import io.flightbridge.protocol.AttemptRef;
import org.apache.spark.sql.connector.write.WriterCommitMessage;

/**
 * What a finished task tells the driver.
 *
 * @param encoded its attempt; null if it had no rows to send
 */
record AttemptMessage(byte[] encoded) implements WriterCommitMessage {
  AttemptRef attempt() {
    try {
      return AttemptRef.parseFrom(encoded);
    } catch (InvalidProtocolBufferException error) {
      throw new IllegalStateException(error);
    }
  }
}
