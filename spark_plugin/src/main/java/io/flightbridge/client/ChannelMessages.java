package io.flightbridge.client;

import com.google.protobuf.ByteString;
import io.flightbridge.BridgeException;
import io.flightbridge.Code;
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

  private final IdleChannels idle;
  private DataChannel channel; // null: closed
  private boolean begun;
  private boolean ended;

  private ChannelMessages(IdleChannels idle, DataChannel channel) {
    this.idle = idle;
    this.channel = channel;
  }

  /** Over a channel that another request has left; null where there is none that works. */
  static ChannelMessages openIdle(FlightConnection connection, GetTicket ticket) {
    DataChannel left;
    while ((left = connection.idleChannels().take()) != null) {
      try {
        return open(connection, left, ticket);
      } catch (BridgeException error) {
        if (error.code() != Code.UNAVAILABLE) {
          throw error;
        }
      }
    }
    return null;
  }

  static ChannelMessages open(FlightConnection connection, ChannelOffer offer, GetTicket ticket) {
    return open(connection, DataChannel.open(connection, offer), ticket);
  }

  private static ChannelMessages open(
      FlightConnection connection, DataChannel channel, GetTicket ticket) {
    try {
      var get =
          ChannelGet.newBuilder().setTicket(ByteString.copyFrom(ticket.toByteArray())).build();
      channel.send(Frame.Kind.GET, get.toByteArray());
      return new ChannelMessages(connection.idleChannels(), channel);
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
      ended = true;
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
    if (channel == null) {
      return;
    }
    if (ended) {
      idle.give(channel);
    } else {
      channel.close();
    }
    channel = null;
  }
}
