package io.flightbridge.spark;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.flightbridge.BridgeException;
import io.flightbridge.Code;
import io.flightbridge.protocol.Visibility;
import io.flightbridge.protocol.WriteMode;
import java.util.HashMap;
import java.util.Map;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

class WriteOptionsTest {
  private static WriteOptions parsed(String... more) {
    Map<String, String> given = new HashMap<>(Map.of("uri", "grpc://bridge:8815", "feed", "f"));
    for (int i = 0; i < more.length; i += 2) {
      given.put(more[i], more[i + 1]);
    }
    return WriteOptions.parse(given, WriteMode.WRITE_MODE_APPEND);
  }

  @Test
  void defaults() {
    WriteOptions options = parsed();
    assertEquals(WriteMode.WRITE_MODE_APPEND, options.mode());
    assertEquals(Visibility.VISIBILITY_JOB, options.visible());
    assertEquals(2 << 20, options.batchBytes());
    assertTrue(options.retentionMessage().isEmpty());
    assertEquals(60_000, options.connection().timeout().toMillis());
  }

  @Test
  void namesComeInAnyCase() {
    WriteOptions options = parsed("Batch_Bytes", "100000", "MODE", "Overwrite", "Timeout", "0.25");
    assertEquals(100_000, options.batchBytes());
    assertEquals(WriteMode.WRITE_MODE_OVERWRITE, options.mode());
    assertEquals(250, options.connection().timeout().toMillis());
  }

  @Test
  void retention() {
    var kept = parsed("retention", "epochs=3", "ttl", "1.5").retentionMessage().orElseThrow();
    assertEquals(3, kept.getEpochs());
    assertEquals(1500, kept.getTtlMs());
  }

  @ParameterizedTest
  @CsvSource({
    "batch_size,5,is not known to the flightbridge format",
    "batch_bytes,12,is out of range",
    "batch_bytes,many,is not a number",
    "timeout,never,is not a time",
    "timeout,-1,is not a time",
    "timeout,1e400,is not a time",
    "visible,never,is not known",
    "retention,epochs=0,is not a retention",
    "shards,-1,is out of range",
    "shuffle,yes,is neither true nor false",
    "transport,pigeon,is not known",
    "mode,upsert,is not a save mode",
    "uri,nonsense,is not the address of a server",
    "feed,'',is missing"
  })
  void mistakesAreNamed(String name, String value, String text) {
    var error = assertThrows(BridgeException.class, () -> parsed(name, value));
    assertEquals(Code.INVALID_ARGUMENT, error.code());
    assertTrue(error.getMessage().contains(name), error.getMessage());
    assertTrue(error.getMessage().contains(text), error.getMessage());
  }

  @Test
  void aTokenIsNeverShown() {
    assertFalse(parsed("token", "s3cret").toString().contains("s3cret"));
    assertEquals("s3cret", parsed("token", "s3cret").connection().token());
  }

  @Test
  void streamsRefuseWhatTheyCannotDo() {
    assertEquals(parsed().feed(), parsed().forStream().feed());
    for (String[] option :
        new String[][] {
          {"shards", "2"}, {"shuffle", "true"}, {"visible", "partition"}, {"mode", "ignore"}
        }) {
      assertThrows(BridgeException.class, () -> parsed(option).forStream(), option[0]);
    }
  }
}
