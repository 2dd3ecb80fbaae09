package io.flightbridge.client;

import io.netty.handler.ssl.NotSslRecordException;
import java.security.cert.CertificateException;

/**
 * Whether this side has refused what a server showed. A server that refuses this client's
 * certificate closes the connection, as one does that stops.
 */
final class TlsRefusal {
  private static final int DEEPEST = 16; // causes may go round in a circle

  private TlsRefusal() {}

  static boolean isWhy(Throwable error) {
    Throwable cause = error;
    for (int i = 0; cause != null && i < DEEPEST; i++, cause = cause.getCause()) {
      if (cause instanceof CertificateException || cause instanceof NotSslRecordException) {
        return true;
      }
    }
    return false;
  }
}
