package io.flightbridge.client;

import io.flightbridge.BridgeException;
import io.flightbridge.Code;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.channels.ReadableByteChannel;
import java.util.List;
import java.util.OptionalInt;
import org.apache.arrow.memory.BufferAllocator;
import org.apache.arrow.memory.RootAllocator;
import org.apache.arrow.vector.FieldVector;
import org.apache.arrow.vector.VectorSchemaRoot;
import org.apache.arrow.vector.dictionary.DictionaryProvider;
import org.apache.arrow.vector.ipc.ArrowStreamReader;

/**
 * Rows of a feed: bodies go from where they arrive into Arrow's memory, and their checksums are
 * made on the way. Not thread-safe.
 */
final class IpcGetStream implements GetStream {
  private static final RootAllocator MEMORY = new RootAllocator();

  private final String doing;
  private final BufferAllocator memory;
  private final IpcMessages messages;
  private final ArrowStreamReader reader;

  /**
   * @param messages closed with this
   */
  IpcGetStream(String doing, IpcMessages messages) {
    this.doing = doing;
    this.messages = messages;
    this.memory = MEMORY.newChildAllocator(doing, 0, Long.MAX_VALUE);
    this.reader = new ArrowStreamReader(new Stream(), memory);
  }

  @Override
  public boolean next() {
    try {
      return reader.loadNextBatch();
    } catch (BridgeException error) {
      throw error.during(doing);
    } catch (IOException | RuntimeException error) {
      throw new BridgeException(Code.DATA_LOSS, doing + ": " + error.getMessage(), error);
    }
  }

  @Override
  public int rows() {
    return root().getRowCount();
  }

  @Override
  public List<FieldVector> columns() {
    return root().getFieldVectors();
  }

  @Override
  public DictionaryProvider dictionaries() {
    return reader;
  }

  @Override
  public void close() {
    messages.close();
    try {
      reader.close();
    } catch (IOException error) {
      throw new BridgeException(Code.INTERNAL, doing + ": " + error.getMessage(), error);
    } finally {
      memory.close();
    }
  }

  private VectorSchemaRoot root() {
    try {
      return reader.getVectorSchemaRoot();
    } catch (IOException error) {
      throw new BridgeException(Code.INTERNAL, doing + ": " + error.getMessage(), error);
    }
  }

  /** What comes as one Arrow IPC stream, each body verified before its end is read. */
  private final class Stream implements ReadableByteChannel {
    private static final int CONTINUATION = -1;
    private static final int ALIGNMENT = 8;

    private ByteBuffer head = ByteBuffer.allocate(0);
    private BodyChecksum checksum; // of the message that is on its way, or null
    private long bodyLeft;
    private boolean begun;
    private boolean over;

    @Override
    public int read(ByteBuffer to) {
      if (!to.hasRemaining()) {
        return 0;
      }
      if (!head.hasRemaining() && bodyLeft == 0 && !over) {
        nextMessage();
      }
      if (head.hasRemaining()) {
        int count = Math.min(head.remaining(), to.remaining());
        to.put(head.slice(head.position(), count));
        head.position(head.position() + count);
        endOfBody();
        return count;
      }
      if (over) {
        return -1;
      }
      ByteBuffer part = to.slice(to.position(), (int) Math.min(to.remaining(), bodyLeft));
      messages.read(part);
      checksum.add(part.flip());
      bodyLeft -= part.remaining();
      to.position(to.position() + part.remaining());
      endOfBody();
      return part.limit();
    }

    private void nextMessage() {
      IpcMessages.Message message = messages.next();
      if (message == null) {
        over = true;
        return;
      }
      ByteBuffer metadata = message.metadata();
      bodyLeft = message.bodyBytes();
      if (begun) {
        checksum = new BodyChecksum(metadata, bodyLeft);
      } else if (bodyLeft != 0) {
        throw new BridgeException(Code.DATA_LOSS, "the schema that arrived has a body");
      }
      begun = true;
      int padded = (metadata.remaining() + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
      head = ByteBuffer.allocate(2 * Integer.BYTES + padded).order(ByteOrder.LITTLE_ENDIAN);
      head.putInt(CONTINUATION).putInt(padded).put(metadata.duplicate()).position(0);
    }

    // A message's last bytes are given out only once all of them are known to be right.
    private void endOfBody() {
      if (checksum == null || bodyLeft > 0 || head.hasRemaining()) {
        return;
      }
      OptionalInt expected = messages.checksum();
      int found = checksum.value();
      checksum = null;
      if (expected.isPresent() && found != expected.getAsInt()) {
        throw new BridgeException(
            Code.DATA_LOSS,
            String.format(
                "the checksum of what arrived is %08x, of what was sent %08x: read it again",
                found, expected.getAsInt()));
      }
    }

    @Override
    public boolean isOpen() {
      return true;
    }

    @Override
    public void close() {
      messages.close();
    }
  }
}
