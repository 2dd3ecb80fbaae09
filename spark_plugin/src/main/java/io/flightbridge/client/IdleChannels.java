package io.flightbridge.client;

import io.flightbridge.BridgeException;
import java.time.Duration;
import java.util.ArrayDeque;
import java.util.Deque;
import java.util.concurrent.ScheduledThreadPoolExecutor;
import java.util.concurrent.TimeUnit;

/**
 * Connections to one server between a request that has ended well and the next: a connection, and a
 * ring's pages, cost more than the rows of a small partition. Whoever takes one has it alone. The
 * last one used is the first to be used again, so that those too many come to their end, which is
 * soon: a ring is the server's memory. Thread-safe.
 */
final class IdleChannels implements AutoCloseable {
  private static final int MOST = Math.max(2, Runtime.getRuntime().availableProcessors());
  // Longer than from one task to the next, or from one job to the next in a notebook's loop.
  private static final Duration KEPT = Duration.ofSeconds(5);
  private static final ScheduledThreadPoolExecutor SWEEPER = sweeper();

  private record Idle(DataChannel channel, long since) {}

  private final int most;
  private final long keptNanos;
  private final Deque<Idle> idle = new ArrayDeque<>(); // the one that has waited longest first
  private boolean sweeping;
  private boolean closed;

  IdleChannels() {
    this(MOST, KEPT);
  }

  IdleChannels(int most, Duration kept) {
    this.most = most;
    this.keptNanos = kept.toNanos();
  }

  /** One that is open still; null: there is none. */
  synchronized DataChannel take() {
    while (!idle.isEmpty()) {
      DataChannel channel = idle.removeLast().channel();
      if (isReusable(channel)) { // the server may have closed it, or restarted
        return channel;
      }
      channel.close();
    }
    return null;
  }

  /** Takes it over, to keep or to close. */
  synchronized void give(DataChannel channel) {
    if (closed || idle.size() >= most || !isReusable(channel)) {
      channel.close();
      return;
    }
    idle.addLast(new Idle(channel, System.nanoTime()));
    sweepLater();
  }

  @Override
  public synchronized void close() {
    closed = true;
    idle.forEach(one -> one.channel().close());
    idle.clear();
  }

  private synchronized void sweep() {
    sweeping = false;
    long now = System.nanoTime();
    while (!idle.isEmpty() && now - idle.getFirst().since() >= keptNanos) {
      idle.removeFirst().channel().close();
    }
    sweepLater();
  }

  private void sweepLater() {
    if (!sweeping && !idle.isEmpty()) {
      long age = System.nanoTime() - idle.getFirst().since();
      SWEEPER.schedule(this::sweep, Math.max(0, keptNanos - age), TimeUnit.NANOSECONDS);
      sweeping = true;
    }
  }

  private static boolean isReusable(DataChannel channel) {
    try {
      return channel.isReusable();
    } catch (BridgeException error) {
      return false;
    }
  }

  // Its thread is there only while something is idle.
  private static ScheduledThreadPoolExecutor sweeper() {
    var sweeper =
        new ScheduledThreadPoolExecutor(
            1,
            task -> {
              Thread thread = new Thread(task, "flightbridge-idle-channels");
              thread.setDaemon(true);
              return thread;
            });
    sweeper.setKeepAliveTime(1, TimeUnit.SECONDS);
    sweeper.allowCoreThreadTimeOut(true);
    return sweeper;
  }
}
