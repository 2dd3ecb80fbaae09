package io.flightbridge.client;

import com.google.protobuf.ByteString;
import io.flightbridge.BridgeException;
import io.flightbridge.Code;
import io.flightbridge.protocol.ChannelGet;
import io.flightbridge.protocol.ChannelOffer;
import io.flightbridge.protocol.GetTicket;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.channels.ReadableByteChannel;
import java.util.List;
import org.apache.arrow.memory.BufferAllocator;
import org.apache.arrow.vector.FieldVector;
import org.apache.arrow.vector.dictionary.DictionaryProvider;
import org.apache.arrow.vector.ipc.ArrowStreamReader;

/**
 * Rows of a feed over the data channel: bodies go from the socket into Arrow's memory, and their
 * checksums are made on the way. Not thread-safe.
 */
final class ChannelGetStream implements GetStream {
  private final String doing;
  private final BufferAllocator memory;
  private final FrameSocket socket;
  private final ArrowStreamReader reader;

  private ChannelGetStream(String doing, BufferAllocator memory, FrameSocket socket) {
    this.doing = doing;
    this.memory = memory;
    this.socket = socket;
    this.reader = new ArrowStreamReader(new Stream(), memory);
  }

  static ChannelGetStream open(FlightConnection connection, ChannelOffer offer, GetTicket ticket) {
    String doing = GetStream.doing(ticket);
    BufferAllocator memory = FlightGetStream.newMemory(doing);
    DataChannel channel = null;
    try {
      channel = DataChannel.open(connection, offer);
      var get =
          ChannelGet.newBuilder().setTicket(ByteString.copyFrom(ticket.toByteArray())).build();
      channel.send(Frame.Kind.GET, get.toByteArray());
      return new ChannelGetStream(doing, memory, channel.socket());
    } catch (BridgeException error) {
      if (channel != null) {
        channel.close();
      }
      memory.close();
      throw error.during(doing);
    }
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
    return root(reader).getRowCount();
  }

  @Override
  public List<FieldVector> columns() {
    return root(reader).getFieldVectors();
  }

  @Override
  public DictionaryProvider dictionaries() {
    return reader;
  }

  @Override
  public void close() {
    socket.close();
    try {
      reader.close();
    } catch (IOException error) {
      throw new BridgeException(Code.INTERNAL, doing + ": " + error.getMessage(), error);
    } finally {
      memory.close();
    }
  }

  private org.apache.arrow.vector.VectorSchemaRoot root(ArrowStreamReader of) {
    try {
      return of.getVectorSchemaRoot();
    } catch (IOException error) {
      throw new BridgeException(Code.INTERNAL, doing + ": " + error.getMessage(), error);
    }
  }

  /** What the channel brings as one Arrow IPC stream, each body verified before its end is read. */
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
        nextFrame();
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
      socket.receiveInto(part);
      checksum.add(part.flip());
      bodyLeft -= part.remaining();
      to.position(to.position() + part.remaining());
      endOfBody();
      return part.limit();
    }

    private void nextFrame() {
      Frame frame = socket.receive();
      if (!begun) {
        head = DataChannel.expect(frame, Frame.Kind.SCHEMA).metadata();
        begun = true;
      } else if (frame.kind() == Frame.Kind.END) {
        over = true;
      } else {
        ByteBuffer metadata = DataChannel.expect(frame, Frame.Kind.MESSAGE).metadata();
        bodyLeft = frame.bodyBytes();
        checksum = new BodyChecksum(metadata, bodyLeft);
        int padded = (metadata.remaining() + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
        head = ByteBuffer.allocate(2 * Integer.BYTES + padded).order(ByteOrder.LITTLE_ENDIAN);
        head.putInt(CONTINUATION).putInt(padded).put(metadata.duplicate()).position(0);
      }
    }

    // A message's last bytes are given out only once all of them are known to be right.
    private void endOfBody() {
      if (checksum == null || bodyLeft > 0 || head.hasRemaining()) {
        return;
      }
      ByteBuffer trailer = ByteBuffer.allocate(Frame.TRAILER_BYTES).order(ByteOrder.LITTLE_ENDIAN);
      while (trailer.hasRemaining()) {
        socket.receiveInto(trailer);
      }
      int expected = trailer.getInt(0);
      int found = checksum.value();
      checksum = null;
      if (found != expected) {
        throw new BridgeException(
            Code.DATA_LOSS,
            String.format(
                "the checksum of what arrived is %08x, of what was sent %08x: read it again",
                found, expected));
      }
    }

    @Override
    public boolean isOpen() {
      return true;
    }

    @Override
    public void close() {
      socket.close();
    }
  }
}
