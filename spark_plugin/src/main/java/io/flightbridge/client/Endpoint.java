package io.flightbridge.client;

import io.flightbridge.BridgeException;
import io.flightbridge.Code;
import java.util.ArrayList;
import java.util.Collections;
import java.util.List;
import java.util.regex.Matcher;
import java.util.regex.Pattern;

/** The address of one server. */
public record Endpoint(String host, int port, boolean tls) {
  private static final Pattern URI =
      Pattern.compile("grpc(\\+tls)?://(?:\\[([0-9a-fA-F:.%]+)\\]|([A-Za-z0-9._-]+)):([0-9]{1,5})");

  /** One server of {@code grpc://HOST:PORT} or {@code grpc+tls://HOST:PORT}. */
  public static Endpoint parse(String uri) {
    Matcher match = URI.matcher(uri);
    if (!match.matches()) {
      throw bad(uri, "is not the address of a server");
    }
    int port = Integer.parseInt(match.group(4));
    if (port < 1 || port > 65535) {
      throw bad(uri, "has a port that is not a number from 1 to 65535");
    }
    String host = match.group(2) != null ? match.group(2) : match.group(3);
    return new Endpoint(host, port, match.group(1) != null);
  }

  /**
   * One server or several, separated by commas; sorted, as every message of the protocol has them.
   */
  public static List<Endpoint> parseList(String uris) {
    int scheme = uris.indexOf("://");
    String prefix = scheme < 0 ? "" : uris.substring(0, scheme + 3);
    List<String> found = new ArrayList<>();
    for (String one : uris.split(",", -1)) {
      String uri = one.strip();
      found.add(parse(uri.contains("://") ? uri : prefix + uri).uri());
    }
    Collections.sort(found);
    for (int i = 1; i < found.size(); i++) {
      if (found.get(i).equals(found.get(i - 1))) {
        throw bad(uris, "names " + found.get(i) + " twice");
      }
    }
    return found.stream().map(Endpoint::parse).toList();
  }

  public String uri() {
    return (tls ? "grpc+tls://" : "grpc://")
        + (host.contains(":") ? "[" + host + "]" : host)
        + ":"
        + port;
  }

  private static BridgeException bad(String uri, String why) {
    return new BridgeException(
        Code.INVALID_ARGUMENT,
        "uri='"
            + uri
            + "' "
            + why
            + ": write grpc://HOST:PORT, or grpc+tls://HOST:PORT for a server with"
            + " TLS, for example grpc://127.0.0.1:8815; several servers are separated by commas");
  }
}
