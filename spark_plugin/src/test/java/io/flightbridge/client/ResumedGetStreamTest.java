package io.flightbridge.client;

import static org.junit.jupiter.api.Assertions.assertEquals;

import io.flightbridge.protocol.GetTicket;
import io.flightbridge.protocol.RowRange;
import java.util.ArrayList;
import java.util.List;
import org.junit.jupiter.api.Test;

class ResumedGetStreamTest {
  private static final GetTicket TICKET =
      GetTicket.newBuilder()
          .setFeed("f")
          .setFeedId(7)
          .addColumns("id")
          .addRanges(range(0, 5, 15))
          .addRanges(range(3, 0, 1))
          .addRanges(range(4, 2, 9))
          .build();

  private static RowRange range(long partition, long begin, long end) {
    return RowRange.newBuilder().setPartition(partition).setRowBegin(begin).setRowEnd(end).build();
  }

  private static List<String> rowsOf(GetTicket ticket) {
    List<String> rows = new ArrayList<>();
    for (RowRange range : ticket.getRangesList()) {
      for (long row = range.getRowBegin(); row < range.getRowEnd(); row++) {
        rows.add(range.getPartition() + ":" + row);
      }
    }
    return rows;
  }

  @Test
  void whatIsLeftFollowsWhatCame() {
    List<String> all = rowsOf(TICKET);
    for (int came = 0; came <= all.size(); came++) {
      GetTicket rest = ResumedGetStream.after(TICKET, came);
      assertEquals(all.subList(came, all.size()), rowsOf(rest));
      assertEquals(
          TICKET.toBuilder().clearRanges().build(), rest.toBuilder().clearRanges().build());
    }
  }

  @Test
  void nothingIsLeftOfAllRows() {
    assertEquals(0, ResumedGetStream.after(TICKET, 18).getRangesCount());
  }
}
