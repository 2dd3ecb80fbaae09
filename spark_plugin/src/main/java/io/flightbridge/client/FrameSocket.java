package io.flightbridge.client;

import io.flightbridge.BridgeException;
import io.flightbridge.Code;
import java.io.IOException;
import java.net.InetSocketAddress;
import java.net.StandardSocketOptions;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.channels.SelectionKey;
import java.nio.channels.Selector;
import java.nio.channels.SocketChannel;
import java.time.Duration;

/**
 * Sends and receives frames on one TCP connection. It is an error when nothing moves for as long as
 * the timeout. Not thread-safe.
 */
final class FrameSocket implements AutoCloseable {
  private final SocketChannel channel;
  private final Selector selector;
  private final SelectionKey key;
  private final Duration timeout;
  private final String name;
  private ByteBuffer received = ByteBuffer.allocate(16 << 10); // always ready to be read
  private long waitedNanos;

  FrameSocket(String host, int port, Duration timeout) {
    this.timeout = timeout;
    this.name = host + ":" + port;
    SocketChannel opened = null;
    try {
      opened = SocketChannel.open();
      opened.setOption(StandardSocketOptions.TCP_NODELAY, true);
      opened.setOption(StandardSocketOptions.SO_SNDBUF, 4 << 20);
      var address = new InetSocketAddress(host, port);
      if (address.isUnresolved()) {
        throw new IOException("the name " + host + " is not known");
      }
      opened.socket().connect(address, (int) timeout.toMillis());
      opened.configureBlocking(false);
      this.channel = opened;
      this.selector = Selector.open();
      this.key = channel.register(selector, SelectionKey.OP_READ);
    } catch (IOException error) {
      closeQuietly(opened);
      throw lost(error);
    }
    received.flip();
  }

  /** Time spent waiting for the other side to take bytes, or to answer. */
  long waitedNanos() {
    return waitedNanos;
  }

  /** Sends all of it. What comes meanwhile is left to {@code onReadable}. */
  void send(ByteBuffer[] parts, Runnable onReadable) {
    int first = 0;
    try {
      while (true) {
        while (first < parts.length && !parts[first].hasRemaining()) {
          first++;
        }
        if (first == parts.length) {
          return;
        }
        if (channel.write(parts, first, Math.min(parts.length - first, 512)) == 0) {
          int ready = await(SelectionKey.OP_READ | SelectionKey.OP_WRITE);
          if ((ready & SelectionKey.OP_READ) != 0) {
            onReadable.run();
          }
        }
      }
    } catch (IOException error) {
      throw lost(error);
    }
  }

  /** The next frame; waits for it. */
  Frame receive() {
    try {
      fill(Frame.HEADER_BYTES);
      ByteBuffer header = received.slice(received.position(), Frame.HEADER_BYTES);
      int metadata = Frame.metadataBytes(header);
      // Growing moves what is received, so the header is taken again.
      fill(Frame.HEADER_BYTES + metadata);
      int at = received.position();
      header = received.slice(at, Frame.HEADER_BYTES).order(ByteOrder.LITTLE_ENDIAN);
      byte[] copy = new byte[metadata];
      received.get(at + Frame.HEADER_BYTES, copy);
      Frame frame = Frame.decode(header, ByteBuffer.wrap(copy));
      received.position(at + Frame.HEADER_BYTES + metadata);
      return frame;
    } catch (IOException error) {
      throw lost(error);
    }
  }

  /** Some of the bytes that follow, at least one; waits for them. */
  void receiveInto(ByteBuffer to) {
    if (received.hasRemaining()) {
      int count = Math.min(received.remaining(), to.remaining());
      to.put(received.slice(received.position(), count));
      received.position(received.position() + count);
      return;
    }
    try {
      int got;
      while ((got = channel.read(to)) == 0) {
        await(SelectionKey.OP_READ);
      }
      if (got < 0) {
        throw new IOException("the server closed the connection");
      }
    } catch (IOException error) {
      throw lost(error);
    }
  }

  /** Whether there is something to receive, or the connection has ended. */
  boolean readable() {
    try {
      if (received.hasRemaining()) {
        return true;
      }
      key.interestOps(SelectionKey.OP_READ);
      selector.selectedKeys().clear();
      return selector.selectNow() > 0;
    } catch (IOException error) {
      throw lost(error);
    }
  }

  @Override
  public void close() {
    closeQuietly(selector);
    closeQuietly(channel);
  }

  private void fill(int bytes) throws IOException {
    while (received.remaining() < bytes) {
      if (received.capacity() < bytes) {
        received =
            ByteBuffer.allocate(Math.max(bytes, 2 * received.capacity())).put(received).flip();
      }
      received.compact();
      int got = channel.read(received);
      received.flip();
      if (got < 0) {
        throw new IOException("the server closed the connection");
      }
      if (got == 0) {
        await(SelectionKey.OP_READ);
      }
    }
  }

  private int await(int operations) throws IOException {
    key.interestOps(operations);
    selector.selectedKeys().clear();
    long begin = System.nanoTime();
    int selected = selector.select(timeout.toMillis());
    waitedNanos += System.nanoTime() - begin;
    if (Thread.interrupted()) { // Spark has killed the task
      throw new BridgeException(Code.CANCELLED, "the task was interrupted");
    }
    if (selected == 0) {
      throw new BridgeException(
          Code.DEADLINE_EXCEEDED,
          "nothing moved on the data channel to "
              + name
              + " for "
              + timeout.toMillis() / 1000.0
              + " s: is the server stopped, or out of room? Raise the timeout, or look at the server");
    }
    return key.readyOps();
  }

  private BridgeException lost(IOException error) {
    return new BridgeException(
        Code.UNAVAILABLE,
        "the data channel to " + name + " was lost: " + error.getMessage(),
        error);
  }

  private static void closeQuietly(AutoCloseable closeable) {
    try {
      if (closeable != null) {
        closeable.close();
      }
    } catch (Exception ignored) {
      // It is given up anyway.
    }
  }
}
