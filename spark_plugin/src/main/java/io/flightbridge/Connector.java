package io.flightbridge;

/**
 * What this jar is. SQL can ask for it on any session, which is how {@code flightbridge.spark}
 * finds out whether one has the jar: {@code SELECT java_method('io.flightbridge.Connector',
 * 'version')}.
 */
public final class Connector {
  private Connector() {}

  /**
   * The servers that {@link FlightBridgePlugin} runs for this application, as the option {@code
   * uri} takes them; empty where there are none.
   */
  public static String servers() {
    return io.flightbridge.plugin.Servers.uri();
  }

  /** The version of the project that the jar was built from, such as {@code 0.1.0}. */
  public static String version() {
    String version = Connector.class.getPackage().getImplementationVersion();
    return version == null ? "unknown" : version;
  }
}
