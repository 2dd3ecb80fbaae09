"""Ends of all kinds: loops left early, Ctrl-C, a server that goes first, interpreter exit.

Each story runs in its own process: what is tested is that the process neither hangs nor crashes.
"""

import os
import signal
import subprocess
import sys
import textwrap

import pytest

pytestmark = [pytest.mark.tf, pytest.mark.slow]
pytest.importorskip("tensorflow")

# SIGINT as in a terminal: who starts the tests in the background of a shell script has it ignored.
PRELUDE = """
import os, signal, sys, threading, time
signal.signal(signal.SIGINT, signal.default_int_handler)
os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
import numpy as np, pyarrow as pa
import tensorflow as tf
import flightbridge, flightbridge.tf

server = flightbridge.Server()
with server.client() as client:
    client.write("f", pa.table({"id": np.arange(2_000_000), "s": ["x" * 50] * 2_000_000}))

def make(**kwargs):
    return flightbridge.tf.dataset(server.uri, "f", batch_size=100, timeout_s=10, **kwargs)

def readers():
    return sum(t.startswith("fb-") for t in (
        open(f"/proc/self/task/{tid}/comm").read() for tid in os.listdir("/proc/self/task")))
"""


def run(story, *, interrupt_at=None, timeout_s=90):
    """Runs the story; sends SIGINT when it prints `interrupt_at`. Returns (exit code, output)."""
    process = subprocess.Popen(
        [sys.executable, "-u", "-c", PRELUDE + textwrap.dedent(story)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        output = ""
        if interrupt_at:
            for line in process.stdout:
                output += line
                if interrupt_at in line:
                    process.send_signal(signal.SIGINT)
                    break
        rest, _ = process.communicate(timeout=timeout_s)
        return process.returncode, output + rest
    finally:
        process.kill()


@pytest.mark.parametrize("transport", ["local", "mapped", "channel", "flight"])
def test_exit_with_live_iterators(transport):
    code, output = run(f"""
        keep = [iter(make(transport="{transport}", shuffle=1000)),
                iter(make(transport="{transport}").prefetch(4)),
                iter(make(transport="{transport}", columns="id"))]
        batches = [next(it) for it in keep]
        print("done")
    """)
    assert "done" in output
    assert code == 0, output


def test_server_stopped_before_the_iterator():
    code, output = run("""
        local, remote = iter(make()), iter(make(transport="flight", prefetch="64KiB"))
        next(local), next(remote)
        started = time.monotonic()
        server.stop(grace_s=1.0)
        for name, iterator in (("local", local), ("remote", remote)):
            try:
                for _ in iterator:
                    pass
                print(name, "ended cleanly")
            except tf.errors.OpError as error:
                print(name, type(error).__name__)
        print("took", time.monotonic() - started < 30)
    """)
    assert code == 0, output
    assert "took True" in output
    assert "remote UnavailableError" in output or "remote ended cleanly" in output, output
    assert "local ended cleanly" in output or "local UnavailableError" in output, output


def test_leaving_a_loop_early_stops_the_reader():
    code, output = run("""
        for transport in ("local", "mapped", "channel", "flight"):
            for i, batch in enumerate(make(transport=transport).prefetch(2)):
                if i == 3:
                    break
        del batch
        deadline = time.monotonic() + 10
        while readers() and time.monotonic() < deadline:
            time.sleep(0.05)
        print("readers left:", readers())
    """)
    assert code == 0, output
    assert "readers left: 0" in output, output


def test_interrupt_while_iterating():
    code, output = run(
        """
        try:
            for batch in make(epochs=None, shuffle=10_000):
                if not globals().get("told"):
                    told = True
                    print("reading")
        except KeyboardInterrupt:
            print("interrupted")
        print("still alive:", int(next(iter(make(columns="id")))[0]))
        """,
        interrupt_at="reading",
    )
    assert code == 0, output
    assert "interrupted" in output
    assert "still alive: 0" in output


def test_interrupt_while_training():
    code, output = run(
        """
        import keras
        model = keras.Sequential([keras.layers.Dense(1)])
        model.compile(loss="mse")
        data = make(columns="id", epochs=None).map(
            lambda x: (tf.cast(x[:, None], tf.float32) / 1e6, tf.ones([100, 1])))
        class Tell(keras.callbacks.Callback):
            def on_train_batch_end(self, batch, logs=None):
                if batch == 20:
                    print("training")
        try:
            model.fit(data, steps_per_epoch=10**9, verbose=0, callbacks=[Tell()])
        except KeyboardInterrupt:
            print("interrupted")
        """,
        interrupt_at="training",
    )
    assert code == 0, output
    assert "interrupted" in output


# A server in a process that can be frozen: calls to it are neither answered nor refused.
FROZEN = """
import signal, subprocess
child = subprocess.Popen([sys.executable, "-c",
    "import flightbridge, time\\n"
    "s = flightbridge.Server()\\n"
    "print(s.uri, flush=True)\\n"
    "time.sleep(600)"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
uri = child.stdout.readline().strip()
with flightbridge.connect(uri) as client:
    client.write("f", pa.table({"id": np.arange(4_000_000)}), partition_rows=100_000)

def freeze_in_the_middle(timeout_s):
    # The prefetch thread could take all 400,000 elements; it waits where the frozen server left it.
    dataset = flightbridge.tf.dataset(uri, "f", batch_size=10, prefetch="1MiB",
                                      timeout_s=timeout_s)
    iterator = iter(dataset.prefetch(1_000_000))
    next(iterator)
    child.send_signal(signal.SIGSTOP)
    time.sleep(3)
    return iterator
"""


def test_dropped_while_blocked():
    code, output = run(
        FROZEN
        + textwrap.dedent("""
        iterator = freeze_in_the_middle(timeout_s=8)
        started = time.monotonic()
        del iterator
        print("dropped in time:", time.monotonic() - started < 60)
        child.kill()
        """)
    )
    assert code == 0, output
    assert "dropped in time: True" in output, output


def test_exit_while_blocked():
    code, output = run(
        FROZEN
        + textwrap.dedent("""
        iterator = freeze_in_the_middle(timeout_s=8)
        print("exiting, child", child.pid)
        """),
        timeout_s=60,
    )
    os.kill(int(output.split("child ")[1].split()[0]), signal.SIGKILL)
    assert code == 0, output


def test_frozen_server_is_a_deadline_error():
    code, output = run(
        FROZEN
        + textwrap.dedent("""
        iterator = freeze_in_the_middle(timeout_s=5)
        try:
            for _ in iterator:
                pass
            print("no error")
        except (tf.errors.DeadlineExceededError, tf.errors.UnavailableError) as error:
            print("error:", error.message)
        child.kill()
        """)
    )
    assert code == 0, output
    assert "error: " in output and "no error" not in output, output
