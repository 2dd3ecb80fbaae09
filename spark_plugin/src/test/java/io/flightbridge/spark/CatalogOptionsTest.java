package io.flightbridge.spark;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.flightbridge.BridgeException;
import io.flightbridge.Code;
import java.util.Map;
import org.apache.spark.sql.connector.catalog.Identifier;
import org.apache.spark.sql.connector.expressions.Transform;
import org.apache.spark.sql.types.DataTypes;
import org.apache.spark.sql.types.StructType;
import org.junit.jupiter.api.Test;

class CatalogOptionsTest {
  private static final Map<String, String> GIVEN =
      Map.of("uri", "grpc://a:1", "Timeout", "5", "split_bytes", "1000", "token", "secret");
  private static final Identifier RATINGS = Identifier.of(new String[0], "ratings");
  private static final StructType COLUMNS = new StructType().add("id", DataTypes.LongType);

  private static Map<String, String> made(Map<String, String> properties) {
    return new CatalogOptions("bridge", GIVEN)
        .ofNewTable(RATINGS, COLUMNS, new Transform[0], properties);
  }

  private static String refused(Runnable call) {
    var error = assertThrows(BridgeException.class, call::run);
    assertEquals(Code.INVALID_ARGUMENT, error.code());
    assertFalse(error.getMessage().contains("secret"));
    return error.text();
  }

  private static String refusedOption(String name, String value) {
    return refused(() -> new CatalogOptions("bridge", Map.of("uri", "grpc://a:1", name, value)));
  }

  @Test
  void tablesHaveTheOptionsOfTheCatalog() {
    Map<String, String> options = new CatalogOptions("bridge", GIVEN).ofTable(RATINGS);
    ReadOptions read = ReadOptions.parse(options);
    assertEquals("ratings", read.feed());
    assertEquals(1000, read.splitBytes());
    assertEquals(5, read.connection().timeout().toSeconds());
    assertEquals("secret", read.connection().token());
    WriteOptions write = WriteOptions.parse(WriteOptions.withoutReads(options), null);
    assertEquals("ratings", write.feed());
    assertEquals(read.connection(), write.connection());
  }

  @Test
  void statementsAddOptionsAndSparkItsOwn() {
    Map<String, String> options =
        made(Map.of("batch_bytes", "70000", "option.batch_bytes", "70000", "owner", "me"));
    WriteOptions write = WriteOptions.parse(WriteOptions.withoutReads(options), null);
    assertEquals(70_000, write.batchBytes());
    assertFalse(options.containsKey("owner"));
  }

  @Test
  void mistakesAreNamedWithTheSetting() {
    assertTrue(refusedOption("feed", "f").contains("spark.sql.catalog.bridge.feed is not known"));
    assertTrue(refusedOption("shuffle", "true").contains("bridge.shuffle is not known"));
    assertTrue(refusedOption("timeout", "soon").contains("timeout='soon' is not a time"));
    assertTrue(refused(() -> new CatalogOptions("bridge", Map.of()).uri()).contains("bridge.uri"));
    assertTrue(
        refused(() -> made(Map.of("token", "x"))).contains("spark.sql.catalog.bridge.token"));
    assertTrue(refused(() -> made(Map.of("mode", "append"))).contains("INSERT INTO"));
    assertTrue(refused(() -> made(Map.of("comment", "x"))).contains("leave it out"));
  }

  @Test
  void feedsLieOnOneLevel() {
    Identifier deep = Identifier.of(new String[] {"a", "b"}, "c");
    var catalog = new CatalogOptions("bridge", GIVEN);
    assertTrue(refused(() -> catalog.feedOf(deep)).contains("bridge.`a.b.c`"));
  }
}
