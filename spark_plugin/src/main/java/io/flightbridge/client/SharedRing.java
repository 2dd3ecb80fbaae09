package io.flightbridge.client;

import io.flightbridge.BridgeException;
import io.flightbridge.Code;
import io.flightbridge.memory.Mapping;
import io.flightbridge.protocol.LentRing;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.channels.FileChannel;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;
import java.util.List;

/**
 * Memory that the server has lent to a writer on its machine: bodies are copied into it, and the
 * server copies them, checked, into its segment. It is a memfd of the server's, opened by way of
 * /proc, which the kernel allows to processes of the server's own user alone. Not thread-safe.
 */
final class SharedRing implements AutoCloseable {
  private static final int KEY_BYTES = 32;
  private static final long MOST_BYTES = 256L << 20;

  private final Mapping mapping;
  private final byte[] key = new byte[KEY_BYTES];

  SharedRing(Mapping mapping) {
    this.mapping = mapping;
    mapping.view(0, KEY_BYTES).get(key);
  }

  /**
   * Opens what was lent. Nothing is opened but a memfd of exactly that name, by numbers: whatever
   * process has the server's number where this one cannot see the server is left alone.
   *
   * @throws IOException where that is not possible, with the reason
   */
  static SharedRing open(LentRing lent) throws IOException {
    Path process = Path.of("/proc", Integer.toUnsignedString(lent.getProcess()));
    Path file = process.resolve("fd").resolve(Integer.toUnsignedString(lent.getFd()));
    if (lent.getBytes() < KEY_BYTES || lent.getBytes() > MOST_BYTES) {
      throw new IOException("it is of " + lent.getBytes() + " bytes");
    }
    try {
      // A process of root's could open everybody's.
      if (!user(process).equals(user(Path.of("/proc/self")))) {
        throw new IOException("the server runs as another user");
      }
      check(file, lent.getName());
      try (FileChannel opened =
          FileChannel.open(file, StandardOpenOption.READ, StandardOpenOption.WRITE)) {
        check(file, lent.getName()); // still, so that is what was opened
        if (opened.size() != lent.getBytes()) {
          throw new IOException("it has " + opened.size() + " bytes, not " + lent.getBytes());
        }
        return new SharedRing(Mapping.of(opened));
      }
    } catch (UnsupportedOperationException | IllegalArgumentException error) {
      throw new IOException("this machine has no /proc of Linux", error);
    }
  }

  /** What shows the server that this process could open it. Taken before anything was written. */
  byte[] key() {
    return key;
  }

  long bytes() {
    return mapping.bytes();
  }

  /** Copies buffers, one behind the other. */
  void copy(long place, List<ByteBuffer> buffers) {
    try {
      for (ByteBuffer buffer : buffers) {
        int length = buffer.remaining();
        mapping.view(place, length).put(buffer);
        place += length;
      }
      mapping.raiseFaults();
    } catch (InternalError error) {
      // What Java makes of SIGBUS: a page that is not there. The batch is still here.
      throw new BridgeException(
          Code.UNAVAILABLE,
          "memory that was shared with the server is gone: the file was cut, or the machine (or"
              + " its container) is out of memory; use transport='channel' if this comes again",
          error);
    }
  }

  @Override
  public void close() {
    mapping.close();
  }

  private static Object user(Path process) throws IOException {
    try {
      return Files.getAttribute(process, "unix:uid");
    } catch (IOException error) {
      throw new IOException("the server's process cannot be seen from here", error);
    }
  }

  private static void check(Path file, String name) throws IOException {
    String found;
    try {
      found = Files.readSymbolicLink(file).toString();
    } catch (IOException error) {
      throw new IOException("the server's memory cannot be opened from here", error);
    }
    if (!found.equals("/memfd:" + name + " (deleted)")) {
      throw new IOException("the process of that number is not the server, as seen from here");
    }
  }
}
