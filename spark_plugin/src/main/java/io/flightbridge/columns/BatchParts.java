package io.flightbridge.columns;

import io.flightbridge.memory.DirectMemory;
import io.flightbridge.memory.GrowingBuffer;
import java.util.ArrayList;
import java.util.List;

/** The field nodes and buffers of a record batch, in the order of the Arrow IPC format. */
final class BatchParts {
  record Node(long length, long nulls) {}

  /** The first {@code length} bytes of memory; without bytes the memory is null. */
  record Part(DirectMemory memory, int length) {}

  final List<Node> nodes = new ArrayList<>();
  final List<Part> parts = new ArrayList<>();

  void node(long length, long nulls) {
    nodes.add(new Node(length, nulls));
  }

  void empty() {
    parts.add(new Part(null, 0));
  }

  /** Takes the memory of {@code buffer}. */
  void buffer(GrowingBuffer buffer, long length) {
    if (length == 0) {
      buffer.release();
      empty();
    } else {
      parts.add(new Part(buffer.detach(), Math.toIntExact(length)));
    }
  }
}
