package io.flightbridge.client;

import io.flightbridge.BridgeException;
import io.flightbridge.Code;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.util.zip.CRC32C;

/**
 * A frame of the data channel: a header of 88 bytes and its metadata. The layout is that of
 * native/src/channel/frame.h.
 */
record Frame(Kind kind, long sequence, long bodyBytes, ByteBuffer metadata) {
  static final int HEADER_BYTES = 88;
  static final int TRAILER_BYTES = 8;

  private static final int MAGIC = 0x31434246; // "FBC1"
  private static final int MOST_METADATA_BYTES = 16 << 20;
  private static final int PLACE_AT = 72;
  private static final int HEADER_CRC_AT = 84;
  private static final short INLINE = 0; // the flags: where the body is
  private static final short IN_RING = 1;

  /** In the order of the protocol's numbers, from 1. */
  enum Kind {
    HELLO,
    WELCOME,
    PUT,
    READY,
    MESSAGE,
    ACK,
    END,
    RESULT,
    GET,
    SCHEMA,
    ERROR,
    RING,
    RELEASE
  }

  /** A header of this machine's own, followed by its metadata in the same buffer. */
  static ByteBuffer encode(Kind kind, long sequence, ByteBuffer metadata, long bodyBytes) {
    return encode(kind, INLINE, sequence, metadata, bodyBytes, 0);
  }

  /** A message whose body lies in the ring. */
  static ByteBuffer encodeInRing(long sequence, ByteBuffer metadata, long bodyBytes, long place) {
    return encode(Kind.MESSAGE, IN_RING, sequence, metadata, bodyBytes, place);
  }

  private static ByteBuffer encode(
      Kind kind, short flags, long sequence, ByteBuffer metadata, long bodyBytes, long place) {
    ByteBuffer frame =
        ByteBuffer.allocateDirect(HEADER_BYTES + metadata.remaining())
            .order(ByteOrder.LITTLE_ENDIAN);
    frame.putInt(MAGIC);
    frame.putShort((short) (kind.ordinal() + 1));
    frame.putShort(flags);
    frame.putInt(metadata.remaining());
    frame.putInt(crc(metadata.duplicate()));
    frame.putLong(bodyBytes);
    frame.putLong(sequence);
    frame.putLong(-1); // partition: of gets only
    frame.putLong(PLACE_AT, place);
    frame.position(HEADER_CRC_AT);
    frame.putInt(crc(frame.duplicate().flip()));
    frame.put(metadata.duplicate());
    return frame.flip();
  }

  /** How many bytes of metadata follow a header. */
  static int metadataBytes(ByteBuffer header) {
    header.order(ByteOrder.LITTLE_ENDIAN);
    if (header.getInt(0) != MAGIC
        || header.getInt(HEADER_CRC_AT)
            != crc(header.duplicate().position(0).limit(HEADER_CRC_AT))) {
      throw new BridgeException(
          Code.DATA_LOSS,
          "a frame header of the data channel is damaged: write the partition again");
    }
    int bytes = header.getInt(8);
    int kind = header.getShort(4);
    if (bytes < 0 || bytes > MOST_METADATA_BYTES || kind < 1 || kind > Kind.values().length) {
      throw new BridgeException(
          Code.INVALID_ARGUMENT, "a frame of the data channel that this client does not know");
    }
    return bytes;
  }

  static Frame decode(ByteBuffer header, ByteBuffer metadata) {
    if (header.getInt(12) != crc(metadata.duplicate())) {
      throw new BridgeException(
          Code.DATA_LOSS, "the metadata of a frame is damaged: write the partition again");
    }
    return new Frame(
        Kind.values()[header.getShort(4) - 1], header.getLong(24), header.getLong(16), metadata);
  }

  private static int crc(ByteBuffer bytes) {
    var crc = new CRC32C();
    crc.update(bytes);
    return (int) crc.getValue();
  }
}
