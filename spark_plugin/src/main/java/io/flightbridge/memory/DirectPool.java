package io.flightbridge.memory;

import java.util.ArrayDeque;

/**
 * Recycles direct memory within one JVM: pages that were written before take new bytes many times
 * faster than fresh ones. Blocks are powers of two; what is above {@link #MOST_KEPT} is left to the
 * garbage collector. Thread-safe.
 */
public final class DirectPool {
  /** Bytes kept for reuse. */
  public static final long MOST_KEPT = 256L << 20;

  private static final int SMALLEST_BITS = 12;
  private static final int LARGEST_KEPT_BITS = 26;
  private static final DirectPool SHARED = new DirectPool();

  private final ArrayDeque<DirectMemory>[] free;
  private long kept;

  @SuppressWarnings({"unchecked", "rawtypes"})
  DirectPool() {
    free = new ArrayDeque[LARGEST_KEPT_BITS + 1];
    for (int i = 0; i < free.length; i++) {
      free[i] = new ArrayDeque<>();
    }
  }

  /** The pool of this JVM. */
  public static DirectPool shared() {
    return SHARED;
  }

  /** Memory of at least that many bytes, with anything in it. */
  public DirectMemory take(long bytes) {
    if (bytes > Integer.MAX_VALUE - 64) {
      throw new IllegalArgumentException(
          "a column of one record batch has more than 2 GiB: write smaller values, or fewer rows");
    }
    int bits = bitsFor(bytes);
    if (bits <= LARGEST_KEPT_BITS) {
      synchronized (this) {
        DirectMemory found = free[bits].pollLast();
        if (found != null) {
          kept -= found.capacity();
          return found;
        }
      }
    }
    return DirectMemory.allocate(bits >= 31 ? Integer.MAX_VALUE - 64 : 1 << bits);
  }

  /** Gives back what nobody uses any more. */
  public void give(DirectMemory memory) {
    int bits = bitsFor(memory.capacity());
    synchronized (this) {
      if (bits <= LARGEST_KEPT_BITS && kept + memory.capacity() <= MOST_KEPT) {
        kept += memory.capacity();
        free[bits].addLast(memory);
      }
    }
  }

  synchronized long kept() {
    return kept;
  }

  private static int bitsFor(long bytes) {
    return Math.max(SMALLEST_BITS, 64 - Long.numberOfLeadingZeros(Math.max(bytes, 1) - 1));
  }
}
