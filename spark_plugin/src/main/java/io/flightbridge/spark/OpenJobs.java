package io.flightbridge.spark;

import io.flightbridge.BridgeException;
import java.util.Set;
import java.util.concurrent.ConcurrentHashMap;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/** Write jobs of this driver that are neither committed nor aborted. */
public final class OpenJobs {
  private static final Logger LOG = LoggerFactory.getLogger(OpenJobs.class);
  private static final Set<FeedBatchWrite> OPEN = ConcurrentHashMap.newKeySet();

  private OpenJobs() {}

  static void opened(FeedBatchWrite job) {
    OPEN.add(job);
  }

  static void ended(FeedBatchWrite job) {
    OPEN.remove(job);
  }

  /** At the end of the application: a server would keep what they staged until they expire. */
  public static void abortAll() {
    for (FeedBatchWrite job : OPEN) {
      try {
        job.abort(null);
      } catch (BridgeException error) {
        LOG.warn("a write that was open at the end is not aborted: {}", error.getMessage());
      }
    }
    OPEN.clear();
  }
}
