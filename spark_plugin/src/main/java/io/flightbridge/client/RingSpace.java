package io.flightbridge.client;

import java.util.ArrayDeque;

/**
 * Which part of a ring is whose: pure bookkeeping, as in native/src/client/ring_space.h. Runs are
 * taken and given back in the order of their sequence numbers.
 */
final class RingSpace {
  private static final long ALIGNMENT = 64;

  private record Run(long sequence, long begin, long end) {}

  private final long bytes;
  private final ArrayDeque<Run> runs = new ArrayDeque<>(); // the oldest first

  RingSpace(long bytes) {
    this.bytes = bytes;
  }

  /** Where so many bytes fit in one piece; -1 while others are in the way. */
  long allocate(long sequence, long wanted) {
    long size = (wanted + ALIGNMENT - 1) & -ALIGNMENT;
    long place = 0;
    if (!runs.isEmpty()) {
      long begin = runs.getFirst().begin();
      long end = runs.getLast().end();
      boolean wrapped = end <= begin;
      place = end;
      if (wrapped ? size > begin - end : size > bytes - end) {
        // The rest at the end is left alone, and the run begins anew.
        if (wrapped || size > begin) {
          return -1;
        }
        place = 0;
      }
    }
    if (size > bytes) {
      return -1;
    }
    runs.addLast(new Run(sequence, place, place + size));
    return place;
  }

  /** The runs before that sequence number are free. */
  void free(long next) {
    while (!runs.isEmpty() && runs.getFirst().sequence() < next) {
      runs.removeFirst();
    }
  }
}
