package io.flightbridge.client;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

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
import org.junit.jupiter.api.Assumptions;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

class SharedRingTest {
  private static final int BYTES = 1 << 20;

  @TempDir Path folder;

  private FileChannel file() throws IOException {
    FileChannel file =
        FileChannel.open(
            folder.resolve("ring"),
            StandardOpenOption.CREATE,
            StandardOpenOption.READ,
            StandardOpenOption.WRITE);
    file.write(ByteBuffer.allocate(BYTES));
    return file;
  }

  private static ByteBuffer bytes(int length, int value) {
    ByteBuffer bytes = ByteBuffer.allocateDirect(length);
    while (bytes.hasRemaining()) {
      bytes.put((byte) value);
    }
    return bytes.flip();
  }

  private static LentRing lent(long process, int fd, String name) {
    return LentRing.newBuilder()
        .setProcess((int) process)
        .setFd(fd)
        .setName(name)
        .setBytes(BYTES)
        .build();
  }

  private static void assertNotOpened(String why, LentRing lent) {
    var error = assertThrows(IOException.class, () -> SharedRing.open(lent));
    assertTrue(error.getMessage().contains(why), error.getMessage());
  }

  @Test
  void buffersLieOneBehindTheOther() throws IOException {
    try (FileChannel file = file();
        var ring = new SharedRing(Mapping.of(file))) {
      ring.copy(128, List.of(bytes(3, 1), bytes(61, 0), bytes(5, 2)));
      ByteBuffer found = ByteBuffer.allocate(70);
      file.read(found, 127);
      assertEquals(0, found.get(0));
      assertEquals(1, found.get(3));
      assertEquals(0, found.get(4));
      assertEquals(2, found.get(65));
      assertEquals(2, found.get(69));
    }
  }

  @Test
  void aFileThatIsCutIsAnErrorOfTheTask() throws IOException {
    try (FileChannel file = file();
        var ring = new SharedRing(Mapping.of(file))) {
      file.truncate(64 << 10);
      List<ByteBuffer> body = List.of(bytes(256 << 10, 1));
      var error = assertThrows(BridgeException.class, () -> ring.copy(0, body));
      assertEquals(Code.UNAVAILABLE, error.code());
      assertTrue(error.getMessage().contains("transport='channel'"), error.getMessage());
    }
  }

  @Test
  void aClosedRingIsNotWritten() throws IOException {
    try (FileChannel file = file()) {
      var ring = new SharedRing(Mapping.of(file));
      ring.close();
      ring.close();
      assertThrows(IllegalStateException.class, () -> ring.copy(0, List.of(bytes(8, 1))));
    }
  }

  @Test
  void onlyAMemfdOfThatNameIsOpened() throws IOException {
    long process = ProcessHandle.current().pid();
    assertNotOpened("cannot be seen", lent(0x7fffffff, 3, "flightbridge-ring-1"));
    assertNotOpened("cannot be opened", lent(process, 0x7fffffff, "flightbridge-ring-1"));
    // A file of this process that is there, but is none.
    try (FileChannel file = file()) {
      boolean[] seen = new boolean[1];
      for (int fd = 0; fd < 1000 && !seen[0]; fd++) {
        Path link = Path.of("/proc/self/fd/" + fd);
        seen[0] =
            Files.isSymbolicLink(link)
                && Files.readSymbolicLink(link).equals(folder.resolve("ring").toRealPath());
        if (seen[0]) {
          assertNotOpened(
              "is not the server", lent(process, fd, folder.resolve("ring").toString()));
        }
      }
      assertTrue(seen[0]);
    }
  }

  @Test
  void anotherUsersProcessIsLeftAlone() throws IOException {
    Object own = Files.getAttribute(Path.of("/proc/self"), "unix:uid");
    try (var processes = Files.list(Path.of("/proc"))) {
      for (Path process : (Iterable<Path>) processes::iterator) {
        if (!process.getFileName().toString().matches("[0-9]+")) {
          continue;
        }
        Object user;
        try {
          user = Files.getAttribute(process, "unix:uid");
        } catch (IOException error) {
          continue; // it has ended
        }
        if (!user.equals(own)) {
          long number = Long.parseLong(process.getFileName().toString());
          assertNotOpened("another user", lent(number, 1, "flightbridge-ring-1"));
          return;
        }
      }
    }
    Assumptions.abort("all processes here are of one user");
  }

  @Test
  void aRingOfNoSizeIsRefused() {
    assertNotOpened("0 bytes", LentRing.newBuilder().setProcess(1).setFd(1).build());
  }
}
