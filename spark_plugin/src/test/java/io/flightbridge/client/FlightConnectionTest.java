package io.flightbridge.client;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.flightbridge.BridgeException;
import io.flightbridge.Code;
import io.grpc.Status;
import java.nio.channels.ClosedChannelException;
import java.security.cert.CertificateException;
import java.time.Duration;
import java.util.ArrayDeque;
import java.util.List;
import java.util.Queue;
import javax.net.ssl.SSLHandshakeException;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;

@Timeout(60)
class FlightConnectionTest {
  private final FlightConnection connection =
      new FlightConnection(
          Endpoint.parseList("grpc://127.0.0.1:1").get(0),
          new ConnectionOptions(null, null, null, null, Duration.ofDays(1), "auto"));

  @AfterEach
  void close() {
    connection.close();
  }

  private BridgeException of(Status status) {
    return connection.translated(status.asRuntimeException());
  }

  @Test
  void aConnectionThatEndsIsAServerThatIsAway() {
    for (Status status : List.of(Status.UNAVAILABLE, Status.UNKNOWN)) {
      BridgeException lost = of(status.withCause(new ClosedChannelException()));
      assertEquals(Code.UNAVAILABLE, lost.code());
      assertTrue(lost.text().contains("no server answers at grpc://127.0.0.1:1"), lost.text());
    }
    assertEquals(Code.INTERNAL, of(Status.UNKNOWN.withDescription("a bug")).code());
  }

  @Test
  void theServersWordHasItsCode() {
    assertEquals(
        Code.NOT_FOUND, of(Status.UNKNOWN.withDescription("[NOT_FOUND] there is no f")).code());
  }

  @Test
  void callsAreRepeatedWhileNoServerAnswers() {
    BridgeException away = of(Status.UNAVAILABLE);
    Queue<BridgeException> errors = new ArrayDeque<>(List.of(away, away));
    int answer =
        connection.untilAnswered(
            () -> {
              if (!errors.isEmpty()) {
                throw errors.remove();
              }
              return 7;
            });
    assertEquals(7, answer);
  }

  /** Of a timeout of a day. */
  @Test
  void aCertificateThatDoesNotFitIsNotWaitedFor() {
    var why = new SSLHandshakeException("no path");
    why.initCause(new CertificateException("not of this CA"));
    BridgeException refused = of(Status.UNAVAILABLE.withCause(why)).during("describing feed 'f'");
    var found =
        assertThrows(
            BridgeException.class,
            () ->
                connection.untilAnswered(
                    () -> {
                      throw refused;
                    }));
    assertEquals(refused, found);
  }
}
