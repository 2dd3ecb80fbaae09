package io.flightbridge.plugin;

import java.io.Serializable;
import java.util.Map;
import java.util.concurrent.ConcurrentSkipListMap;
import org.apache.spark.api.plugin.PluginContext;

/** The servers of this application that run now. The driver knows them, and executors ask it. */
public final class Servers {
  private static final Map<String, String> RUNNING = new ConcurrentSkipListMap<>();

  /** Of an executor in a JVM of its own. */
  private static volatile PluginContext executor;

  /** What executors send to ask for them. */
  record Asked() implements Serializable {}

  private Servers() {}

  /** All of them, separated by commas, as the option {@code uri} takes them; empty: none. */
  public static String uri() {
    PluginContext here = executor;
    if (here == null) {
      return String.join(",", RUNNING.values().stream().sorted().distinct().toList());
    }
    try {
      return (String) here.ask(new Asked());
    } catch (Exception error) {
      throw new IllegalStateException("the driver does not say which servers run", error);
    }
  }

  static void here(PluginContext context) {
    executor = context;
  }

  static void started(String where, String uri) {
    RUNNING.put(where, uri);
  }

  static void ended(String where) {
    RUNNING.remove(where);
  }

  /** This JVM is the driver of an application that begins or ends. */
  static void clear() {
    executor = null;
    RUNNING.clear();
  }
}
