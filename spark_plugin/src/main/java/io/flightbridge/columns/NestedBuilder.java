package io.flightbridge.columns;

import io.flightbridge.memory.DirectPool;
import io.flightbridge.memory.GrowingBuffer;
import java.util.List;
import org.apache.spark.sql.catalyst.InternalRow;
import org.apache.spark.sql.catalyst.expressions.SpecializedGetters;
import org.apache.spark.sql.catalyst.util.ArrayData;
import org.apache.spark.sql.catalyst.util.MapData;

/** Arrays that are made of other arrays. */
abstract class NestedBuilder extends ColumnBuilder {
  final List<ColumnBuilder> children;

  NestedBuilder(DirectPool pool, List<ColumnBuilder> children) {
    super(pool);
    this.children = children;
  }

  @Override
  void collectBuffers(BatchParts parts) {
    for (ColumnBuilder child : children) {
      child.collect(parts);
    }
  }

  @Override
  long bytesOfBuffers() {
    long bytes = 0;
    for (ColumnBuilder child : children) {
      bytes += child.bytes();
    }
    return bytes;
  }

  @Override
  void clearBuffers() {
    for (ColumnBuilder child : children) {
      child.clear();
    }
  }

  /** Structs: one array per field. */
  static final class OfStruct extends NestedBuilder {
    OfStruct(DirectPool pool, List<ColumnBuilder> fields) {
      super(pool, fields);
    }

    @Override
    void appendValue(SpecializedGetters row, int ordinal) {
      InternalRow struct = row.getStruct(ordinal, children.size());
      for (int i = 0; i < children.size(); i++) {
        children.get(i).append(struct, i);
      }
    }

    @Override
    void appendNothing() {
      for (ColumnBuilder child : children) {
        child.appendNull();
      }
    }
  }

  /** Lists and maps: 32-bit offsets into the children. */
  abstract static class WithOffsets extends NestedBuilder {
    private final GrowingBuffer offsets;

    WithOffsets(DirectPool pool, List<ColumnBuilder> children) {
      super(pool, children);
      this.offsets = new GrowingBuffer(pool);
    }

    @Override
    final void appendNothing() {
      begin();
      noteEnd();
    }

    final void begin() {
      if (offsets.size() == 0) {
        offsets.putInt(0);
      }
    }

    final void noteEnd() {
      offsets.putInt(children.get(0).count);
    }

    @Override
    final void collectBuffers(BatchParts parts) {
      begin();
      parts.buffer(offsets, offsets.size());
      collectChildren(parts);
    }

    void collectChildren(BatchParts parts) {
      super.collectBuffers(parts);
    }

    @Override
    final long bytesOfBuffers() {
      return offsets.size() + super.bytesOfBuffers();
    }

    @Override
    final void clearBuffers() {
      offsets.release();
      super.clearBuffers();
    }
  }

  /** Lists: the values of all of them in one child. */
  static final class OfList extends WithOffsets {
    OfList(DirectPool pool, ColumnBuilder element) {
      super(pool, List.of(element));
    }

    @Override
    void appendValue(SpecializedGetters row, int ordinal) {
      begin();
      children.get(0).appendArray(row.getArray(ordinal));
      noteEnd();
    }
  }

  /** Maps: a list of entries, each a struct of a key and a value, neither struct ever null. */
  static final class OfMap extends WithOffsets {
    OfMap(DirectPool pool, ColumnBuilder key, ColumnBuilder value) {
      super(pool, List.of(key, value));
    }

    @Override
    void appendValue(SpecializedGetters row, int ordinal) {
      begin();
      MapData map = row.getMap(ordinal);
      ArrayData keys = map.keyArray();
      children.get(0).appendArray(keys);
      children.get(1).appendArray(map.valueArray());
      noteEnd();
    }

    @Override
    void collectChildren(BatchParts parts) {
      parts.node(children.get(0).count, 0);
      parts.empty();
      super.collectChildren(parts);
    }
  }
}
