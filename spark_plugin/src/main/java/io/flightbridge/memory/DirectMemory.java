package io.flightbridge.memory;

import java.nio.ByteBuffer;
import org.apache.spark.unsafe.Platform;

/** A block of direct memory that is written through addresses. Not thread-safe. */
public final class DirectMemory {
  private static final long ADDRESS_OFFSET = JvmInternals.addressOffset();

  private final ByteBuffer bytes;
  private final long address;

  private DirectMemory(ByteBuffer bytes) {
    this.bytes = bytes;
    this.address = Platform.getLong(bytes, ADDRESS_OFFSET);
  }

  static DirectMemory allocate(int capacity) {
    return new DirectMemory(ByteBuffer.allocateDirect(capacity));
  }

  public long address() {
    return address;
  }

  public int capacity() {
    return bytes.capacity();
  }

  /** The first {@code length} bytes, ready to be read. */
  public ByteBuffer view(int length) {
    return bytes.slice(0, length);
  }
}
