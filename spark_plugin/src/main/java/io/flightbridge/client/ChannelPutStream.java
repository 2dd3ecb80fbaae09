package io.flightbridge.client;

import com.google.protobuf.ByteString;
import io.flightbridge.BridgeException;
import io.flightbridge.Code;
import io.flightbridge.columns.EncodedBatch;
import io.flightbridge.protocol.ChannelAck;
import io.flightbridge.protocol.ChannelError;
import io.flightbridge.protocol.ChannelOffer;
import io.flightbridge.protocol.ChannelPut;
import io.flightbridge.protocol.ChannelReady;
import io.flightbridge.protocol.PutCommand;
import io.flightbridge.protocol.PutResult;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.util.ArrayDeque;
import java.util.ArrayList;
import java.util.Deque;
import java.util.List;

/**
 * A put over the data channel: record batches without gRPC. What the server has not acknowledged is
 * kept; after a lost connection the put goes on where the server says, if that is still here.
 */
final class ChannelPutStream implements PutStream {
  // Sent and not acknowledged: enough to keep a fast link busy, little enough for every task to
  // hold.
  private static final long WINDOW_BYTES = 32L << 20;
  // A smaller body costs less on the socket.
  private static final long RING_FROM = 16L << 10;
  // One is written while the server copies the one before, and they differ in size. More would only
  // cost fresh pages.
  private static final double RING_BATCHES = 2.25;
  private static final long MOST_RING_BYTES = 64L << 20;

  private final FlightConnection connection;
  private final PutCommand command;
  private final byte[] schema;
  private final long ringBytes; // to be asked for
  private final String name;
  private final PutTotals totals = new PutTotals();
  private final Deque<EncodedBatch> window = new ArrayDeque<>(); // [acked, end)
  private long acked;
  private long inFlight;
  private long next; // the first that was not sent over this socket
  private DataChannel channel; // null: none is open
  private RingSpace space; // of its ring; null: bodies go over the socket
  private long mappedBytes;
  private PutResult staged;
  private long waitedBefore;
  private boolean inFrame;
  private boolean ended; // the server has answered the last frame of this put on that channel
  private boolean over;

  private ChannelPutStream(
      FlightConnection connection,
      PutCommand command,
      byte[] schema,
      long batchBytes,
      String name) {
    this.ringBytes = Math.min((long) (RING_BATCHES * batchBytes), MOST_RING_BYTES);
    this.connection = connection;
    this.command = command;
    this.schema = schema;
    this.name = name;
  }

  /** Over a channel that another put has left; null where there is none that works. */
  static ChannelPutStream openIdle(
      FlightConnection connection,
      PutCommand command,
      byte[] schema,
      long batchBytes,
      String name) {
    DataChannel idle;
    while ((idle = connection.idleChannels().take()) != null) {
      var put = new ChannelPutStream(connection, command, schema, batchBytes, name);
      try {
        put.begin(idle, false);
        return put;
      } catch (BridgeException error) {
        put.close();
        // The server may have gone since: a new channel waits until it is back, and finds out.
        if (error.code() != Code.UNAVAILABLE) {
          throw error.during("putting " + name);
        }
      }
    }
    return null;
  }

  static ChannelPutStream open(
      FlightConnection connection,
      ChannelOffer offer,
      PutCommand command,
      byte[] schema,
      long batchBytes,
      String name) {
    var put = new ChannelPutStream(connection, command, schema, batchBytes, name);
    try {
      put.begin(DataChannel.open(connection, offer), false);
    } catch (BridgeException error) {
      put.close();
      throw error.during("putting " + name);
    }
    return put;
  }

  @Override
  public void write(EncodedBatch batch) {
    window.addLast(batch);
    inFlight += batch.bodyBytes();
    totals.add(batch);
    retrying(
        () -> {
          sendWindow();
          while (inFlight >= WINDOW_BYTES && acked < next) {
            takeAnswer();
          }
        });
  }

  @Override
  public PutResult finish() {
    PutResult[] result = new PutResult[1];
    retrying(
        () -> {
          sendWindow();
          if (staged == null) {
            sendFrame(Frame.Kind.END, totals.end().toByteArray());
            staged = DataChannel.parse(PutResult.parser(), await(Frame.Kind.RESULT));
            ended = true;
          }
          result[0] = staged;
        });
    totals.check(result[0], name);
    over = true;
    if (ended && channel != null) {
      DataChannel left = detached();
      connection.idleChannels().give(left);
    }
    close();
    return result[0];
  }

  @Override
  public long waitedNanos() {
    return waitedBefore + (channel == null ? 0 : channel.socket().waitedNanos());
  }

  @Override
  public long mappedBytes() {
    return mappedBytes;
  }

  @Override
  public void close() {
    if (channel != null && !over) {
      giveUp();
    }
    dropChannel();
    over = true;
    window.forEach(EncodedBatch::release);
    window.clear();
  }

  private interface Step {
    void run();
  }

  // Does it over, on a new connection, while only the connection is to blame and there is time.
  private void retrying(Step step) {
    if (over) {
      throw new BridgeException(Code.FAILED_PRECONDITION, name + " is over: open another put");
    }
    BridgeException lost = null;
    long deadline = 0;
    Pauses pauses = new Pauses();
    while (true) {
      try {
        if (lost != null) {
          begin(DataChannel.open(connection), true);
        }
        step.run();
        return;
      } catch (BridgeException error) {
        if (error.code() == Code.CANCELLED || !error.isUnreachable() || ServerSaid.isWhy(error)) {
          throw error.during("putting " + name);
        }
        long now = System.nanoTime();
        if (lost == null) {
          deadline = now + connection.options().timeout().toNanos();
        } else if (now >= deadline) {
          throw error.during("putting " + name);
        }
        lost = error;
        dropChannel();
        pauses.pause();
      }
    }
  }

  // The channel is this put's from then on.
  private void begin(DataChannel opened, boolean resume) {
    dropChannel();
    inFrame = false;
    ended = false;
    channel = opened;
    waitedBefore -= opened.socket().waitedNanos(); // by others
    long wantedRing = transport().equals("channel") ? 0 : ringBytes;
    if (channel.whyNone() != null) {
      wantedRing = 0;
    } else if (channel.ring() != null && channel.ring().bytes() >= wantedRing) {
      wantedRing = 0; // the server keeps what it has lent
    } else {
      channel.giveRingBack();
    }
    ChannelPut.Builder put =
        ChannelPut.newBuilder()
            .setCommand(command)
            .setSchema(ByteString.copyFrom(schema))
            .setResume(resume)
            .setRingBytes(wantedRing);
    sendFrame(Frame.Kind.PUT, put.build().toByteArray());
    ChannelReady ready = DataChannel.parse(ChannelReady.parser(), await(Frame.Kind.READY));
    if (ready.hasStaged()) {
      staged = ready.getStaged();
      return;
    }
    long wanted = ready.getNextSequence();
    if (wanted < acked || wanted > acked + window.size()) {
      throw new BridgeException(
          Code.UNAVAILABLE,
          "the server at "
              + connection.endpoint().uri()
              + " has lost what it was sent of "
              + name
              + " (it restarted, or waited for longer than some seconds): write the partition again, as"
              + " a new attempt",
          new ServerSaid());
    }
    acknowledge(wanted);
    next = wanted;
    useRing(ready);
  }

  private String transport() {
    return connection.options().transport();
  }

  // On one machine the bodies go through memory of the server's, if this process may open it.
  private void useRing(ChannelReady ready) {
    if (ready.hasRing() && channel.borrow(ready.getRing())) {
      sendFrame(Frame.Kind.RING, channel.ring().key());
    }
    String why =
        channel.whyNone() == null
            ? "the server lends no memory, as to a writer on another machine"
            : channel.whyNone();
    space = channel.ring() == null ? null : new RingSpace(channel.ring().bytes());
    Ways.note(connection.endpoint().uri(), space != null, why);
    if (space == null && transport().equals("mapped")) {
      throw new BridgeException(
          Code.UNAVAILABLE,
          "option transport='mapped' is not possible with "
              + connection.endpoint().uri()
              + ": "
              + why
              + "; use transport=auto",
          new ServerSaid());
    }
  }

  private void sendWindow() {
    while (channel.socket().readable() && staged == null) {
      takeAnswer();
    }
    long sequence = acked;
    for (EncodedBatch batch : List.copyOf(window)) {
      if (sequence++ < next || staged != null) {
        continue;
      }
      List<ByteBuffer> parts = message(batch);
      ByteBuffer trailer =
          ByteBuffer.allocateDirect(Frame.TRAILER_BYTES).order(ByteOrder.LITTLE_ENDIAN);
      parts.add(trailer.putInt(batch.crc32c()).putInt(0).flip());
      inFrame = true;
      channel
          .socket()
          .send(parts.toArray(ByteBuffer[]::new), this::takeAnswer); // acks are of those before
      inFrame = false;
      next++;
    }
  }

  // The next message, without its trailer: with its body, or with the place to which that was
  // copied.
  private List<ByteBuffer> message(EncodedBatch batch) {
    List<ByteBuffer> parts = new ArrayList<>();
    long bytes = batch.bodyBytes();
    SharedRing ring = channel.ring();
    if (ring == null || bytes < RING_FROM || bytes > ring.bytes()) {
      parts.add(Frame.encode(Frame.Kind.MESSAGE, next, batch.metadata(), bytes));
      parts.addAll(batch.body());
      return parts;
    }
    long place = space.allocate(next, bytes);
    while (place < 0) {
      takeAnswer();
      place = space.allocate(next, bytes);
    }
    ring.copy(place, batch.body());
    mappedBytes += bytes;
    parts.add(Frame.encodeInRing(next, batch.metadata(), bytes, place));
    return parts;
  }

  private void takeAnswer() {
    take(channel.socket().receive());
  }

  private ByteBuffer await(Frame.Kind kind) {
    while (true) {
      Frame frame = channel.socket().receive();
      if (frame.kind() == kind) {
        return frame.metadata();
      }
      take(frame);
    }
  }

  private void take(Frame frame) {
    switch (frame.kind()) {
      case ACK ->
          acknowledge(DataChannel.parse(ChannelAck.parser(), frame.metadata()).getNextSequence());
      case ERROR ->
          throw ServerSaid.refusal(
              DataChannel.parse(ChannelError.parser(), frame.metadata()).getMessage());
      default ->
          throw new BridgeException(
              Code.INTERNAL,
              "the server sent " + frame.kind() + " where an ack of the put was expected");
    }
  }

  private void acknowledge(long upTo) {
    if (upTo > acked + window.size()) {
      throw new BridgeException(
          Code.INTERNAL, "the server acknowledged batch " + upTo + ", which was never sent");
    }
    while (acked < upTo) {
      EncodedBatch batch = window.removeFirst();
      inFlight -= batch.bodyBytes();
      batch.release();
      acked++;
    }
    if (space != null) {
      space.free(upTo);
    }
  }

  private void giveUp() {
    if (inFrame) {
      return;
    }
    try {
      sendFrame(Frame.Kind.ERROR, new byte[0]);
    } catch (BridgeException ignored) {
      // The server finds out by the connection's end.
    }
  }

  private void sendFrame(Frame.Kind kind, byte[] metadata) {
    ByteBuffer[] frame = {Frame.encode(kind, 0, ByteBuffer.wrap(metadata), 0)};
    channel.socket().send(frame, this::takeAnswer);
  }

  private DataChannel detached() {
    DataChannel left = channel;
    waitedBefore += left.socket().waitedNanos();
    channel = null;
    space = null;
    return left;
  }

  private void dropChannel() {
    if (channel != null) {
      detached().close();
    }
  }
}
