package io.flightbridge.memory;

import java.nio.Buffer;
import java.nio.ByteBuffer;

/** What java.nio keeps to itself, as far as the module jdk.unsupported gives it out. */
final class JvmInternals {
  private static final sun.misc.Unsafe UNSAFE = unsafe();

  private JvmInternals() {}

  /** Where in a buffer object the address of its memory is. Asking needs no --add-opens. */
  @SuppressWarnings("deprecation")
  static long addressOffset() {
    try {
      return UNSAFE.objectFieldOffset(Buffer.class.getDeclaredField("address"));
    } catch (ReflectiveOperationException error) {
      throw new ExceptionInInitializerError(error);
    }
  }

  /** Frees the memory of a buffer that is no part of another. */
  static void unmap(ByteBuffer buffer) {
    UNSAFE.invokeCleaner(buffer);
  }

  /**
   * Raises the InternalError of a fault in mapped memory, if there was one: Java 17 does so where
   * the thread next calls into the JVM, which may be anywhere. Making an array of arrays is a call.
   */
  static Object raiseFaults(int length) {
    return new byte[length][length];
  }

  private static sun.misc.Unsafe unsafe() {
    try {
      var field = sun.misc.Unsafe.class.getDeclaredField("theUnsafe");
      field.setAccessible(true);
      return (sun.misc.Unsafe) field.get(null);
    } catch (ReflectiveOperationException error) {
      throw new ExceptionInInitializerError(error);
    }
  }
}
