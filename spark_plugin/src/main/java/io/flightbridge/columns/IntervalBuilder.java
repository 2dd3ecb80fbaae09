package io.flightbridge.columns;

import io.flightbridge.memory.DirectPool;
import io.flightbridge.memory.GrowingBuffer;
import org.apache.spark.sql.catalyst.expressions.SpecializedGetters;
import org.apache.spark.unsafe.Platform;
import org.apache.spark.unsafe.types.CalendarInterval;

/** Calendar intervals: 32-bit months, 32-bit days and 64-bit nanoseconds. */
final class IntervalBuilder extends ColumnBuilder {
  private static final int WIDTH = 16;

  private final GrowingBuffer values;

  IntervalBuilder(DirectPool pool) {
    super(pool);
    this.values = new GrowingBuffer(pool);
  }

  @Override
  void appendValue(SpecializedGetters row, int ordinal) {
    CalendarInterval interval = row.getInterval(ordinal);
    long to = values.reserve(WIDTH);
    Platform.putInt(null, to, interval.months);
    Platform.putInt(null, to + 4, interval.days);
    Platform.putLong(null, to + 8, Math.multiplyExact(interval.microseconds, 1000L));
    values.advance(WIDTH);
  }

  @Override
  void appendNothing() {
    values.putZeros(WIDTH);
  }

  @Override
  void collectBuffers(BatchParts parts) {
    parts.buffer(values, values.size());
  }

  @Override
  long bytesOfBuffers() {
    return values.size();
  }

  @Override
  void clearBuffers() {
    values.release();
  }
}
