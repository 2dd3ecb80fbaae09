package io.flightbridge.client;

import com.google.protobuf.ByteString;
import com.google.protobuf.CodedInputStream;
import com.google.protobuf.WireFormat;
import io.flightbridge.BridgeException;
import io.flightbridge.Code;
import io.flightbridge.protocol.GetMetadata;
import io.flightbridge.protocol.GetTicket;
import io.grpc.CallOptions;
import io.grpc.Channel;
import io.grpc.Context;
import io.grpc.Detachable;
import io.grpc.MethodDescriptor;
import io.grpc.StatusRuntimeException;
import io.grpc.protobuf.ProtoUtils;
import io.grpc.stub.ClientCalls;
import java.io.ByteArrayInputStream;
import java.io.IOException;
import java.io.InputStream;
import java.io.UncheckedIOException;
import java.nio.ByteBuffer;
import java.util.Iterator;
import java.util.OptionalInt;
import org.apache.arrow.flight.impl.Flight;
import org.apache.arrow.flight.impl.FlightServiceGrpc;

/**
 * Rows of a feed by Flight's DoGet, where the server has TLS or offers no data channel. Bodies are
 * read from the buffers in which they arrived. A server that is away, or frozen, is noticed by the
 * connection's keep-alive. Not thread-safe.
 */
final class FlightMessages implements IpcMessages {
  // Fields of FlightData.
  private static final int DATA_HEADER = 2;
  private static final int APP_METADATA = 3;
  private static final int DATA_BODY = 1000;
  private static final int CHUNK_BYTES = 64 << 10;
  private static final MethodDescriptor<Flight.Ticket, InputStream> DO_GET =
      FlightServiceGrpc.getDoGetMethod().toBuilder(
              ProtoUtils.marshaller(Flight.Ticket.getDefaultInstance()), new AsItArrives())
          .build();

  private final FlightConnection connection;
  private final Context.CancellableContext context = Context.current().withCancellation();
  private final Iterator<InputStream> answers;
  private final byte[] chunk = new byte[CHUNK_BYTES];
  private InputStream answer = InputStream.nullInputStream(); // what is left of it
  private ByteBuffer header;
  private byte[] mark;
  private int bodyBytes;
  private long bodyLeft;

  FlightMessages(FlightConnection connection, GetTicket ticket) {
    this.connection = connection;
    Channel channel =
        connection.authorized(FlightServiceGrpc.newBlockingStub(connection.channel())).getChannel();
    Flight.Ticket asked =
        Flight.Ticket.newBuilder().setTicket(ByteString.copyFrom(ticket.toByteArray())).build();
    Context before = context.attach(); // the call ends with it
    try {
      answers =
          ClientCalls.blockingServerStreamingCall(channel, DO_GET, CallOptions.DEFAULT, asked);
    } finally {
      context.detach(before);
    }
  }

  @Override
  public Message next() {
    try {
      do { // one without a header has nothing of the stream
        answer.close();
        if (!answers.hasNext()) {
          return null;
        }
        answer = answers.next();
        header = null;
        mark = null;
        bodyBytes = 0;
        readFields();
      } while (header == null);
      bodyLeft = bodyBytes;
      return new Message(header, bodyBytes);
    } catch (StatusRuntimeException error) {
      throw connection.translated(error);
    } catch (IOException error) {
      throw damaged(error);
    }
  }

  @Override
  public void read(ByteBuffer to) {
    try {
      int wanted = (int) Math.min(Math.min(to.remaining(), bodyLeft), chunk.length);
      int count = answer.read(chunk, 0, wanted);
      if (count <= 0) {
        throw new IOException("its body ends too early");
      }
      to.put(chunk, 0, count);
      bodyLeft -= count;
    } catch (IOException error) {
      throw damaged(error);
    }
  }

  /** Dictionaries come without. */
  @Override
  public OptionalInt checksum() {
    try {
      if (bodyBytes > 0) {
        bodyBytes = 0;
        readFields(); // there may be some behind the body
        if (bodyBytes > 0) {
          throw new IOException("it has two bodies");
        }
      }
      return mark == null
          ? OptionalInt.empty()
          : OptionalInt.of(GetMetadata.parseFrom(mark).getCrc32C());
    } catch (IOException error) {
      throw damaged(error);
    }
  }

  // Up to the body, or to the end.
  private void readFields() throws IOException {
    int first;
    while ((first = answer.read()) >= 0) {
      int tag = CodedInputStream.readRawVarint32(first, answer);
      if (WireFormat.getTagWireType(tag) != WireFormat.WIRETYPE_LENGTH_DELIMITED) {
        throw new IOException(
            "field " + WireFormat.getTagFieldNumber(tag) + " is none of Flight's");
      }
      int length = CodedInputStream.readRawVarint32(answer.read(), answer);
      switch (WireFormat.getTagFieldNumber(tag)) {
        case DATA_HEADER -> header = ByteBuffer.wrap(bytes(length));
        case APP_METADATA -> mark = bytes(length);
        case DATA_BODY -> {
          if (length < 0) {
            throw new IOException("its body is too long");
          }
          bodyBytes = length;
          return;
        }
        default -> bytes(length);
      }
    }
  }

  private byte[] bytes(int length) throws IOException {
    byte[] found = length < 0 ? new byte[0] : answer.readNBytes(length);
    if (found.length != length) {
      throw new IOException("a field of it ends too early");
    }
    return found;
  }

  @Override
  public void close() {
    context.cancel(null);
    try {
      answer.close();
      while (answers.hasNext()) { // what has come meanwhile is memory of the connection's
        answers.next().close();
      }
    } catch (StatusRuntimeException | IOException ended) {
      // As it was told to.
    }
  }

  private static BridgeException damaged(IOException error) {
    return new BridgeException(
        Code.DATA_LOSS,
        "what arrived is no valid message of Flight (" + error.getMessage() + "): read it again",
        error);
  }

  /** Leaves messages in gRPC's buffers, whose end is with the one who reads them. */
  private static final class AsItArrives implements MethodDescriptor.Marshaller<InputStream> {
    @Override
    public InputStream stream(InputStream value) {
      return value;
    }

    @Override
    public InputStream parse(InputStream message) {
      try {
        return message instanceof Detachable arrived
            ? arrived.detach()
            : new ByteArrayInputStream(message.readAllBytes());
      } catch (IOException error) {
        throw new UncheckedIOException(error);
      }
    }
  }
}
