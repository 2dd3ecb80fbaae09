"""A model behind a port: rows up, predictions down, and what can be wrong with either."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading

import numpy as np
import pyarrow as pa
import pyarrow.flight
import pytest

import flightbridge
from flightbridge.errors import (
    DeadlineExceededError,
    FlightBridgeError,
    InvalidArgumentError,
    PermissionDeniedError,
    ResourceExhaustedError,
    SchemaMismatchError,
    ServerUnavailableError,
    UnauthenticatedError,
)
from flightbridge.scoring import wire
from flightbridge.scoring.server import ModelServer

pytestmark = [
    pytest.mark.tf,
    pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning"),  # Keras's
]
MIB = 1 << 20


def rows(n: int, begin: int = 0) -> pa.Table:
    ids = np.arange(begin, begin + n, dtype=np.float32)
    flat = np.repeat(ids, 3)
    return pa.table(
        {
            "id": pa.array(ids, pa.int64()),
            "x": ids,
            "f": pa.FixedSizeListArray.from_arrays(pa.array(flat), 3),
            "text": [f"t{i}" for i in range(n)],
        }
    )


@pytest.fixture(scope="module")
def served(models):
    with ModelServer(models.keras, max_batch_bytes="8MiB", control_port=0) as server:
        yield server


@pytest.fixture(scope="module")
def kinds(models):
    with ModelServer(models.kinds, signature="all") as server:
        yield server


def test_a_table_comes_back_with_predictions(served):
    scored = flightbridge.score(served.uri, rows(5000))
    assert scored.schema.names == ["id", "x", "f", "text", "prediction"]
    assert scored["prediction"].to_pylist() == [4.0 * i for i in range(5000)]
    assert scored.drop_columns(["prediction"]).equals(rows(5000))
    few = flightbridge.score(
        served.uri, rows(10), keep=["id"], outputs={"prediction": "y"}, batch_size=3
    )
    assert few.to_pydict() == {"id": list(range(10)), "y": [4.0 * i for i in range(10)]}
    assert flightbridge.score(served, rows(0)).num_rows == 0


def test_batches_of_any_number_stream_through_bounded_memory(served):
    pulled = 0

    def source():
        nonlocal pulled
        for i in range(200):
            pulled += 1
            yield from rows(1000, 1000 * i).to_batches()

    found = 0
    for batch in flightbridge.score(served.uri, source(), keep=["id"]):
        assert batch["prediction"].to_numpy().tolist() == (batch["id"].to_numpy() * 4.0).tolist()
        found += batch.num_rows
        assert pulled * 1000 - found <= 7 * 1000, "rows are held that nobody has asked for"
    assert found == 200_000


def test_one_may_stop_in_the_middle(served):
    scored = flightbridge.score(served.uri, iter(rows(100_000).to_batches(max_chunksize=100)))
    assert next(scored).num_rows == 100
    scored.close()
    assert flightbridge.score(served.uri, rows(3)).num_rows == 3


def test_every_kind_of_output_crosses(kinds):
    table = pa.table({"x": pa.array(range(5), pa.int64())})
    names = ["uint64", "bfloat16", "matrix", "cube", "words", "bool"]
    scored = flightbridge.score(kinds.uri, table, outputs=names)
    row = scored.slice(4).to_pylist()[0]
    assert row == {
        "x": 4,
        "uint64": 4,
        "bfloat16": 4.0,
        "matrix": [4, -4],
        "cube": [[4, -4], [4, -4]],
        "words": ["4"],
        "bool": True,
    }
    typed = flightbridge.score(
        kinds.uri, table, schema=pa.schema([("int64", pa.float64())]), keep=[]
    )
    assert typed.schema.types == [pa.float64()]


def test_options_of_columns_hold_on_the_server(served):
    table = rows(4).set_column(1, "x", pa.array([1.0, None, 3.0, None]))
    options = {"dtypes": {"x": "float32"}, "fill": {"x": -1}}
    scored = flightbridge.score(served.uri, table, **options)
    assert scored["prediction"].to_pylist() == [1.0, 2.0, 9.0, 8.0]
    with pytest.raises(InvalidArgumentError, match="'x' has a null at row 1"):
        flightbridge.score(served.uri, table)


def test_what_does_not_fit_is_refused_by_name(served):
    def refused(error, *says, table=None, **settings):
        with pytest.raises(error) as caught:
            flightbridge.score(served.uri, rows(3) if table is None else table, **settings)
        for part in says:
            assert part in str(caught.value)
        assert "gRPC" not in str(caught.value)

    refused(SchemaMismatchError, "'f'", "adder", table=rows(3).drop_columns(["f"]))
    refused(InvalidArgumentError, "'z'", "'x'", columns={"z": "x"})
    refused(InvalidArgumentError, "'nope'", "'prediction'", outputs=["nope"])
    refused(InvalidArgumentError, "keep has 'nope'", keep=["nope"])
    refused(InvalidArgumentError, "'x' is there already", outputs={"prediction": "x"})
    refused(InvalidArgumentError, "batch_size=0", batch_size=0)
    refused(ResourceExhaustedError, "max_batch_bytes", "batch_size=1048576", batch_size=MIB)
    refused(InvalidArgumentError, "nope=1", nope=1)
    with pytest.raises(InvalidArgumentError, match="uri="):
        flightbridge.score("models:8820", rows(3))
    with pytest.raises(InvalidArgumentError, match="timeout_s=0"):
        flightbridge.score(served.uri, rows(3), timeout_s=0)


def test_a_failing_model_fails_its_stream_and_no_other(models):
    with ModelServer(models.kinds, signature="picky") as server:
        table = pa.table({"x": pa.array([1, 2], pa.int64())})
        bad = pa.table({"x": pa.array([1, 90], pa.int64())})
        running = flightbridge.score(server.uri, iter([*table.to_batches()] * 50))
        next(running)
        with pytest.raises(InvalidArgumentError, match=r"'picky'.*failed on a batch of 2 rows"):
            flightbridge.score(server.uri, bad)
        assert sum(batch.num_rows for batch in running) == 98


def test_a_source_that_fails_is_told_as_it_is(served):
    def source():
        yield from rows(10).to_batches()
        raise KeyError("of the caller's own")

    with pytest.raises(KeyError, match="of the caller's own"):
        list(flightbridge.score(served.uri, source()))


def test_nobody_at_the_address():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        uri = f"grpc://127.0.0.1:{free.getsockname()[1]}"
        with pytest.raises(ServerUnavailableError, match=uri):
            flightbridge.score(uri, rows(1), timeout_s=20)


def test_a_server_of_feeds_is_not_one_of_models(bridge):
    with pytest.raises(FlightBridgeError, match="DescribeModel"):
        flightbridge.score(bridge.uri, rows(1))


def plain(uri, **settings):
    return pa.flight.connect(uri, **settings)


def exchange(client, command, batches, schema, options=None):
    """What a plain client of Flight gets."""
    descriptor = pa.flight.FlightDescriptor.for_command(command)
    writer, reader = client.do_exchange(descriptor)
    with writer:
        writer.begin(schema, options=options)
        made = []
        for batch in batches:
            writer.write_batch(batch)
            made.append(reader.read_chunk().data)
        writer.done_writing()
        return made


def test_plain_flight_needs_no_client_of_ours(served):
    with plain(served.uri) as client:
        assert [a.type for a in client.list_actions()] == [wire.DESCRIBE]
        said = json.loads(next(client.do_action(wire.DESCRIBE)).body.to_pybytes())
        assert (sorted(said["inputs"]), said["schema"]) == (["f", "x"], None)
        command = json.dumps({"batch_size": 2, "outputs": {"prediction": "y"}}).encode()
        made = exchange(client, command, rows(5).to_batches(), rows(5).schema)
        assert made[0].to_pydict() == {"y": [0.0, 4.0, 8.0, 12.0, 16.0]}
        with pytest.raises(pa.flight.FlightError, match=r"\[INVALID_ARGUMENT\].*'nope'"):
            list(client.do_action(pa.flight.Action("nope", b"")))
        for body in (b"{", b"[]", b'{"request": 7, "schema": "AAAA"}', b"\xff" * 99):
            with pytest.raises(pa.flight.FlightError, match=r"\[INVALID_ARGUMENT\]"):
                list(client.do_action(pa.flight.Action(wire.DESCRIBE, body)))
        for command in (b"{", b'{"columns": 7}', b'{"fill": []}', b'{"schema": "AAAA"}'):
            with pytest.raises(pa.flight.FlightError, match=r"\[INVALID_ARGUMENT\]"):
                exchange(client, command, rows(1).to_batches(), rows(1).schema)


def test_damaged_and_oversized_batches_are_refused(served):
    """The server lives on: what it is sent is checked before native code follows it."""
    offsets = pa.array([0, 2**30, 3], pa.int32())
    lists = pa.Array.from_buffers(
        pa.list_(pa.float32()),
        2,
        [None, offsets.buffers()[1]],
        children=[pa.array([1.0] * 3, "f4")],
    )
    damaged = pa.record_batch({"x": pa.array([0.0, 1.0], "f4"), "f": lists})
    big = pa.record_batch(
        {
            "x": pa.array(np.zeros(3 * MIB, np.float32)),
            "f": pa.array([None] * (3 * MIB), pa.list_(pa.float32(), 3)),
        }
    )
    zeros = pa.record_batch(
        {
            "x": pa.array(np.zeros(4 * MIB, np.float32)),
            "f": pa.FixedSizeListArray.from_arrays(pa.array(np.zeros(12 * MIB, np.float32)), 3),
        }
    )
    padded = json.dumps({"pad_to": {"f": 3}}).encode()
    with plain(served.uri) as client:
        with pytest.raises(pa.flight.FlightError, match=r"damaged"):
            exchange(client, padded, [damaged], damaged.schema)
        with pytest.raises(pa.flight.FlightError, match=r"max_batch_bytes"):
            exchange(client, b"", [big], big.schema)
        bomb = pa.ipc.IpcWriteOptions(compression="zstd")
        with pytest.raises(pa.flight.FlightError, match=r"decompressed.*max_batch_bytes"):
            exchange(client, b"", [zeros], zeros.schema, bomb)
        compressed = exchange(client, b"", rows(5).to_batches(), rows(5).schema, bomb)
        assert compressed[0].num_rows == 5
    assert flightbridge.score(served.uri, rows(3)).num_rows == 3


def test_random_bytes_on_the_port_leave_it_standing(served):
    port = int(served.uri.rpartition(":")[2])
    rng = np.random.default_rng(5)
    for size in (1, 24, 1000, 100_000):
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port)) as raw:
            raw.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + rng.bytes(size))
    assert flightbridge.score(served.uri, rows(3)).num_rows == 3


def test_only_so_many_exchanges_at_a_time(models):
    with ModelServer(models.keras, max_streams=1) as server:
        running = flightbridge.score(server.uri, iter(rows(100).to_batches(max_chunksize=1)))
        next(running)
        with pytest.raises(ResourceExhaustedError, match="--max-streams"):
            flightbridge.score(server.uri, rows(1))
        assert sum(batch.num_rows for batch in running) == 99


def test_who_neither_sends_nor_takes_loses_the_connection(models):
    with ModelServer(models.keras, max_streams=1, idle_timeout_s=5) as server:
        with plain(server.uri) as client:
            descriptor = pa.flight.FlightDescriptor.for_command(b"")
            writer, reader = client.do_exchange(descriptor)

            def talk():
                writer.begin(rows(1).schema)
                writer.write_batch(rows(1).to_batches()[0])
                assert reader.read_chunk().data.num_rows == 1
                reader.read_chunk()  # nothing comes, until the server ends it

            with pytest.raises((pa.ArrowException, StopIteration)):
                talk()
            with contextlib.suppress(pa.ArrowException):
                writer.close()
        assert flightbridge.score(server.uri, rows(3)).num_rows == 3  # its place is free


@pytest.mark.slow
def test_a_server_that_hangs_meets_a_deadline(models):
    with model_process(models.keras) as (process, uri):
        scored = flightbridge.score(uri, iter(rows(100_000).to_batches(1000)), timeout_s=15)
        next(scored)
        process.send_signal(signal.SIGSTOP)
        try:
            with pytest.raises(DeadlineExceededError, match="timeout_s"):
                list(scored)
        finally:
            process.send_signal(signal.SIGCONT)


def test_a_server_that_dies_is_an_error_that_names_it(models):
    with model_process(models.keras) as (process, uri):
        scored = flightbridge.score(uri, iter(rows(1_000_000).to_batches(1000)))
        next(scored)
        process.kill()
        with pytest.raises(FlightBridgeError, match=uri):
            list(scored)


def test_tokens(models, tmp_path):
    tokens = tmp_path / "tokens"
    tokens.write_text("0123456789abcdef read:add* ok\n0123456789abcdeX read:other no\n")
    tokens.chmod(0o600)
    with ModelServer(models.keras, token_file=tokens) as server:
        assert flightbridge.score(server.uri, rows(2), token="0123456789abcdef").num_rows == 2
        with pytest.raises(UnauthenticatedError, match="token"):
            flightbridge.score(server.uri, rows(2))
        with pytest.raises(UnauthenticatedError):
            flightbridge.score(server.uri, rows(2), token="not the right one")
        with pytest.raises(PermissionDeniedError, match=r"no has no scope read:adder"):
            flightbridge.score(server.uri, rows(2), token="0123456789abcdeX")
        with plain(server.uri) as client, pytest.raises(pa.flight.FlightUnauthenticatedError):
            exchange(client, b"", [], rows(1).schema)
    tokens.chmod(0o644)
    with pytest.raises(InvalidArgumentError, match="tokens"):
        ModelServer(models.keras, token_file=tokens)


def test_closed_by_default(models):
    with pytest.raises(PermissionDeniedError, match="insecure"):
        ModelServer(models.keras, host="0.0.0.0")
    with ModelServer(models.keras, host="0.0.0.0", insecure=True) as server:
        uri = server.uri.replace("0.0.0.0", "127.0.0.1")
        assert flightbridge.score(uri, rows(2)).num_rows == 2
    with pytest.raises(InvalidArgumentError, match="tls_key"):
        ModelServer(models.keras, tls_cert="x.pem")
    with pytest.raises(InvalidArgumentError, match="name='a b'"):
        ModelServer(models.keras, name="a b")


def test_health_and_stop(models):
    import grpc
    from grpc_health.v1 import health_pb2, health_pb2_grpc

    server = ModelServer(models.keras, control_port=0)
    with grpc.insecure_channel(server.control_uri.removeprefix("grpc://")) as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        said = stub.Check(health_pb2.HealthCheckRequest(), timeout=30)
        assert said.status == health_pb2.HealthCheckResponse.SERVING
    running = flightbridge.score(server.uri, iter(rows(1000).to_batches(max_chunksize=1)))
    next(running)
    assert server.stop(grace_s=0.2)  # though a client is in the middle
    assert server.stop()
    with pytest.raises(FlightBridgeError):
        list(running)
    with pytest.raises(ServerUnavailableError):
        flightbridge.score(server.uri, rows(1), timeout_s=20)


def test_streams_of_many_clients_at_once(served):
    failed = []

    def run(k):
        try:
            table = flightbridge.score(served.uri, rows(2000, k), batch_size=100 + k)
            assert table["prediction"].to_pylist() == [4.0 * (k + i) for i in range(2000)]
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=run, args=(k,)) for k in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=120)
    assert not failed


@contextlib.contextmanager
def model_process(model, *options):
    """``flightbridge serve-model`` as a process, from its ready line on."""
    command = [sys.executable, "-m", "flightbridge.cli", "serve-model", str(model), "--port", "0"]
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"}
    with subprocess.Popen(
        [*command, *options], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=environment
    ) as process:
        try:
            line = process.stdout.readline().decode()
            assert line.startswith("flightbridge: serving model adder on grpc://127.0.0.1:"), line
            yield process, line.split()[-1]
        finally:
            process.kill()


def test_the_command_serves_until_it_is_told_to_stop(models, tmp_path):
    ready = tmp_path / "ready"
    with model_process(models.exported, "--ready-file", str(ready)) as (process, uri):
        assert ready.read_text() == f"{uri}\n"
        running = flightbridge.score(uri, iter(rows(100).to_batches(max_chunksize=1)))
        assert next(running)["prediction"].to_pylist() == [0.0]
        process.terminate()  # with a client in the middle
        assert process.wait(timeout=60) == 0
        assert not ready.exists()


@pytest.mark.parametrize(
    ("options", "code", "says"),
    [
        (["/no/such/model"], 2, "does not exist"),
        (["{model}", "--host", "0.0.0.0"], 2, "--insecure"),
        (["{model}", "--signature", "x"], 2, "signature='x'"),
        (["{model}", "--max-batch-bytes", "none"], 2, "max-batch-bytes"),
        ([], 2, "MODEL"),
    ],
)
def test_the_command_refuses_in_one_line(models, options, code, says):
    given = [option.replace("{model}", str(models.keras)) for option in options]
    done = subprocess.run(
        [sys.executable, "-m", "flightbridge.cli", "serve-model", *given],
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == code, done.stderr
    lines = [line for line in done.stderr.splitlines() if line.startswith("flightbridge: error: ")]
    assert len(lines) == 1
    assert says in lines[0]
    assert "Traceback" not in done.stderr
