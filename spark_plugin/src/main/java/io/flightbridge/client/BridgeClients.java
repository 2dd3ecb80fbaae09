package io.flightbridge.client;

import java.util.Iterator;
import java.util.LinkedHashMap;
import java.util.Map;

/**
 * The clients of this JVM, shared by its tasks: a connection costs more than a small partition.
 * Those that nobody uses are closed when there are more than a few.
 */
public final class BridgeClients {
  private static final int MOST_IDLE = 4;
  private static final Map<Key, Shared> CLIENTS = new LinkedHashMap<>(16, 0.75f, true);

  private record Key(String uris, ConnectionOptions options) {}

  private static final class Shared {
    private final BridgeClient client;
    private int users;

    Shared(BridgeClient client) {
      this.client = client;
    }
  }

  private BridgeClients() {}

  /** A client that is used until the lease is closed. */
  public static Lease lease(String uris, ConnectionOptions options) {
    synchronized (CLIENTS) {
      Shared shared =
          CLIENTS.computeIfAbsent(
              new Key(uris, options), key -> new Shared(new BridgeClient(uris, options)));
      shared.users++;
      return new Lease(shared);
    }
  }

  /** The use of a client. */
  public static final class Lease implements AutoCloseable {
    private Shared shared;

    private Lease(Shared shared) {
      this.shared = shared;
    }

    public BridgeClient get() {
      return shared.client;
    }

    @Override
    public void close() {
      synchronized (CLIENTS) {
        if (shared != null) {
          shared.users--;
          shared = null;
          closeIdle();
        }
      }
    }
  }

  private static void closeIdle() {
    long idle = CLIENTS.values().stream().filter(shared -> shared.users == 0).count();
    Iterator<Shared> oldest = CLIENTS.values().iterator();
    while (idle > MOST_IDLE && oldest.hasNext()) {
      Shared shared = oldest.next();
      if (shared.users == 0) {
        shared.client.close();
        oldest.remove();
        idle--;
      }
    }
  }
}
