package io.flightbridge;

import io.flightbridge.plugin.BridgeDriver;
import io.flightbridge.plugin.BridgeExecutor;
import org.apache.spark.api.plugin.DriverPlugin;
import org.apache.spark.api.plugin.ExecutorPlugin;
import org.apache.spark.api.plugin.SparkPlugin;

/**
 * {@code spark.plugins=io.flightbridge.FlightBridgePlugin}: bridge servers that live as long as the
 * application, beside its driver or its executors, and metrics of what the connector sends.
 * docs/spark.md lists the settings.
 */
public final class FlightBridgePlugin implements SparkPlugin {
  @Override
  public DriverPlugin driverPlugin() {
    return new BridgeDriver();
  }

  @Override
  public ExecutorPlugin executorPlugin() {
    return new BridgeExecutor();
  }
}
