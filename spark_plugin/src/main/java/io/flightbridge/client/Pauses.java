package io.flightbridge.client;

import io.flightbridge.BridgeException;
import io.flightbridge.Code;

/** The pauses between tries to reach a server that is away: short at first. Not thread-safe. */
final class Pauses {
  private static final long FIRST_MS = 50;
  private static final long LAST_MS = 1000;

  private long next = FIRST_MS;

  /** Whether there was none yet. */
  boolean atFirst() {
    return next == FIRST_MS;
  }

  /**
   * @throws BridgeException {@code CANCELLED}: Spark has killed the task
   */
  void pause() {
    try {
      Thread.sleep(next);
    } catch (InterruptedException error) {
      Thread.currentThread().interrupt();
      throw new BridgeException(Code.CANCELLED, "the task was interrupted", error);
    }
    next = Math.min(2 * next, LAST_MS);
  }
}
