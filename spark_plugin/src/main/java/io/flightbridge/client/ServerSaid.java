package io.flightbridge.client;

import io.flightbridge.BridgeException;
import io.flightbridge.Code;

/**
 * Marks an error as the server's own answer, by being its cause: it came over a connection that
 * worked, and is final.
 */
final class ServerSaid extends RuntimeException {
  ServerSaid() {
    super("the server's answer", null, false, false);
  }

  static BridgeException refusal(String message) {
    return BridgeException.of(message, Code.INTERNAL, new ServerSaid());
  }

  static boolean isWhy(BridgeException error) {
    return error.getCause() instanceof ServerSaid;
  }
}
