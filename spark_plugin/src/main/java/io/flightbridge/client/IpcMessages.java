package io.flightbridge.client;

import java.nio.ByteBuffer;
import java.util.OptionalInt;

/** The messages of an Arrow IPC stream as they arrive. Not thread-safe. */
interface IpcMessages extends AutoCloseable {
  /**
   * A message whose body is still to come.
   *
   * @param metadata its flatbuffer
   */
  record Message(ByteBuffer metadata, long bodyBytes) {}

  /** The next one, the schema first; null: there are no more. All of the last body was read. */
  Message next();

  /** Some bytes of the body, at least one, and not more than it has left. */
  void read(ByteBuffer to);

  /** Of the message whose body has been read, as it was sent, if that is known. */
  OptionalInt checksum();

  @Override
  void close();
}
