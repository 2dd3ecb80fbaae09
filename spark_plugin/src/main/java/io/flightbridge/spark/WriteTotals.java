package io.flightbridge.spark;

import java.util.concurrent.atomic.LongAdder;

/** What this JVM has sent since it started, over all writes. */
public final class WriteTotals {
  private static final LongAdder ROWS = new LongAdder();
  private static final LongAdder BYTES = new LongAdder();
  private static final LongAdder MAPPED = new LongAdder();
  private static final LongAdder WAITED_NANOS = new LongAdder();
  private static final LongAdder FINISHED = new LongAdder();
  private static final LongAdder GIVEN_UP = new LongAdder();

  private WriteTotals() {}

  static void sent(long rows, long bytes) {
    ROWS.add(rows);
    BYTES.add(bytes);
  }

  static void ended(boolean finished, long mappedBytes, long waitedNanos) {
    (finished ? FINISHED : GIVEN_UP).increment();
    MAPPED.add(mappedBytes);
    WAITED_NANOS.add(waitedNanos);
  }

  /** Rows sent, those of attempts that did not win included. */
  public static long rows() {
    return ROWS.sum();
  }

  /** Bytes of Arrow buffers. */
  public static long bytes() {
    return BYTES.sum();
  }

  /** Those of them that ended attempts sent through memory shared with the server. */
  public static long mappedBytes() {
    return MAPPED.sum();
  }

  /** Time in which ended attempts could not go on because the server did not take more. */
  public static long waitedNanos() {
    return WAITED_NANOS.sum();
  }

  /** Attempts that the server has staged. */
  public static long finished() {
    return FINISHED.sum();
  }

  /** Attempts that ended without. */
  public static long givenUp() {
    return GIVEN_UP.sum();
  }
}
