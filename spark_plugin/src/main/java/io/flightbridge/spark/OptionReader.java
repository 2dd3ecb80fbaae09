package io.flightbridge.spark;

import io.flightbridge.BridgeException;
import io.flightbridge.Code;
import io.flightbridge.Connector;
import io.flightbridge.client.ConnectionOptions;
import java.time.Duration;
import java.util.Locale;
import java.util.Map;
import java.util.Set;
import java.util.TreeMap;
import java.util.function.Function;

/** Options as text, in any case. */
final class OptionReader {
  private final Map<String, String> given = new TreeMap<>(String.CASE_INSENSITIVE_ORDER);

  OptionReader(Map<String, String> given) {
    given.forEach(
        (name, value) -> {
          if (value != null) {
            this.given.put(name, value);
          }
        });
  }

  void refuseUnknown(Set<String> known, Set<String> ignored) {
    for (var option : given.entrySet()) {
      String name = option.getKey().toLowerCase(Locale.ROOT);
      if (!known.contains(name) && !ignored.contains(name) && !name.startsWith("option.")) {
        throw bad(
            name,
            option.getValue(),
            "is not known to the flightbridge format: remove it, or use one of "
                + String.join(", ", known));
      }
    }
  }

  boolean has(String name) {
    return given.containsKey(name);
  }

  String text(String name, String variable) {
    String value = given.get(name);
    // The driver's environment counts: executors get what it chose.
    return value != null || variable == null ? value : System.getenv(variable);
  }

  String required(String name, String example) {
    String value = given.get(name);
    if (value == null || value.isEmpty()) {
      throw new BridgeException(
          Code.INVALID_ARGUMENT,
          "option " + name + " is missing: add .option(\"" + name + "\", \"" + example + "\")");
    }
    return value;
  }

  /** The servers, by default those of the application's own. */
  String uri() {
    String own = Connector.servers();
    return has("uri") || own.isEmpty() ? required("uri", "grpc://127.0.0.1:8815") : own;
  }

  <T> T get(String name, T otherwise, Function<String, T> parse) {
    String value = given.get(name);
    if (value == null) {
      return otherwise;
    }
    try {
      return parse.apply(value.strip());
    } catch (NumberFormatException error) {
      throw bad(name, value, "is not a number");
    } catch (IllegalArgumentException error) {
      throw bad(name, value, error.getMessage());
    }
  }

  long number(String name, long otherwise, long least, long most) {
    long value = get(name, otherwise, Long::parseLong);
    if (value < least || value > most) {
      throw bad(name, given.get(name), "is out of range: give " + least + " to " + most);
    }
    return value;
  }

  boolean flag(String name) {
    return get(
        name,
        false,
        text ->
            switch (text.toLowerCase(Locale.ROOT)) {
              case "true", "1" -> true;
              case "false", "0" -> false;
              default -> throw new IllegalArgumentException("is neither true nor false");
            });
  }

  double seconds(String name, double otherwise) {
    return get(
        name,
        otherwise,
        text -> {
          double value = text.matches("[0-9.eE+-]+") ? parsed(text) : Double.NaN;
          if (!(value > 0 && value < 1e9)) {
            throw new IllegalArgumentException(
                "is not a time: give seconds above zero, such as 60");
          }
          return value;
        });
  }

  private static double parsed(String text) {
    try {
      return Double.parseDouble(text);
    } catch (NumberFormatException error) {
      return Double.NaN;
    }
  }

  ConnectionOptions connection() {
    String transport =
        get(
            "transport",
            "auto",
            text -> {
              if (!Set.of("auto", "mapped", "channel", "flight").contains(text)) {
                throw new IllegalArgumentException(
                    "is not known: use one of auto, mapped, channel, flight");
              }
              return text;
            });
    return new ConnectionOptions(
        text("token", "FLIGHTBRIDGE_TOKEN"),
        text("tls_ca", "FLIGHTBRIDGE_TLS_CA"),
        text("tls_client_cert", "FLIGHTBRIDGE_TLS_CLIENT_CERT"),
        text("tls_client_key", "FLIGHTBRIDGE_TLS_CLIENT_KEY"),
        Duration.ofMillis((long) Math.ceil(seconds("timeout", 60) * 1000)),
        transport);
  }

  private static BridgeException bad(String name, String value, String why) {
    String shown = name.equals("token") ? "***" : value;
    return new BridgeException(Code.INVALID_ARGUMENT, "option " + name + "='" + shown + "' " + why);
  }
}
