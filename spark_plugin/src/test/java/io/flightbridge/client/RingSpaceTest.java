package io.flightbridge.client;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.util.ArrayDeque;
import java.util.Random;
import org.junit.jupiter.api.Test;

class RingSpaceTest {
  private static final int BYTES = 4096;

  @Test
  void runsBeginAtCacheLines() {
    var space = new RingSpace(BYTES);
    assertEquals(0, space.allocate(0, 1));
    assertEquals(64, space.allocate(1, 65));
    assertEquals(192, space.allocate(2, 64));
  }

  @Test
  void whatIsTooLargeNeverFits() {
    assertEquals(-1, new RingSpace(BYTES).allocate(0, BYTES + 1));
    assertEquals(0, new RingSpace(BYTES).allocate(0, BYTES));
  }

  @Test
  void noByteBelongsToTwoRuns() {
    var random = new Random(5);
    var space = new RingSpace(BYTES);
    var owner = new long[BYTES];
    var runs = new ArrayDeque<long[]>(); // sequence, begin, end
    long refused = 0;
    for (long sequence = 1; sequence < 20_000; sequence++) {
      int size = 1 + random.nextInt(BYTES / 2);
      long place = space.allocate(sequence, size);
      while (place < 0) {
        refused++;
        long[] oldest = runs.removeFirst(); // with none left there is always room
        for (int i = (int) oldest[1]; i < oldest[2]; i++) {
          owner[i] = 0;
        }
        space.free(oldest[0] + 1);
        place = space.allocate(sequence, size);
      }
      assertEquals(0, place % 64);
      assertTrue(place + size <= BYTES);
      for (int i = (int) place; i < place + size; i++) {
        assertEquals(0, owner[i], "of run " + owner[i] + " and of run " + sequence);
        owner[i] = sequence;
      }
      runs.addLast(new long[] {sequence, place, place + size});
    }
    assertTrue(refused > 10_000);
  }
}
