package io.flightbridge.client;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;

import io.flightbridge.BridgeException;
import io.flightbridge.Code;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.charset.StandardCharsets;
import java.util.zip.CRC32C;
import org.junit.jupiter.api.Test;

class FrameTest {
  private static final byte[] METADATA = "metadata".getBytes(StandardCharsets.UTF_8);
  private static final int KIND_AT = 4;
  private static final int METADATA_BYTES_AT = 8;

  private static ByteBuffer frame() {
    return Frame.encode(Frame.Kind.ACK, 7, ByteBuffer.wrap(METADATA), 0);
  }

  private static Frame decode(ByteBuffer frame) {
    ByteBuffer header = frame.slice(0, Frame.HEADER_BYTES);
    int bytes = Frame.metadataBytes(header);
    return Frame.decode(header, frame.slice(Frame.HEADER_BYTES, bytes));
  }

  /** A frame whose header is sound, whatever it says. */
  private static ByteBuffer sealed(ByteBuffer frame) {
    var crc = new CRC32C();
    crc.update(frame.slice(0, Frame.HEADER_BYTES - 4));
    frame.order(ByteOrder.LITTLE_ENDIAN).putInt(Frame.HEADER_BYTES - 4, (int) crc.getValue());
    return frame;
  }

  @Test
  void comesBackAsItWas() {
    Frame found = decode(frame());
    assertEquals(Frame.Kind.ACK, found.kind());
    assertEquals(7, found.sequence());
    assertEquals(ByteBuffer.wrap(METADATA), found.metadata());
  }

  @Test
  void anyDamagedBitIsFound() {
    int bits = 8 * (Frame.HEADER_BYTES + METADATA.length);
    for (int bit = 0; bit < bits; bit++) {
      ByteBuffer frame = frame();
      frame.put(bit / 8, (byte) (frame.get(bit / 8) ^ 1 << bit % 8));
      var error = assertThrows(BridgeException.class, () -> decode(frame), "bit " + bit);
      assertEquals(Code.DATA_LOSS, error.code(), "bit " + bit);
    }
  }

  @Test
  void soundHeadersThatAskTooMuchAreRefused() {
    for (int bytes : new int[] {-1, Integer.MIN_VALUE, Integer.MAX_VALUE, (16 << 20) + 1}) {
      ByteBuffer frame = frame().order(ByteOrder.LITTLE_ENDIAN).putInt(METADATA_BYTES_AT, bytes);
      var error = assertThrows(BridgeException.class, () -> decode(sealed(frame)));
      assertEquals(Code.INVALID_ARGUMENT, error.code());
    }
    for (int kind : new int[] {0, -1, Frame.Kind.values().length + 1}) {
      ByteBuffer frame = frame().order(ByteOrder.LITTLE_ENDIAN).putShort(KIND_AT, (short) kind);
      var error = assertThrows(BridgeException.class, () -> decode(sealed(frame)));
      assertEquals(Code.INVALID_ARGUMENT, error.code());
    }
  }
}
