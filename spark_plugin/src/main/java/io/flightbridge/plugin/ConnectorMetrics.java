package io.flightbridge.plugin;

import com.codahale.metrics.Gauge;
import com.codahale.metrics.MetricRegistry;
import io.flightbridge.spark.WriteTotals;
import java.util.function.LongSupplier;

/** What the connector has sent from this JVM, for Spark's metrics system. */
final class ConnectorMetrics {
  private ConnectorMetrics() {}

  static void register(MetricRegistry registry) {
    gauge(registry, "rowsSent", WriteTotals::rows);
    gauge(registry, "bytesSent", WriteTotals::bytes);
    gauge(registry, "bytesMapped", WriteTotals::mappedBytes);
    gauge(registry, "waitedMs", () -> WriteTotals.waitedNanos() / 1_000_000);
    gauge(registry, "attemptsFinished", WriteTotals::finished);
    gauge(registry, "attemptsGivenUp", WriteTotals::givenUp);
  }

  private static void gauge(MetricRegistry registry, String name, LongSupplier value) {
    registry.register(name, (Gauge<Long>) value::getAsLong);
  }
}
