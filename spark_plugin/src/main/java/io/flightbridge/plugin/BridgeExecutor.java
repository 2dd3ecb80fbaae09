package io.flightbridge.plugin;

import java.util.Map;
import org.apache.spark.SparkEnv;
import org.apache.spark.api.plugin.ExecutorPlugin;
import org.apache.spark.api.plugin.PluginContext;
import org.apache.spark.storage.BlockManagerId;

/** The plugin on an executor: runs a server beside it if asked to. */
public final class BridgeExecutor implements ExecutorPlugin {
  private ServerProcess server;

  @Override
  public void init(PluginContext context, Map<String, String> extra) {
    ConnectorMetrics.register(context.metricRegistry());
    if (!context.executorID().equals("driver")) { // local mode: the driver's own JVM
      Servers.here(context);
    }
    PluginSettings settings = PluginSettings.of(context.conf());
    if (settings.place() != PluginSettings.Place.EXECUTORS) {
      return;
    }
    server = ServerProcess.start(settings.commandLine(host(context)), settings.startTimeout());
    try {
      context.send(new ServerStarted(context.executorID(), server.uri()));
    } catch (java.io.IOException error) {
      shutdown();
      throw new java.io.UncheckedIOException(error);
    }
  }

  // PluginContext.hostname() needs an RPC server, which executors do not have.
  private static String host(PluginContext context) {
    BlockManagerId id = SparkEnv.get().blockManager().blockManagerId();
    return id == null ? context.conf().get("spark.driver.host", "127.0.0.1") : id.host();
  }

  @Override
  public void shutdown() {
    if (server != null) {
      server.close();
    }
  }
}
