package io.flightbridge.client;

import io.flightbridge.columns.EncodedBatch;
import io.flightbridge.protocol.PutResult;

/** One attempt at a partition on its way to a server. Not thread-safe. */
public interface PutStream extends AutoCloseable {
  /**
   * Sends a batch, whose memory is this stream's from now on. Waits while too much is on its way.
   */
  void write(EncodedBatch batch);

  /**
   * Ends the attempt; returns once the server has staged it, durably where it has a data directory.
   */
  PutResult finish();

  /** Nanoseconds spent waiting for the server to take more. */
  long waitedNanos();

  /** Bytes of bodies that went through memory shared with the server, and not over a socket. */
  default long mappedBytes() {
    return 0;
  }

  /** Gives up what is not finished. */
  @Override
  void close();
}
