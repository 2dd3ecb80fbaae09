package io.flightbridge.plugin;

import io.flightbridge.BridgeException;
import io.flightbridge.Code;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Locale;
import org.apache.spark.SparkConf;

/**
 * The settings {@code spark.flightbridge.*}.
 *
 * @param place where servers run
 * @param command that runs {@code flightbridge}
 * @param memory of each server, as {@code --memory-limit} takes it
 * @param arguments more of {@code flightbridge serve}
 * @param startTimeout how long a server may take until it serves
 */
record PluginSettings(
    Place place,
    List<String> command,
    String memory,
    List<String> arguments,
    Duration startTimeout) {

  enum Place {
    NONE,
    DRIVER,
    EXECUTORS
  }

  private static final String PREFIX = "spark.flightbridge.server";

  static PluginSettings of(SparkConf conf) {
    String place = conf.get(PREFIX, "none").strip().toUpperCase(Locale.ROOT);
    if (Arrays.stream(Place.values()).noneMatch(known -> known.name().equals(place))) {
      throw bad(PREFIX, conf.get(PREFIX), "is not known: use one of none, driver, executors");
    }
    String timeout = conf.get(PREFIX + ".startTimeout", "60");
    if (!timeout.matches("[1-9][0-9]{0,5}")) {
      throw bad(PREFIX + ".startTimeout", timeout, "is not a time: give whole seconds, such as 60");
    }
    List<String> command = words(conf.get(PREFIX + ".command", "flightbridge"));
    if (command.isEmpty()) {
      throw bad(PREFIX + ".command", "", "is empty: give a command, such as flightbridge");
    }
    return new PluginSettings(
        Place.valueOf(place),
        command,
        conf.get(PREFIX + ".memory", "1GiB"),
        words(conf.get(PREFIX + ".args", "")),
        Duration.ofSeconds(Long.parseLong(timeout)));
  }

  /** What starts a server on that address, on any free port. */
  List<String> commandLine(String host) {
    List<String> line = new ArrayList<>(command);
    line.addAll(List.of("serve", "--end-with-stdin", "--memory-limit", memory));
    if (!arguments.contains("--host")) {
      line.addAll(List.of("--host", host));
    }
    if (!arguments.contains("--port")) {
      line.addAll(List.of("--port", "0"));
    }
    line.addAll(arguments);
    return line;
  }

  private static List<String> words(String text) {
    return text.isBlank() ? List.of() : List.of(text.strip().split("\\s+"));
  }

  private static BridgeException bad(String name, String value, String why) {
    return new BridgeException(Code.INVALID_ARGUMENT, name + "='" + value + "' " + why);
  }
}
