package io.flightbridge.client;

import java.io.Serializable;
import java.time.Duration;

/**
 * How servers are reached; the same on driver and executors.
 *
 * @param token bearer token, or null
 * @param tlsCa PEM file of the certificate authorities of a server with TLS; null: the JVM's own
 * @param tlsClientCert PEM file of the client's certificate chain, or null
 * @param tlsClientKey PEM file of its private key, or null
 * @param timeout of every call, and of every wait on a stream
 * @param transport {@code auto}, {@code mapped}, {@code channel} or {@code flight}: how record
 *     batches travel
 */
public record ConnectionOptions(
    String token,
    String tlsCa,
    String tlsClientCert,
    String tlsClientKey,
    Duration timeout,
    String transport)
    implements Serializable {

  /** Never the token: this reaches logs. */
  @Override
  public String toString() {
    return "ConnectionOptions[token="
        + (token == null ? "none" : "***")
        + ", tlsCa="
        + tlsCa
        + ", tlsClientCert="
        + tlsClientCert
        + ", timeout="
        + timeout
        + ", transport="
        + transport
        + "]";
  }
}
