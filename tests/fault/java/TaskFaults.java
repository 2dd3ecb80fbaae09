package io.flightbridge.testing;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.concurrent.TimeUnit;
import org.apache.spark.TaskContext;

/**
 * What the fault tests do to Spark's tasks. SQL calls {@link #row} for every row, so that no Python
 * is on the executors: {@code java_method('io.flightbridge.testing.TaskFaults', 'row', …)}.
 */
public final class TaskFaults {
  private static final int ROWS_BETWEEN = 100;
  private static final int ROWS_BEFORE_HOLD = 1000; // a put is open then
  private static final long DEADLINE_S = 120;
  private static final ThreadLocal<long[]> TASK = ThreadLocal.withInitial(() -> new long[] {-1, 0});

  private TaskFaults() {}

  /**
   * Leaves a file {@code started-STAGE-TRY-PARTITION-TASK-ATTEMPT-PID} in the directory at a task's
   * first row. At every hundredth it pauses, and from the thousandth on it waits while there is
   * {@code hold-all}, or, in the first attempt of a partition, {@code hold-PARTITION}; that attempt
   * then fails where there is {@code fail-PARTITION}.
   *
   * @return nothing, as SQL knows it: an empty text
   */
  public static String row(String directory, long pauseMs) throws IOException {
    TaskContext task = TaskContext.get();
    long[] seen = TASK.get();
    if (seen[0] != task.taskAttemptId()) {
      seen[0] = task.taskAttemptId();
      seen[1] = 0;
      Files.createFile(Path.of(directory, nameOf(task)));
    }
    if (++seen[1] % ROWS_BETWEEN == 0) {
      pause(pauseMs);
    }
    if (seen[1] % ROWS_BETWEEN == 0 && seen[1] >= ROWS_BEFORE_HOLD) {
      hold(Path.of(directory, "hold-all"));
      if (task.attemptNumber() == 0 && task.stageAttemptNumber() == 0) {
        hold(Path.of(directory, "hold-" + task.partitionId()));
        if (Files.exists(Path.of(directory, "fail-" + task.partitionId()))) {
          throw new IllegalStateException("the first attempt fails, as it was told");
        }
      }
    }
    return "";
  }

  private static String nameOf(TaskContext task) {
    return "started-%d-%d-%d-%d-%d-%d"
        .formatted(
            task.stageId(),
            task.stageAttemptNumber(),
            task.partitionId(),
            task.taskAttemptId(),
            task.attemptNumber(),
            ProcessHandle.current().pid());
  }

  private static void hold(Path file) {
    long end = System.nanoTime() + TimeUnit.SECONDS.toNanos(DEADLINE_S);
    while (Files.exists(file)) {
      if (System.nanoTime() > end) {
        throw new IllegalStateException(file + " was not removed in time");
      }
      pause(5);
    }
  }

  // A task that was killed and does not listen is the hardest to be right about.
  private static void pause(long milliseconds) {
    long end = System.nanoTime() + TimeUnit.MILLISECONDS.toNanos(milliseconds);
    boolean interrupted = false;
    for (long left = milliseconds; left > 0; left = millisUntil(end)) {
      try {
        Thread.sleep(left);
      } catch (InterruptedException error) {
        interrupted = true;
      }
    }
    if (interrupted) {
      Thread.currentThread().interrupt();
    }
  }

  private static long millisUntil(long end) {
    return TimeUnit.NANOSECONDS.toMillis(end - System.nanoTime());
  }
}
