package io.flightbridge.columns;

import io.flightbridge.memory.DirectPool;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.util.List;
import org.apache.spark.sql.catalyst.expressions.SpecializedGetters;

/**
 * Variants: a struct of two binary fields, as in Spark's own Arrow conversion. In its rows Spark
 * holds one as 4 bytes with the length of the value, the value and the metadata; read that way, as
 * binary, it needs no class that Spark 3.5 does not have.
 */
final class VariantBuilder extends NestedBuilder {
  private static final byte[] NOTHING = {};

  private final BytesBuilder value;
  private final BytesBuilder metadata;

  VariantBuilder(DirectPool pool) {
    this(pool, new BytesBuilder(pool, false), new BytesBuilder(pool, false));
  }

  private VariantBuilder(DirectPool pool, BytesBuilder value, BytesBuilder metadata) {
    super(pool, List.of(value, metadata));
    this.value = value;
    this.metadata = metadata;
  }

  @Override
  void appendValue(SpecializedGetters row, int ordinal) {
    byte[] stored = row.getBinary(ordinal);
    int length = ByteBuffer.wrap(stored).order(ByteOrder.nativeOrder()).getInt();
    value.appendBytes(stored, 4, length);
    metadata.appendBytes(stored, 4 + length, stored.length - 4 - length);
  }

  // Neither field is ever null by its schema, so a missing variant has two empty ones.
  @Override
  void appendNothing() {
    value.appendBytes(NOTHING, 0, 0);
    metadata.appendBytes(NOTHING, 0, 0);
  }
}
