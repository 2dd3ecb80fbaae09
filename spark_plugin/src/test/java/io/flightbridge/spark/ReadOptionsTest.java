package io.flightbridge.spark;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.flightbridge.BridgeException;
import io.flightbridge.Code;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import org.junit.jupiter.api.Test;

class ReadOptionsTest {
  private static Map<String, String> with(String name, String value) {
    Map<String, String> options =
        new HashMap<>(Map.of("uri", "grpc://b:2, a:1", "feed", "ratings"));
    options.put(name, value);
    return options;
  }

  private static String refused(String name, String value) {
    var error =
        assertThrows(BridgeException.class, () -> ReadOptions.parse(with(name, value)), value);
    assertEquals(Code.INVALID_ARGUMENT, error.code());
    return error.text();
  }

  @Test
  void namesAreReadInAnyCaseAndServersAreSorted() {
    ReadOptions options = ReadOptions.parse(with("SPLIT_bytes", "1000"));
    assertEquals(1000, options.splitBytes());
    assertEquals("ratings", options.feed());
    assertEquals(List.of("grpc://a:1", "grpc://b:2"), options.servers());
  }

  @Test
  void mistakesAreNamed() {
    assertTrue(refused("split_bytes", "0").contains("split_bytes='0' is out of range"));
    assertTrue(refused("split_bytes", "many").contains("split_bytes='many' is not a number"));
    assertTrue(refused("split_byte", "1").contains("split_byte='1' is not known"));
    assertTrue(refused("timeout", "-1").contains("timeout='-1' is not a time"));
    assertTrue(refused("uri", "http://a:1").contains("'http://a:1' is not the address"));
    assertTrue(refused("uri", "grpc://a:1,a:1").contains("twice"));
    assertTrue(refused("uri", "grpc://a:65536").contains("port"));
    assertTrue(refused("feed", "").contains("option feed is missing"));
  }

  @Test
  void tokensAreNotShown() {
    Map<String, String> options = with("timeout", "x");
    options.put("token", "secret");
    var error = assertThrows(BridgeException.class, () -> ReadOptions.parse(options));
    assertFalse(error.getMessage().contains("secret"));
  }
}
