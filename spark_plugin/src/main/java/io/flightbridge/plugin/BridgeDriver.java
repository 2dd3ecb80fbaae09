package io.flightbridge.plugin;

import io.flightbridge.spark.OpenJobs;
import java.util.Map;
import org.apache.spark.SparkContext;
import org.apache.spark.api.plugin.DriverPlugin;
import org.apache.spark.api.plugin.PluginContext;
import org.apache.spark.scheduler.SparkListener;
import org.apache.spark.scheduler.SparkListenerExecutorRemoved;

/** The plugin on the driver: knows the servers, runs one if asked to, cleans up at the end. */
public final class BridgeDriver implements DriverPlugin {
  private static final String HERE = "driver";
  private ServerProcess server;

  @Override
  public Map<String, String> init(SparkContext spark, PluginContext context) {
    PluginSettings settings = PluginSettings.of(context.conf());
    Servers.clear(); // of an application that this JVM ran before
    if (settings.place() == PluginSettings.Place.DRIVER) {
      String host = context.conf().get("spark.driver.host", "127.0.0.1");
      server = ServerProcess.start(settings.commandLine(host), settings.startTimeout());
      Servers.started(HERE, server.uri());
    }
    spark.addSparkListener(
        new SparkListener() {
          @Override
          public void onExecutorRemoved(SparkListenerExecutorRemoved removed) {
            Servers.ended(removed.executorId());
          }
        });
    return Map.of();
  }

  @Override
  public void registerMetrics(String appId, PluginContext context) {
    ConnectorMetrics.register(context.metricRegistry());
  }

  @Override
  public Object receive(Object message) {
    if (message instanceof ServerStarted started) {
      Servers.started(started.executor(), started.uri());
      return null;
    }
    return message instanceof Servers.Asked ? Servers.uri() : null;
  }

  @Override
  public void shutdown() {
    OpenJobs.abortAll();
    Servers.clear();
    if (server != null) {
      server.close();
    }
  }
}
