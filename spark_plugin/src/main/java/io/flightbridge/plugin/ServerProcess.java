package io.flightbridge.plugin;

import io.flightbridge.BridgeException;
import io.flightbridge.Code;
import java.io.BufferedReader;
import java.io.IOException;
import java.io.InputStreamReader;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.ArrayDeque;
import java.util.Deque;
import java.util.List;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.TimeoutException;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/**
 * A {@code flightbridge serve} of this JVM's. It stops when its standard input ends, which it does
 * with this process however that ends.
 */
final class ServerProcess implements AutoCloseable {
  private static final Logger LOG = LoggerFactory.getLogger(ServerProcess.class);
  private static final String READY = "flightbridge: serving ";
  private static final int LINES_KEPT = 20;
  private static final Duration STOP_TIMEOUT = Duration.ofSeconds(15);

  private final Process process;
  private final Deque<String> lastLines = new ArrayDeque<>();
  private final CompletableFuture<String> ready = new CompletableFuture<>();

  private ServerProcess(Process process) {
    this.process = process;
  }

  /** Runs the command; returns when it serves. */
  static ServerProcess start(List<String> command, Duration timeout) {
    Process process;
    try {
      process = new ProcessBuilder(command).start();
    } catch (IOException error) {
      throw new BridgeException(
          Code.FAILED_PRECONDITION,
          "'"
              + command.get(0)
              + "' does not start ("
              + error.getMessage()
              + "): install flightbridge there, or set spark.flightbridge.server.command to a"
              + " command that runs it, such as '/opt/venv/bin/flightbridge'",
          error);
    }
    var server = new ServerProcess(process);
    server.follow("log", new InputStreamReader(process.getErrorStream(), StandardCharsets.UTF_8));
    server.follow("out", new InputStreamReader(process.getInputStream(), StandardCharsets.UTF_8));
    try {
      server.ready.get(timeout.toMillis(), TimeUnit.MILLISECONDS);
    } catch (TimeoutException error) {
      server.close();
      throw server.failed(
          Code.DEADLINE_EXCEEDED,
          "was not ready within "
              + timeout.toSeconds()
              + " s (spark.flightbridge.server.startTimeout)");
    } catch (ExecutionException error) {
      server.close();
      throw server.failed(Code.FAILED_PRECONDITION, "ended before it was ready");
    } catch (InterruptedException error) {
      server.close();
      Thread.currentThread().interrupt();
      throw server.failed(Code.CANCELLED, "was interrupted");
    }
    return server;
  }

  /** As it printed it. */
  String uri() {
    return ready.join();
  }

  @Override
  public void close() {
    try {
      process.getOutputStream().close();
    } catch (IOException error) {
      LOG.debug("the server's standard input: {}", error.toString());
    }
    process.destroy();
    try {
      if (!process.waitFor(STOP_TIMEOUT.toMillis(), TimeUnit.MILLISECONDS)) {
        process.destroyForcibly();
      }
    } catch (InterruptedException error) {
      process.destroyForcibly();
      Thread.currentThread().interrupt();
    }
  }

  private void follow(String name, InputStreamReader stream) {
    var thread =
        new Thread(
            () -> {
              try (var lines = new BufferedReader(stream)) {
                for (String line = lines.readLine(); line != null; line = lines.readLine()) {
                  heard(line);
                }
              } catch (IOException error) {
                LOG.debug("the server's {}: {}", name, error.toString());
              }
              if (name.equals("out")) {
                ready.completeExceptionally(new IOException("no ready line"));
              }
            },
            "flightbridge-server-" + name);
    thread.setDaemon(true);
    thread.start();
  }

  private void heard(String line) {
    if (line.startsWith(READY)) {
      ready.complete(line.substring(READY.length()).strip());
    }
    LOG.info("server: {}", line);
    synchronized (lastLines) {
      lastLines.add(line);
      if (lastLines.size() > LINES_KEPT) {
        lastLines.remove();
      }
    }
  }

  private BridgeException failed(Code code, String how) {
    String said;
    synchronized (lastLines) {
      said = lastLines.isEmpty() ? "it said nothing" : String.join("; ", lastLines);
    }
    return new BridgeException(code, "the server that the plugin started " + how + ": " + said);
  }
}
