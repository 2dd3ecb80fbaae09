package io.flightbridge.client;

import com.google.protobuf.ByteString;
import io.flightbridge.BridgeException;
import io.flightbridge.protocol.ChannelGet;
import io.flightbridge.protocol.ChannelOffer;
import io.flightbridge.protocol.GetTicket;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.util.OptionalInt;

/** Rows of a feed over the data channel. Not thread-safe. */
final class ChannelMessages implements IpcMessages {
  private static final int LENGTH_AT = 4; // of the schema's flatbuffer, behind a marker
  private static final int FLATBUFFER_AT = 8;

  private final DataChannel channel;
  private boolean begun;

  private ChannelMessages(DataChannel channel) {
    this.channel = channel;
  }

  static ChannelMessages open(FlightConnection connection, ChannelOffer offer, GetTicket ticket) {
    DataChannel channel = DataChannel.open(connection, offer);
    try {
      var get =
          ChannelGet.newBuilder().setTicket(ByteString.copyFrom(ticket.toByteArray())).build();
      channel.send(Frame.Kind.GET, get.toByteArray());
      return new ChannelMessages(channel);
    } catch (BridgeException error) {
      channel.close();
      throw error;
    }
  }

  @Override
  public Message next() {
    Frame frame = channel.socket().receive();
    if (!begun) {
      begun = true;
      ByteBuffer schema = DataChannel.expect(frame, Frame.Kind.SCHEMA).metadata();
      int length = schema.order(ByteOrder.LITTLE_ENDIAN).getInt(LENGTH_AT);
      return new Message(schema.slice(FLATBUFFER_AT, length), 0);
    }
    if (frame.kind() == Frame.Kind.END) {
      return null;
    }
    return new Message(DataChannel.expect(frame, Frame.Kind.MESSAGE).metadata(), frame.bodyBytes());
  }

  @Override
  public void read(ByteBuffer to) {
    channel.socket().receiveInto(to);
  }

  @Override
  public OptionalInt checksum() {
    ByteBuffer trailer = ByteBuffer.allocate(Frame.TRAILER_BYTES).order(ByteOrder.LITTLE_ENDIAN);
    while (trailer.hasRemaining()) {
      channel.socket().receiveInto(trailer);
    }
    return OptionalInt.of(trailer.getInt(0));
  }

  @Override
  public void close() {
    channel.close();
  }
}
