package io.flightbridge.memory;

import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.MappedByteBuffer;
import java.nio.channels.FileChannel;

/**
 * A file in memory, shared with whoever else maps it, until {@link #close()}. Not thread-safe:
 * where it was is other memory after that.
 */
public final class Mapping implements AutoCloseable {
  private MappedByteBuffer mapped;
  private final long bytes;
  private Object faults; // kept, so that the call is not optimized away

  private Mapping(MappedByteBuffer mapped) {
    this.mapped = mapped;
    this.bytes = mapped.capacity();
  }

  /** All of the file, of less than 2 GiB, to be read and written. */
  public static Mapping of(FileChannel file) throws IOException {
    return new Mapping(file.map(FileChannel.MapMode.READ_WRITE, 0, file.size()));
  }

  public long bytes() {
    return bytes;
  }

  /** A part of it; not to be used once this is closed. */
  public ByteBuffer view(long place, int length) {
    if (mapped == null) {
      throw new IllegalStateException("the mapping is closed");
    }
    return mapped.slice(Math.toIntExact(place), length);
  }

  /** Raises the InternalError of a fault in this memory, which Java may otherwise do much later. */
  public void raiseFaults() {
    faults = JvmInternals.raiseFaults(bytes > 0 ? 1 : 0);
  }

  // Left to the garbage collector it would hold the server's memory for long after the put.
  @Override
  public void close() {
    if (mapped != null) {
      JvmInternals.unmap(mapped);
      mapped = null;
    }
  }
}
