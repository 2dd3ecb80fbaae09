package io.flightbridge.spark;

import com.google.protobuf.InvalidProtocolBufferException;
import io.flightbridge.protocol.AttemptRef;
import java.util.ArrayList;
import java.util.List;
import org.apache.spark.sql.connector.write.WriterCommitMessage;

/**
 * What a finished task tells the driver.
 *
 * @param encoded its attempt; null if it had no rows to send
 */
record AttemptMessage(byte[] encoded) implements WriterCommitMessage {
  /** Of the tasks that had rows. */
  static List<AttemptRef> all(WriterCommitMessage[] messages) {
    List<AttemptRef> attempts = new ArrayList<>();
    for (WriterCommitMessage message : messages) {
      if (message instanceof AttemptMessage attempt && attempt.encoded() != null) {
        attempts.add(attempt.attempt());
      }
    }
    return attempts;
  }

  AttemptRef attempt() {
    try {
      return AttemptRef.parseFrom(encoded);
    } catch (InvalidProtocolBufferException error) {
      throw new IllegalStateException(error);
    }
  }
}
