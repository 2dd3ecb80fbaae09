package io.flightbridge.client;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.flightbridge.BridgeException;
import java.util.List;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

class EndpointTest {
  @Test
  void addressesAreTakenApart() {
    assertEquals(
        new Endpoint("bridge-1.local", 8815, false), Endpoint.parse("grpc://bridge-1.local:8815"));
    assertEquals(new Endpoint("::1", 1, true), Endpoint.parse("grpc+tls://[::1]:1"));
    assertEquals("grpc+tls://[::1]:1", Endpoint.parse("grpc+tls://[::1]:1").uri());
  }

  @Test
  void listsAreSortedAndTakeTheirSchemeFromTheFirst() {
    List<Endpoint> found = Endpoint.parseList("grpc://b:2, a:1,grpc://c:3");
    assertEquals(
        List.of("grpc://a:1", "grpc://b:2", "grpc://c:3"),
        found.stream().map(Endpoint::uri).toList());
  }

  @ParameterizedTest
  @ValueSource(
      strings = {
        "",
        "bridge",
        "grpc://",
        "grpc://bridge",
        "http://bridge:1",
        "grpc://bridge:0",
        "grpc://bridge:65536",
        "grpc://bridge:port",
        "grpc://a:1,",
        "grpc://a:1,grpc://a:1",
        "grpc://user@bridge:1",
        "grpc://bridge:1/feed"
      })
  void othersAreRefusedByValue(String uri) {
    var error = assertThrows(BridgeException.class, () -> Endpoint.parseList(uri));
    assertTrue(error.getMessage().contains("grpc://HOST:PORT"), error.getMessage());
  }
}
