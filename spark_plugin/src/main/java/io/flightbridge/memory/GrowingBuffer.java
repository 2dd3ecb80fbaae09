package io.flightbridge.memory;

import org.apache.spark.unsafe.Platform;

/** Bytes that are appended to direct memory of a pool. Not thread-safe. */
public final class GrowingBuffer {
  private static final int SLACK = 8;

  private final DirectPool pool;
  private DirectMemory memory;
  private long size;
  private long expected; // as large as the one before

  public GrowingBuffer(DirectPool pool) {
    this.pool = pool;
  }

  public long size() {
    return size;
  }

  /** Where the next {@code bytes} go, and 8 more that may be overwritten by whole words. */
  public long reserve(long bytes) {
    long needed = size + bytes + SLACK;
    if (memory == null || needed > memory.capacity()) {
      grow(needed);
    }
    return memory.address() + size;
  }

  /** Says that so many of the reserved bytes were written. */
  public void advance(long bytes) {
    size += bytes;
  }

  /** Address of a byte written before. */
  public long addressOf(long offset) {
    return memory.address() + offset;
  }

  public void putInt(int value) {
    Platform.putInt(null, reserve(4), value);
    size += 4;
  }

  public void putLong(long value) {
    Platform.putLong(null, reserve(8), value);
    size += 8;
  }

  public void putZeros(long bytes) {
    Platform.setMemory(reserve(bytes), (byte) 0, bytes);
    size += bytes;
  }

  public void putBytes(Object base, long offset, long bytes) {
    Platform.copyMemory(base, offset, null, reserve(bytes), bytes);
    size += bytes;
  }

  /** The memory written so far, which is the caller's from now on; this begins anew. */
  public DirectMemory detach() {
    DirectMemory detached = memory;
    expected = size + SLACK;
    memory = null;
    size = 0;
    return detached;
  }

  /** Forgets what was written and gives the memory back. */
  public void release() {
    if (memory != null) {
      pool.give(memory);
    }
    memory = null;
    size = 0;
  }

  private void grow(long needed) {
    DirectMemory larger =
        pool.take(Math.max(needed, memory == null ? expected : 2L * memory.capacity()));
    if (memory != null) {
      Platform.copyMemory(null, memory.address(), null, larger.address(), size);
      pool.give(memory);
    }
    memory = larger;
  }
}
