package io.flightbridge.client;

import io.flightbridge.BridgeException;
import io.flightbridge.Code;
import io.flightbridge.protocol.GetTicket;
import io.grpc.Status;
import java.util.List;
import org.apache.arrow.flight.CallHeaders;
import org.apache.arrow.flight.FlightCallHeaders;
import org.apache.arrow.flight.FlightClient;
import org.apache.arrow.flight.FlightGrpcUtils;
import org.apache.arrow.flight.FlightRuntimeException;
import org.apache.arrow.flight.FlightStream;
import org.apache.arrow.flight.HeaderCallOption;
import org.apache.arrow.flight.Ticket;
import org.apache.arrow.memory.BufferAllocator;
import org.apache.arrow.memory.RootAllocator;
import org.apache.arrow.vector.FieldVector;
import org.apache.arrow.vector.dictionary.DictionaryProvider;

/**
 * Rows of a feed by Flight's DoGet, a record batch at a time. A server that is away, or frozen, is
 * noticed by the connection's keep-alive. Not thread-safe.
 */
final class FlightGetStream implements GetStream {
  private static final RootAllocator MEMORY = new RootAllocator();

  private final String doing;
  private final FlightConnection connection;
  private final BufferAllocator memory;
  private final FlightClient client;
  private FlightStream stream;

  FlightGetStream(FlightConnection connection, GetTicket ticket) {
    this.doing = GetStream.doing(ticket);
    this.connection = connection;
    this.memory = newMemory(doing);
    this.client = FlightGrpcUtils.createFlightClientWithSharedChannel(memory, connection.channel());
    CallHeaders headers = new FlightCallHeaders();
    if (connection.options().token() != null) {
      headers.insert("authorization", "Bearer " + connection.options().token());
    }
    try {
      stream = client.getStream(new Ticket(ticket.toByteArray()), new HeaderCallOption(headers));
    } catch (RuntimeException error) {
      close();
      throw translated(error);
    }
  }

  static BufferAllocator newMemory(String name) {
    return MEMORY.newChildAllocator(name, 0, Long.MAX_VALUE);
  }

  @Override
  public boolean next() {
    try {
      return stream.next();
    } catch (RuntimeException error) {
      throw translated(error);
    }
  }

  @Override
  public int rows() {
    return stream.getRoot().getRowCount();
  }

  @Override
  public List<FieldVector> columns() {
    return stream.getRoot().getFieldVectors();
  }

  @Override
  public DictionaryProvider dictionaries() {
    return stream.getDictionaryProvider();
  }

  @Override
  public void close() {
    try {
      if (stream != null) {
        stream.cancel("not read to its end", null);
        stream.close();
      }
      client.close();
    } catch (Exception error) {
      throw new BridgeException(Code.INTERNAL, doing + ": " + error.getMessage(), error);
    } finally {
      memory.close();
    }
  }

  private BridgeException translated(RuntimeException error) {
    if (error instanceof FlightRuntimeException flight) {
      // The server's own text has its code in front.
      if (BridgeException.isCoded(flight.getMessage())) {
        return BridgeException.of(flight.getMessage(), Code.INTERNAL, error).during(doing);
      }
      var status =
          grpcCode(flight)
              .toStatus()
              .withDescription(flight.getMessage())
              .withCause(flight.getCause() == null ? flight : flight.getCause());
      return connection.translated(status.asRuntimeException()).during(doing);
    }
    return new BridgeException(Code.INTERNAL, doing + ": " + error.getMessage(), error);
  }

  // Flight keeps what the transport says under names of its own.
  private static Status.Code grpcCode(FlightRuntimeException error) {
    return switch (error.status().code()) {
      case TIMED_OUT -> Status.Code.DEADLINE_EXCEEDED;
      case UNAUTHORIZED -> Status.Code.PERMISSION_DENIED;
      default -> Status.Code.valueOf(error.status().code().name());
    };
  }
}
