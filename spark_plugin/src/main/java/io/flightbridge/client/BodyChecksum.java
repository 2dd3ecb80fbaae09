package io.flightbridge.client;

import io.flightbridge.BridgeException;
import io.flightbridge.Code;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.util.zip.CRC32C;
import org.apache.arrow.flatbuf.Buffer;
import org.apache.arrow.flatbuf.DictionaryBatch;
import org.apache.arrow.flatbuf.FieldNode;
import org.apache.arrow.flatbuf.Message;
import org.apache.arrow.flatbuf.MessageHeader;
import org.apache.arrow.flatbuf.RecordBatch;

/**
 * The checksum of a record batch or dictionary whose body arrives piece by piece; docs/protocol.md,
 * "Batch checksum", says of what. Its buffers lie one behind the other.
 */
final class BodyChecksum {
  private final CRC32C crc = new CRC32C();
  private final RecordBatch batch;
  private final long bodyBytes;
  private int buffer; // the first that is not over
  private boolean begun; // whether its size was taken
  private long at; // of the body

  /**
   * @param metadata the flatbuffer of an Arrow IPC message
   * @param bodyBytes that come with it
   */
  BodyChecksum(ByteBuffer metadata, long bodyBytes) {
    this.bodyBytes = bodyBytes;
    try {
      Message message = Message.getRootAsMessage(metadata.duplicate());
      this.batch =
          switch (message.headerType()) {
            case MessageHeader.RecordBatch -> (RecordBatch) message.header(new RecordBatch());
            case MessageHeader.DictionaryBatch ->
                ((DictionaryBatch) message.header(new DictionaryBatch())).data();
            default -> null;
          };
      if (batch == null || message.bodyLength() != bodyBytes) {
        throw damaged();
      }
      number(batch.length());
      for (int i = 0; i < batch.nodesLength(); i++) {
        FieldNode node = batch.nodes(i);
        number(node.length());
        number(node.nullCount());
      }
    } catch (IndexOutOfBoundsException error) {
      throw damaged();
    }
  }

  /** The next bytes of the body. */
  void add(ByteBuffer bytes) {
    long end = at + bytes.remaining();
    while (buffer < batch.buffersLength()) {
      Buffer next = batch.buffers(buffer);
      if (!begun) {
        if (next.offset() < 0 || next.length() < 0 || next.offset() > bodyBytes - next.length()) {
          throw damaged();
        }
        if (next.offset() > end) {
          break;
        }
        number(next.length());
        begun = true;
      }
      long from = Math.max(at, next.offset());
      long to = Math.min(end, next.offset() + next.length());
      if (from < to) {
        crc.update(bytes.duplicate().position(place(bytes, from)).limit(place(bytes, to)));
      }
      if (next.offset() + next.length() > end) {
        break;
      }
      buffer++;
      begun = false;
    }
    at = end;
  }

  /** Of a whole body. */
  int value() {
    add(ByteBuffer.allocate(0)); // what has no bytes at its end has a size
    return (int) crc.getValue();
  }

  private int place(ByteBuffer bytes, long offset) {
    return bytes.position() + (int) (offset - at);
  }

  private void number(long value) {
    crc.update(
        ByteBuffer.allocate(Long.BYTES).order(ByteOrder.LITTLE_ENDIAN).putLong(value).flip());
  }

  private static BridgeException damaged() {
    return new BridgeException(Code.DATA_LOSS, "what arrived is no valid Arrow message");
  }
}
