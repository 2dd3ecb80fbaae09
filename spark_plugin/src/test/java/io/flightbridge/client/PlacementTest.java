package io.flightbridge.client;

import static org.junit.jupiter.api.Assertions.assertEquals;

import java.util.List;
import org.junit.jupiter.api.Test;

class PlacementTest {
  /** The same values as in native/tests/placement_test.cc: clients and servers must agree. */
  @Test
  void isTheSameAsTheServers() {
    List<String> servers = List.of("grpc://a:1", "grpc://b:2", "grpc://c:3");
    var drawn = new StringBuilder();
    for (int partition = 0; partition < 24; partition++) {
      drawn.append("abc".charAt(Placement.serverOf(servers, "clicks", partition)));
    }
    assertEquals("ccaabbcaababbbabbaababaa", drawn.toString());
  }

  @Test
  void doesNotDependOnTheOrderOfTheServers() {
    List<String> servers = List.of("grpc://a:1", "grpc://b:2", "grpc://c:3");
    List<String> turned = List.of("grpc://c:3", "grpc://a:1", "grpc://b:2");
    for (int i = 0; i < 200; i++) {
      assertEquals(
          servers.get(Placement.serverOf(servers, "f", i)),
          turned.get(Placement.serverOf(turned, "f", i)));
      assertEquals(
          servers.get(Placement.homeOf(servers, "f" + i)),
          turned.get(Placement.homeOf(turned, "f" + i)));
    }
  }
}
