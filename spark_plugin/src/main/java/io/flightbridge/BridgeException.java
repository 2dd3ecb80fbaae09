package io.flightbridge;

import java.util.regex.Matcher;
import java.util.regex.Pattern;

/**
 * An error of the bridge or of its use. The message begins with {@code [CODE]} and names the
 * setting or object, the value and the remedy.
 */
public final class BridgeException extends RuntimeException {
  private static final Pattern CODED = Pattern.compile("(?s).*?\\[([A-Z_]+)\\] (.*)");

  private final Code code;

  public BridgeException(Code code, String message) {
    this(code, message, null);
  }

  public BridgeException(Code code, String message, Throwable cause) {
    super("[" + code + "] " + message, cause);
    this.code = code;
  }

  /**
   * Of a text of the protocol, {@code [CODE] message}; text without a code is {@code otherwise}.
   */
  public static BridgeException of(String text, Code otherwise, Throwable cause) {
    Matcher coded = CODED.matcher(text == null ? "" : text);
    if (coded.matches()) {
      return new BridgeException(Code.named(coded.group(1)), coded.group(2), cause);
    }
    return new BridgeException(
        otherwise, text == null || text.isEmpty() ? "unknown error" : text, cause);
  }

  /** Whether that is a text of the protocol, and not one of the transport. */
  public static boolean isCoded(String text) {
    return text != null && CODED.matcher(text).matches();
  }

  public Code code() {
    return code;
  }

  /** The message without its code. */
  public String text() {
    return getMessage().substring(code.name().length() + 3);
  }

  /** The same error, with what was being done when it happened. */
  public BridgeException during(String doing) {
    return new BridgeException(code, doing + ": " + text(), getCause() == null ? this : getCause());
  }

  /** Whether the server did not answer, which says nothing about what it would have answered. */
  public boolean isUnreachable() {
    return code == Code.UNAVAILABLE || code == Code.DEADLINE_EXCEEDED;
  }
}
