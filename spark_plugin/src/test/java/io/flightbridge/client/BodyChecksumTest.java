package io.flightbridge.client;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertNotEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;

import io.flightbridge.BridgeException;
import io.flightbridge.Code;
import io.flightbridge.columns.BatchBuilder;
import io.flightbridge.columns.EncodedBatch;
import io.flightbridge.memory.DirectPool;
import java.nio.ByteBuffer;
import java.util.Random;
import org.apache.spark.sql.catalyst.expressions.GenericInternalRow;
import org.apache.spark.sql.catalyst.expressions.UnsafeProjection;
import org.apache.spark.sql.types.DataTypes;
import org.apache.spark.sql.types.StructType;
import org.apache.spark.unsafe.types.UTF8String;
import org.junit.jupiter.api.Test;

class BodyChecksumTest {
  private static final StructType COLUMNS =
      new StructType()
          .add("x", DataTypes.LongType)
          .add("t", DataTypes.StringType)
          .add("list", DataTypes.createArrayType(DataTypes.IntegerType))
          .add("none", DataTypes.NullType);

  private static EncodedBatch batch(int rows) {
    var builder = new BatchBuilder(COLUMNS, 64 << 10, DirectPool.shared());
    UnsafeProjection project = UnsafeProjection.create(COLUMNS);
    for (int row = 0; row < rows; row++) {
      UTF8String text = row % 3 == 0 ? null : UTF8String.fromString("text " + row);
      builder.add(
          project.apply(new GenericInternalRow(new Object[] {(long) row, text, null, null})));
    }
    return builder.take();
  }

  private static ByteBuffer bodyOf(EncodedBatch batch) {
    ByteBuffer body = ByteBuffer.allocate((int) batch.bodyBytes());
    batch.body().forEach(part -> body.put(part.duplicate()));
    return body.flip();
  }

  private static int checksum(EncodedBatch batch, ByteBuffer body, int... cuts) {
    var checksum = new BodyChecksum(batch.metadata(), body.remaining());
    int at = 0;
    for (int cut : cuts) {
      checksum.add(body.slice(at, cut - at));
      at = cut;
    }
    checksum.add(body.slice(at, body.remaining() - at));
    return checksum.value();
  }

  @Test
  void isThatOfTheWriterHoweverTheBodyComesInPieces() {
    var random = new Random(3);
    for (int rows : new int[] {1, 7, 300}) {
      EncodedBatch batch = batch(rows);
      ByteBuffer body = bodyOf(batch);
      assertEquals(batch.crc32c(), checksum(batch, body));
      for (int round = 0; round < 200; round++) {
        int[] cuts = random.ints(round % 9, 0, body.remaining() + 1).sorted().toArray();
        assertEquals(batch.crc32c(), checksum(batch, body, cuts));
      }
      batch.release();
    }
  }

  @Test
  void damageIsFound() {
    EncodedBatch batch = batch(300);
    ByteBuffer body = bodyOf(batch);
    for (int bit = 0; bit < 38 * 8; bit++) { // whatever the first buffer is, it has that many
      body.put(bit / 8, (byte) (body.get(bit / 8) ^ 1 << bit % 8));
      assertNotEquals(batch.crc32c(), checksum(batch, body), "bit " + bit);
      body.put(bit / 8, (byte) (body.get(bit / 8) ^ 1 << bit % 8));
    }
    assertEquals(batch.crc32c(), checksum(batch, body));
    batch.release();
  }

  @Test
  void messagesThatDoNotFitTheirBodyAreRefused() {
    EncodedBatch batch = batch(10);
    for (long bytes : new long[] {0, batch.bodyBytes() - 1, batch.bodyBytes() + 64}) {
      var error =
          assertThrows(BridgeException.class, () -> new BodyChecksum(batch.metadata(), bytes));
      assertEquals(Code.DATA_LOSS, error.code());
    }
    batch.release();
  }
}
