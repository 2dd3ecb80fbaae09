package io.flightbridge.client;

import com.google.protobuf.InvalidProtocolBufferException;
import com.google.protobuf.Parser;
import io.flightbridge.BridgeException;
import io.flightbridge.Code;
import io.flightbridge.protocol.ChannelError;
import io.flightbridge.protocol.ChannelHello;
import io.flightbridge.protocol.ChannelOffer;
import io.flightbridge.protocol.ChannelWelcome;
import io.flightbridge.protocol.LentRing;
import io.flightbridge.protocol.OpenChannel;
import java.io.IOException;
import java.nio.ByteBuffer;

/**
 * One connection of the data channel, which the server has welcomed, with the memory that it has
 * lent to it. One request follows another. Not thread-safe.
 */
final class DataChannel implements AutoCloseable {
  private static final int VERSION = 1;
  private static final int KEY_BYTES = 32;

  private final FrameSocket socket;
  private final boolean singleUse;
  private SharedRing ring; // null: bodies go over the socket
  private String whyNone; // it was lent, and could not be opened, nor will others be

  DataChannel(FrameSocket socket, boolean singleUse) {
    this.socket = socket;
    this.singleUse = singleUse;
  }

  /** The server's offer; null where it makes none. */
  static ChannelOffer offer(FlightConnection connection) {
    byte[] answer =
        connection.act(
            "OpenChannel",
            OpenChannel.newBuilder().setVersion(VERSION).build().toByteArray(),
            "opening a data channel");
    ChannelOffer offer = parse(ChannelOffer.parser(), ByteBuffer.wrap(answer));
    return offer.getKey().size() == KEY_BYTES && offer.getPort() != 0 ? offer : null;
  }

  /** Where the server has offered one before. */
  static DataChannel open(FlightConnection connection) {
    ChannelOffer offer = offer(connection);
    if (offer == null) {
      throw new BridgeException(
          Code.UNAVAILABLE,
          "the server at " + connection.endpoint().uri() + " offers no data channel");
    }
    return open(connection, offer);
  }

  static DataChannel open(FlightConnection connection, ChannelOffer offer) {
    var socket =
        new FrameSocket(
            connection.endpoint().host(), offer.getPort(), connection.options().timeout());
    try {
      var hello = ChannelHello.newBuilder().setVersion(VERSION).setKey(offer.getKey()).build();
      send(socket, Frame.Kind.HELLO, hello.toByteArray());
      ByteBuffer welcome = expect(socket.receive(), Frame.Kind.WELCOME).metadata();
      return new DataChannel(socket, parse(ChannelWelcome.parser(), welcome).getSingleUse());
    } catch (BridgeException error) {
      socket.close();
      throw error;
    }
  }

  FrameSocket socket() {
    return socket;
  }

  /** Sends a frame without a body where nothing is to come meanwhile. */
  void send(Frame.Kind kind, byte[] metadata) {
    send(socket, kind, metadata);
  }

  SharedRing ring() {
    return ring;
  }

  /** Opens what was lent, which takes the place of what was lent before; whether that worked. */
  boolean borrow(LentRing lent) {
    giveRingBack();
    try {
      ring = SharedRing.open(lent);
    } catch (IOException error) {
      whyNone = error.getMessage();
    }
    return ring != null;
  }

  /** Why a ring that was lent could not be opened; null: none was. */
  String whyNone() {
    return whyNone;
  }

  /** The server lets go of its side when it is asked for another one, and with the connection. */
  void giveRingBack() {
    if (ring != null) {
      ring.close();
      ring = null;
    }
  }

  /** Whether another request may follow one that has ended well: nothing is on its way. */
  boolean isReusable() {
    return !singleUse && !socket.readable();
  }

  @Override
  public void close() {
    socket.close();
    giveRingBack();
  }

  /** That frame, which must be of that kind. */
  static Frame expect(Frame frame, Frame.Kind kind) {
    if (frame.kind() == Frame.Kind.ERROR) {
      throw ServerSaid.refusal(parse(ChannelError.parser(), frame.metadata()).getMessage());
    }
    if (frame.kind() != kind) {
      throw new BridgeException(
          Code.INTERNAL, "the server sent " + frame.kind() + " where " + kind + " was expected");
    }
    return frame;
  }

  static <T> T parse(Parser<T> parser, ByteBuffer bytes) {
    try {
      return parser.parseFrom(bytes);
    } catch (InvalidProtocolBufferException error) {
      throw new BridgeException(
          Code.INTERNAL,
          "the server's answer cannot be read: is it of another version of FlightBridge?",
          error);
    }
  }

  private static void send(FrameSocket socket, Frame.Kind kind, byte[] metadata) {
    ByteBuffer[] frame = {Frame.encode(kind, 0, ByteBuffer.wrap(metadata), 0)};
    socket.send(frame, () -> {});
  }
}
