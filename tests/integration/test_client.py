"""The Python client against a real server, over the socket and without it."""

import multiprocessing
import os
import pickle
import signal
import socket
import subprocess
import sys
import threading
import time

import pyarrow as pa
import pytest

import flightbridge
from flightbridge import errors
from flightbridge.client import AttemptRef, FeedState

TIMEOUT_S = 20.0


def table_of(rows: int, begin: int = 0) -> pa.Table:
    ids = range(begin, begin + rows)
    return pa.table(
        {
            "id": pa.array(ids, pa.int64()),
            "name": pa.array([None if i % 3 == 0 else f"n{i}" for i in ids], pa.string()),
            "genres": pa.array([list(range(i % 4)) for i in ids], pa.list_(pa.int32())),
            "seen": pa.array([i % 2 == 0 for i in ids], pa.bool_()),
        }
    )


@pytest.fixture
def bridge():
    with flightbridge.Server() as server:
        yield server


@pytest.fixture(params=["local", "mapped", "channel", "flight"])
def client(request, bridge):
    with flightbridge.connect(
        bridge.uri, timeout_s=TIMEOUT_S, transport=request.param
    ) as connected:
        yield connected


@pytest.fixture
def remote_uri():
    """A server in another process, and that process."""
    program = (
        "import sys, flightbridge\n"
        "with flightbridge.Server() as bridge:\n"
        "    print(bridge.uri, flush=True)\n"
        "    sys.stdin.read()\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            yield process.stdout.readline().strip(), process
        finally:
            process.send_signal(signal.SIGCONT)
            process.stdin.close()
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()


class TestWholeFeeds:
    def test_table_comes_back_as_it_was(self, client):
        table = table_of(1000)
        info = client.write("f", table)
        assert (info.feed, info.rows, info.state) == ("f", 1000, FeedState.COMMITTED)
        assert client.read_table("f").equals(table)
        assert client.feed("f") == info
        assert client.feeds() == [info]
        assert client.schema("f") == table.schema
        assert client.status().feeds == 1

    @pytest.mark.parametrize("rows", [1, 333, 334, 1000, 5000])
    def test_partition_rows_cuts_exactly(self, client, rows):
        table = pa.concat_tables([table_of(400), table_of(600, begin=400)])
        info = client.write("f", table, partition_rows=rows)
        expected = [rows] * (1000 // rows) + ([1000 % rows] if 1000 % rows else [])
        assert [p.rows for p in info.partitions] == expected
        assert client.read_table("f").equals(table.combine_chunks())

    def test_every_kind_of_data_is_taken(self, client):
        table = table_of(100)
        batches = table.to_batches(max_chunksize=30)
        for i, data in enumerate(
            [
                table.combine_chunks().to_batches()[0],
                pa.RecordBatchReader.from_batches(table.schema, batches),
                batches,
                (batch for batch in batches),
            ]
        ):
            assert client.write(f"f{i}", data).rows == 100
            assert client.read_table(f"f{i}").equals(table)

    def test_empty_table_makes_an_empty_feed(self, client):
        table = table_of(0)
        info = client.write("f", table, partition_rows=10)
        assert (info.rows, len(info.partitions)) == (0, 1)
        assert client.read_table("f").equals(table)

    def test_columns_and_partitions_select(self, client):
        table = table_of(100)
        client.write("f", table, partition_rows=25)
        got = client.read_table("f", columns=["name", "id"], partitions=[2, 0])
        expected = pa.concat_tables([table.slice(50, 25), table.slice(0, 25)])
        assert got.equals(expected.select(["name", "id"]))
        none = client.read_table("f", columns=["id"], partitions=[])
        assert none.schema == table.select(["id"]).schema
        assert none.num_rows == 0

    def test_read_is_a_pyarrow_reader(self, client):
        table = table_of(100)
        client.write("f", table)
        reader = client.read("f")
        assert isinstance(reader, pa.RecordBatchReader)
        assert reader.schema == table.schema
        assert pa.Table.from_batches(list(reader), reader.schema).equals(table)

    def test_big_batches_round_trip(self, client):
        table = pa.table({"x": pa.array(range(3_000_000), pa.int64())}).combine_chunks()
        info = client.write("f", table)
        assert info.partitions[0].batches >= 3
        assert client.read_table("f").equals(table)

    def test_reader_outlives_client_and_feed(self, client):
        client.write("f", table_of(1000), partition_rows=100)
        reader = client.read("f")
        first = reader.read_next_batch()
        client.drop("f")
        client.close()
        assert first.num_rows + reader.read_all().num_rows == 1000

    def test_threads_share_a_client(self, client):
        table = table_of(500)
        failures = []

        def work(i):
            try:
                client.write(f"f{i}", table)
                assert client.read_table(f"f{i}").equals(table)
            except BaseException as error:
                failures.append(error)

        threads = [threading.Thread(target=work, args=(i,)) for i in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert failures == []


class TestModes:
    def test_errorifexists(self, client):
        client.write("f", table_of(1))
        for mode in ("errorifexists", "error", "ErrorIfExists"):
            with pytest.raises(errors.FeedExistsError, match="'f'"):
                client.write("f", table_of(1), mode=mode)

    def test_ignore(self, client):
        info = client.write("f", table_of(1))
        assert client.write("f", table_of(9), mode="ignore") == info
        assert client.write("g", table_of(9), mode="ignore").rows == 9

    def test_overwrite(self, client):
        first = client.write("f", table_of(5))
        second = client.write("f", pa.table({"y": [1.5]}), mode="overwrite")
        assert second.feed_id != first.feed_id
        assert client.read_table("f").to_pydict() == {"y": [1.5]}

    def test_append(self, client):
        client.write("f", table_of(5))
        info = client.write("f", table_of(5, begin=5), mode="append")
        assert [p.rows for p in info.partitions] == [5, 5]
        assert client.read_table("f").equals(table_of(10))

    def test_append_of_another_schema(self, client):
        client.write("f", pa.table({"x": [1]}))
        with pytest.raises(errors.SchemaMismatchError, match="x"):
            client.write("f", pa.table({"x": ["a"]}), mode="append")
        assert client.read_table("f").num_rows == 1

    def test_unknown_mode(self, client):
        with pytest.raises(errors.InvalidArgumentError, match=r"mode='replace'.*overwrite"):
            client.write("f", table_of(1), mode="replace")


class TestJobs:
    def test_commit_is_idempotent_and_picks_attempts(self, client):
        table = table_of(10)
        begun = client.begin_write("f", "job", "errorifexists", table.schema)
        assert not begun.skip
        assert not begun.already_committed
        refs = []
        for attempt in (7, 8):
            with client.open_put("f", "job", 0, attempt, table.schema) as put:
                put.write(table.to_batches()[0])
                refs.append(put.finish())
        assert pickle.loads(pickle.dumps(refs[1])) == refs[1]
        info = client.commit_write("f", "job", refs[1:])
        assert client.commit_write("f", "job", refs[1:]) == info
        assert client.begin_write("f", "job", "errorifexists", table.schema).already_committed
        assert client.read_table("f").equals(table)

    def test_leaving_a_put_unfinished_aborts_it(self, client):
        table = table_of(10)
        client.begin_write("f", "job", "errorifexists", table.schema)
        with client.open_put("f", "job", 0, 1, table.schema) as put:
            put.write(table.to_batches()[0])
        with pytest.raises(errors.FailedPreconditionError, match="open another"):
            put.write(table.to_batches()[0])
        with pytest.raises(errors.FlightBridgeError):
            client.commit_write("f", "job", [AttemptRef(0, 1, 10, 1, 0)])
        client.abort_write("f", "job")
        assert client.feeds() == []

    def test_a_failing_source_leaves_nothing(self, client):
        table = table_of(10)

        def failing():
            yield table.to_batches()[0]
            raise RuntimeError("source failed")

        with pytest.raises(RuntimeError, match="source failed"):
            client.write("f", failing())
        assert client.feeds() == []
        assert client.write("f", table).rows == 10

    def test_batch_of_another_schema(self, client):
        with pytest.raises(errors.SchemaMismatchError, match=r"'b: int64'"):
            client.write(
                "f",
                [pa.record_batch({"a": [1]}), pa.record_batch({"b": [1]})],
            )
        assert client.feeds() == []


class TestErrors:
    def test_unknown_names(self, client):
        client.write("f", table_of(3))
        for call in (client.feed, client.schema, client.read, client.drop):
            with pytest.raises(errors.FeedNotFoundError, match="nope"):
                call("nope")
        with pytest.raises(errors.FeedNotFoundError, match=r"nope.*genres"):
            client.read("f", columns=["nope"])
        with pytest.raises(errors.FeedNotFoundError, match="partition 5"):
            client.read("f", partitions=[5])
        client.drop("nope", if_exists=True)

    def test_bad_arguments(self, client):
        with pytest.raises(errors.InvalidArgumentError, match="partition_rows=0"):
            client.write("f", table_of(1), partition_rows=0)
        with pytest.raises(errors.InvalidArgumentError, match="columns"):
            client.read("f", columns=[])
        with pytest.raises(errors.InvalidArgumentError, match="dict"):
            client.write("f", [{"a": 1}])
        with pytest.raises(errors.InvalidArgumentError, match="int"):
            client.write("f", 3)
        with pytest.raises(errors.InvalidArgumentError, match="no batch"):
            client.write("f", [])
        with pytest.raises(errors.InvalidArgumentError, match="feed"):
            client.write("../f", table_of(1))

    def test_closed_client(self, client):
        client.close()
        client.close()
        with pytest.raises(errors.FailedPreconditionError, match="connect again"):
            client.feeds()

    def test_client_cannot_be_pickled(self, client):
        with pytest.raises(errors.FailedPreconditionError, match="uri"):
            pickle.dumps(client)

    def test_full_server(self):
        with (
            flightbridge.Server(memory_limit="16MiB", put_wait_s=0) as bridge,
            flightbridge.connect(bridge.uri, transport="flight") as client,
        ):
            table = pa.table({"x": pa.array(range(8_000_000), pa.int64())})
            with pytest.raises(errors.ResourceExhaustedError):
                client.write("f", table)
            assert client.write("g", table_of(10)).rows == 10


class TestServerTrouble:
    @pytest.mark.parametrize("uri", ["localhost:1", "http://a:1", "grpc://a", "grpc://a:x", ""])
    def test_malformed_uri(self, uri):
        with pytest.raises(errors.InvalidArgumentError, match="grpc://HOST:PORT"):
            flightbridge.connect(uri)

    def test_no_server_fails_fast_with_the_remedy(self):
        with socket.socket() as unused:
            unused.bind(("127.0.0.1", 0))
            uri = f"grpc://127.0.0.1:{unused.getsockname()[1]}"
            start = time.monotonic()
            with pytest.raises(errors.ServerUnavailableError, match="flightbridge serve") as caught:
                flightbridge.connect(uri, timeout_s=5)
        assert uri in str(caught.value)
        assert isinstance(caught.value, ConnectionError)
        assert time.monotonic() - start < 7

    def test_silent_host_fails_at_the_deadline(self):
        with socket.create_server(("127.0.0.1", 0)) as silent:
            start = time.monotonic()
            with pytest.raises(errors.ServerUnavailableError):
                flightbridge.connect(f"grpc://127.0.0.1:{silent.getsockname()[1]}", timeout_s=1)
            assert time.monotonic() - start < 8

    def test_stopped_process_ends_every_wait_at_the_deadline(self, remote_uri):
        uri, process = remote_uri
        client = flightbridge.connect(uri, timeout_s=1.5, transport="channel")
        table = pa.table({"x": pa.array(range(1_000_000), pa.int64())})
        client.write("f", table, partition_rows=100_000)
        client.begin_write("g", "job", "errorifexists", table.schema)
        put = client.open_put("g", "job", 0, 0, table.schema)
        reader = client.read("f")
        process.send_signal(signal.SIGSTOP)
        gone = (errors.DeadlineExceededError, errors.ServerUnavailableError)
        for wait in (
            lambda: [put.write(batch) for _ in range(200) for batch in table.to_batches()],
            reader.read_all,
            client.status,
        ):
            start = time.monotonic()
            with pytest.raises(gone):
                wait()
            assert time.monotonic() - start < 15

    def test_killed_server_is_unavailable_in_the_middle_of_a_put(self, remote_uri):
        uri, process = remote_uri
        client = flightbridge.connect(uri, timeout_s=TIMEOUT_S)
        table = pa.table({"x": pa.array(range(1_000_000), pa.int64())})
        client.begin_write("g", "job", "errorifexists", table.schema)
        put = client.open_put("g", "job", 0, 0, table.schema)
        put.write(table.to_batches()[0])
        process.kill()
        process.wait()

        def write_on():
            for _ in range(1000):
                put.write(table.to_batches()[0])

        with pytest.raises(errors.ServerUnavailableError, match=uri):
            write_on()

    def test_stream_errors_keep_their_type_through_pyarrow(self, remote_uri):
        uri, process = remote_uri
        client = flightbridge.connect(uri, timeout_s=TIMEOUT_S, transport="channel")
        client.write("f", pa.table({"x": pa.array(range(20_000_000), pa.int64())}))
        reader = client.read("f")
        reader.read_next_batch()
        process.kill()
        process.wait()
        with pytest.raises(errors.ServerUnavailableError, match="getting feed 'f'"):
            reader.read_all()


def _in_child(function, *arguments):
    """Runs the function in a forked child; what it returned, or a note that it hung."""
    receive, send = multiprocessing.Pipe(duplex=False)
    pid = os.fork()
    if pid == 0:
        try:
            send.send(function(*arguments))
        except BaseException as error:
            send.send(f"{type(error).__name__}: {error}")
        finally:
            os._exit(0)
    send.close()
    try:
        return receive.recv() if receive.poll(30) else "hung"
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


class TestFork:
    # The process has gRPC threads, and that is the point.
    pytestmark = pytest.mark.filterwarnings("ignore:This process.*is multi-threaded")

    def test_child_of_an_unused_parent_connects(self, remote_uri):
        uri, _ = remote_uri
        # This process has used gRPC already, so the forking parent is a fresh one.
        program = (
            "import os, sys, flightbridge, pyarrow as pa\n"
            "if os.fork() == 0:\n"
            f"    with flightbridge.connect({uri!r}, timeout_s=10) as client:\n"
            "        client.write('f', pa.table({'x': [1, 2, 3]}))\n"
            "        os._exit(client.read_table('f').num_rows)\n"
            f"with flightbridge.connect({uri!r}, timeout_s=10) as client:\n"
            "    sys.exit(os.waitstatus_to_exitcode(os.wait()[1]) - client.feed('f').rows)\n"
        )
        assert subprocess.run([sys.executable, "-c", program], timeout=40).returncode == 0

    def test_child_of_a_parent_with_a_client_is_told_and_does_not_hang(self, remote_uri):
        uri, _ = remote_uri
        client = flightbridge.connect(uri, timeout_s=TIMEOUT_S)
        client.write("f", table_of(10))
        answer = _in_child(flightbridge.connect, uri)
        assert answer.startswith("FailedPreconditionError")
        assert "spawn" in answer
        assert client.feed("f").rows == 10

    def test_child_is_told_not_to_use_the_parents_client(self, client):
        client.write("f", table_of(10))

        def child():
            try:
                client.feed("f")
            except errors.FailedPreconditionError as error:
                return str(error)

        assert "connect again after the fork" in _in_child(child)
        assert client.feed("f").rows == 10

    def test_child_of_a_server_process_is_told_and_does_not_hang(self, bridge):
        assert "which had connected or served" in _in_child(flightbridge.connect, bridge.uri)
