package io.flightbridge.client;

import java.util.Map;
import java.util.concurrent.ConcurrentHashMap;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/** Says in the log how record batches travel to each server, once and whenever that changes. */
final class Ways {
  private static final Logger LOG = LoggerFactory.getLogger(Ways.class);
  private static final Map<String, String> NOTED = new ConcurrentHashMap<>();

  private Ways() {}

  /**
   * @param why not through memory, where it is the socket
   */
  static void note(String uri, boolean mapped, String why) {
    String way = mapped ? "through shared memory" : "over TCP (" + why + ")";
    if (!way.equals(NOTED.put(uri, way))) {
      LOG.info("FlightBridge: record batches go to {} {}", uri, way);
    }
  }
}
