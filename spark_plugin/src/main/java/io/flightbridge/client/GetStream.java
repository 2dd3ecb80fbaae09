package io.flightbridge.client;

import io.flightbridge.protocol.GetTicket;
import java.util.List;
import org.apache.arrow.vector.FieldVector;
import org.apache.arrow.vector.dictionary.DictionaryProvider;

/** Rows of a feed, a record batch at a time. Not thread-safe. */
public interface GetStream extends AutoCloseable {
  /** Whether there is one more batch: {@link #columns} has it until the next call. */
  boolean next();

  /** Rows of the batch. */
  int rows();

  /** Its columns, in the order of the ticket. */
  List<FieldVector> columns();

  /** The dictionaries of columns that have them, as of this batch. */
  DictionaryProvider dictionaries();

  @Override
  void close();

  /** What errors of it begin with. */
  static String doing(GetTicket ticket) {
    return "reading feed '" + ticket.getFeed() + "'";
  }
}
