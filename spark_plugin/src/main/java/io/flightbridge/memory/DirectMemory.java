package io.flightbridge.memory;

import java.nio.Buffer;
import java.nio.ByteBuffer;
import org.apache.spark.unsafe.Platform;

/** A block of direct memory that is written through addresses. Not thread-safe. */
public final class DirectMemory {
  private static final long ADDRESS_OFFSET = addressOffset();

  private final ByteBuffer bytes;
  private final long address;

  private DirectMemory(ByteBuffer bytes) {
    this.bytes = bytes;
    this.address = Platform.getLong(bytes, ADDRESS_OFFSET);
  }

  static DirectMemory allocate(int capacity) {
    return new DirectMemory(ByteBuffer.allocateDirect(capacity));
  }

  public long address() {
    return address;
  }

  public int capacity() {
    return bytes.capacity();
  }

  /** The first {@code length} bytes, ready to be read. */
  public ByteBuffer view(int length) {
    return bytes.slice(0, length);
  }

  // The address of direct memory is a field that java.nio keeps to itself. Its place in the object
  // is all that is needed, and asking for that needs no --add-opens.
  @SuppressWarnings("deprecation")
  private static long addressOffset() {
    try {
      var field = sun.misc.Unsafe.class.getDeclaredField("theUnsafe");
      field.setAccessible(true);
      var unsafe = (sun.misc.Unsafe) field.get(null);
      return unsafe.objectFieldOffset(Buffer.class.getDeclaredField("address"));
    } catch (ReflectiveOperationException error) {
      throw new ExceptionInInitializerError(error);
    }
  }
}
