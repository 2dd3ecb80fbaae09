package io.flightbridge.spark;

import static org.junit.jupiter.api.Assertions.assertEquals;

import java.util.stream.LongStream;
import org.junit.jupiter.api.Test;

class FeedAggregateTest {
  /** Spark adds them for COUNT(*), and those that differ for COUNT(DISTINCT 1). */
  @Test
  void partsOfACountAddUpBothWays() {
    for (long n : new long[] {0, 1, 2, 3, 4, 5, 1000, Integer.MAX_VALUE, 1L << 40}) {
      long[] parts = FeedAggregate.parts(n);
      assertEquals(n, LongStream.of(parts).sum());
      assertEquals(Math.min(n, 1), LongStream.of(parts).distinct().sum(), "of " + n);
    }
  }
}
