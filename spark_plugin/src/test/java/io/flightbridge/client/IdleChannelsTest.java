package io.flightbridge.client;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertNull;
import static org.junit.jupiter.api.Assertions.assertSame;

import java.io.IOException;
import java.net.InetAddress;
import java.net.ServerSocket;
import java.net.Socket;
import java.time.Duration;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;

@Timeout(60)
class IdleChannelsTest {
  private static final Duration LONG = Duration.ofHours(1);

  private ServerSocket server;

  /** A channel and the server's end of it. */
  private record Pair(DataChannel channel, Socket far) {
    /** Waits until the channel is closed, which must be at once and without a word. */
    void assertClosed() throws IOException {
      assertEquals(-1, far.getInputStream().read());
    }
  }

  @BeforeEach
  void listen() throws IOException {
    server = new ServerSocket(0, 10, InetAddress.getLoopbackAddress());
  }

  @AfterEach
  void end() throws IOException {
    server.close();
  }

  private Pair open(boolean singleUse) throws IOException {
    var socket =
        new FrameSocket(
            server.getInetAddress().getHostAddress(), server.getLocalPort(), Duration.ofSeconds(5));
    return new Pair(new DataChannel(socket, singleUse), server.accept());
  }

  private Pair given(IdleChannels idle) throws IOException {
    Pair pair = open(false);
    idle.give(pair.channel());
    return pair;
  }

  @Test
  void eachIsGivenToOne() throws IOException {
    try (var idle = new IdleChannels(2, LONG)) {
      assertNull(idle.take());
      Pair first = given(idle);
      Pair second = given(idle);
      assertSame(second.channel(), idle.take());
      assertSame(first.channel(), idle.take());
      assertNull(idle.take());
      first.channel().close();
      second.channel().close();
    }
  }

  @Test
  void thoseTooManyAreClosed() throws IOException {
    try (var idle = new IdleChannels(1, LONG)) {
      Pair kept = given(idle);
      given(idle).assertClosed();
      assertSame(kept.channel(), idle.take());
      kept.channel().close();
    }
  }

  @Test
  void oneForOneRequestIsClosed() throws IOException {
    try (var idle = new IdleChannels(1, LONG)) {
      Pair single = open(true);
      idle.give(single.channel());
      single.assertClosed();
      assertNull(idle.take());
    }
  }

  @Test
  void oneThatTheServerHasClosedIsNotUsed() throws IOException {
    try (var idle = new IdleChannels(2, LONG)) {
      Pair alive = given(idle);
      Pair dead = given(idle);
      dead.far().close();
      awaitSomething(dead);
      assertSame(alive.channel(), idle.take());
      alive.channel().close();
    }
  }

  @Test
  void oneOnWhichSomethingCameIsNotUsed() throws IOException {
    try (var idle = new IdleChannels(2, LONG)) {
      Pair odd = given(idle);
      odd.far().getOutputStream().write(1);
      awaitSomething(odd);
      assertNull(idle.take());
      Pair late = open(false);
      late.far().getOutputStream().write(1);
      awaitSomething(late);
      idle.give(late.channel());
      assertNull(idle.take());
    }
  }

  private static void awaitSomething(Pair pair) {
    while (!pair.channel().socket().readable()) {
      Thread.onSpinWait();
    }
  }

  @Test
  void thoseThatNobodyUsesAreClosed() throws IOException {
    try (var idle = new IdleChannels(2, Duration.ofMillis(20))) {
      Pair first = given(idle);
      Pair second = given(idle);
      first.assertClosed();
      second.assertClosed();
      assertNull(idle.take());
      given(idle).assertClosed(); // again, after all had gone
    }
  }

  @Test
  void allAreClosedWithIt() throws IOException {
    var idle = new IdleChannels(2, LONG);
    Pair before = given(idle);
    idle.close();
    before.assertClosed();
    given(idle).assertClosed();
    assertNull(idle.take());
  }
}
