package io.flightbridge.client;

import io.flightbridge.BridgeException;
import io.flightbridge.Code;
import io.flightbridge.protocol.GetTicket;
import io.flightbridge.protocol.RowRange;
import java.util.List;
import java.util.function.Function;
import org.apache.arrow.vector.FieldVector;
import org.apache.arrow.vector.dictionary.DictionaryProvider;

/**
 * Rows of a feed, from the row on where it broke off when the connection is lost: a server that
 * restarts, or a link that heals, costs a read its time and not its task. The rows of a feed never
 * change, and the ticket names the feed's id, so what follows fits what came before. Not
 * thread-safe.
 */
final class ResumedGetStream implements GetStream {

  private final FlightConnection connection;
  private final GetTicket ticket;
  private final Function<GetTicket, GetStream> opener;
  private GetStream stream; // null while none is open
  private long taken; // rows that were given out

  /**
   * @param ticket whose ranges all say where they end
   * @param opener of streams; it waits for a server that is away
   */
  ResumedGetStream(
      FlightConnection connection, GetTicket ticket, Function<GetTicket, GetStream> opener) {
    this.connection = connection;
    this.ticket = ticket;
    this.opener = opener;
    this.stream = opener.apply(ticket);
  }

  @Override
  public boolean next() {
    long deadline = 0;
    Pauses pauses = new Pauses();
    while (true) {
      try {
        if (stream == null) {
          GetTicket rest = after(ticket, taken);
          if (rest.getRangesCount() == 0) { // which would ask for every row
            return false;
          }
          stream = opener.apply(rest);
        }
        if (!stream.next()) {
          return false;
        }
        taken += stream.rows();
        return true;
      } catch (BridgeException error) {
        // A server that does not move has had the timeout already.
        if (error.code() != Code.UNAVAILABLE) {
          throw error;
        }
        long now = System.nanoTime();
        if (deadline == 0) {
          deadline = now + connection.options().timeout().toNanos();
        } else if (now >= deadline) {
          throw error;
        }
      }
      end();
      pauses.pause();
    }
  }

  @Override
  public int rows() {
    return stream.rows();
  }

  @Override
  public List<FieldVector> columns() {
    return stream.columns();
  }

  @Override
  public DictionaryProvider dictionaries() {
    return stream.dictionaries();
  }

  @Override
  public void close() {
    end();
  }

  private void end() {
    GetStream ended = stream;
    stream = null;
    if (ended != null) {
      ended.close();
    }
  }

  /** The ticket for what is left when so many rows have come; without ranges when none are. */
  static GetTicket after(GetTicket ticket, long rows) {
    GetTicket.Builder rest = ticket.toBuilder().clearRanges();
    long skipped = 0;
    for (RowRange range : ticket.getRangesList()) {
      long length = range.getRowEnd() - range.getRowBegin();
      long skip = Math.min(length, rows - skipped);
      skipped += skip;
      if (skip < length) {
        rest.addRanges(range.toBuilder().setRowBegin(range.getRowBegin() + skip));
      }
    }
    return rest.build();
  }
}
