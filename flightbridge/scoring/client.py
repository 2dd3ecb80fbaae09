"""``flightbridge.score``: rows scored by a model server. Needs no TensorFlow."""

from __future__ import annotations

import contextlib
import queue
import threading
import time
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.flight

from flightbridge.config import parse_uri
from flightbridge.credentials import Credentials, resolve
from flightbridge.errors import (
    DataLossError,
    DeadlineExceededError,
    FlightBridgeError,
    InvalidArgumentError,
)
from flightbridge.scoring import wire
from flightbridge.scoring.request import DEFAULT_BATCH_SIZE, Columns, ScoreRequest, make_request
from flightbridge.scoring.slices import conformed, cut, joined
from flightbridge.write_input import batches_of

WINDOW = 4
"""Record batches on their way at the same time."""
MAX_BATCH_BYTES = 4 << 20
DEFAULT_TIMEOUT_S = 60.0
_END = object()


@dataclass(frozen=True)
class ModelAddress:
    """Where a model is served and how to get in. Picklable; a token never reaches a log."""

    uri: str
    credentials: Credentials
    timeout_s: float

    def connect(self) -> pa.flight.FlightClient:
        """A new connection; the caller closes it."""
        said = self.credentials
        tls = {
            "tls_root_certs": said.tls_ca,
            "cert_chain": said.tls_client_cert,
            "private_key": said.tls_client_key,
        }
        files: dict[str, Any] = {name: _read(path) for name, path in tls.items() if path}
        if said.tls_override_hostname:
            files["override_hostname"] = said.tls_override_hostname
        # Without its own pool of subchannels it shares one connection with others of the process.
        return pa.flight.FlightClient(
            self.uri, generic_options=[("grpc.use_local_subchannel_pool", 1)], **files
        )

    def options(self, timeout_s: float | None = None) -> pa.flight.FlightCallOptions:
        """Of a call; ``timeout_s``: of all of it, None for streams."""
        headers = []
        if self.credentials.token:
            headers.append((b"authorization", f"Bearer {self.credentials.token}".encode()))
        return pa.flight.FlightCallOptions(timeout=timeout_s, headers=headers)


def make_address(
    uri: Any, *, timeout_s: float = DEFAULT_TIMEOUT_S, **credentials: Any
) -> ModelAddress:
    """A checked address.

    Raises:
        InvalidArgumentError: The uri or a setting is malformed.
    """
    found = uri if isinstance(uri, str) else getattr(uri, "uri", uri)
    parse_uri(found)
    if (
        isinstance(timeout_s, bool)
        or not isinstance(timeout_s, (int, float))
        or not 0 < timeout_s <= 86_400
    ):
        raise InvalidArgumentError(
            f"timeout_s={timeout_s!r} is out of range: give seconds above 0, at most 86400"
        )
    return ModelAddress(found, resolve(found, **credentials), float(timeout_s))


def describe(address: ModelAddress, request: ScoreRequest, schema: pa.Schema) -> wire.Description:
    """What the server's model would make of these columns.

    Raises:
        ServerUnavailableError: No server answers.
        SchemaMismatchError: An input has no column, or one that does not fit.
        FlightBridgeError: Whatever else the server has against it.
    """
    body = wire.encode_question(request, schema)
    with address.connect() as client:
        try:
            results = list(
                client.do_action(
                    pa.flight.Action(wire.DESCRIBE, body), address.options(address.timeout_s)
                )
            )
        except pa.ArrowException as error:
            raise wire.cause_of(error, address.uri) from error
    return wire.Description.parse(results[0].body.to_pybytes())


def score(
    uri: Any,
    data: pa.Table | pa.RecordBatch | pa.RecordBatchReader | Iterable[pa.RecordBatch],
    *,
    columns: Columns = None,
    outputs: Iterable[str] | Mapping[str, str] | None = None,
    keep: Iterable[str] | None = None,
    schema: pa.Schema | None = None,
    batch_size: int = DEFAULT_BATCH_SIZE,
    token: str | None = None,
    tls_ca: Any = None,
    tls_client_cert: Any = None,
    tls_client_key: Any = None,
    tls_override_hostname: str | None = None,
    timeout_s: float = DEFAULT_TIMEOUT_S,
    **options: Any,
) -> Any:
    """Rows with the predictions of a model that ``flightbridge serve-model`` serves.

    Args:
        uri: The model server, ``grpc://HOST:PORT`` or ``grpc+tls://HOST:PORT``.
        data: The rows: a table, a batch, a reader, or batches from any iterable.
        columns: As in :func:`flightbridge.spark.predict`, like ``outputs`` and ``batch_size``.
        outputs: Outputs to keep, or a dict from output to column.
        keep: Columns of ``data`` that stay beside the predictions; None: all.
        schema: Types of the predictions; None: as the model makes them.
        batch_size: Rows that the model is given at a time, at most.
        token: Bearer token; None: the environment variable ``FLIGHTBRIDGE_TOKEN``.
        tls_ca: PEM file of CAs, as in :func:`flightbridge.connect`, like the next three.
        tls_client_cert: PEM file of this client's certificate.
        tls_client_key: PEM file of its key.
        tls_override_hostname: Name to look for in the server's certificate.
        timeout_s: Deadline in seconds of every wait.
        options: The options of columns, ``dtypes``, ``fill`` and so on.

    Returns:
        A table for a table; else an iterator of record batches, in which a few are on their way at
        a time, so that data of any size passes through.

    Raises:
        InvalidArgumentError: A setting is malformed, a null, or a value that does not fit.
        SchemaMismatchError: An input has no column, or one that does not fit.
        ServerUnavailableError: No server answers at ``uri``, or it goes away.
        DeadlineExceededError: It takes or gives nothing for ``timeout_s``.
        UnauthenticatedError: It wants a token, or another one.
    """
    address = make_address(
        uri,
        timeout_s=timeout_s,
        token=token,
        tls_ca=tls_ca,
        tls_client_cert=tls_client_cert,
        tls_client_key=tls_client_key,
        tls_override_hostname=tls_override_hostname,
    )
    request = make_request(
        columns=columns, outputs=outputs, batch_size=batch_size, schema=schema, **options
    )
    found, batches = batches_of(data)
    kept = list(found.names if keep is None else keep)
    for name in kept:
        if name not in found.names:
            raise InvalidArgumentError(
                f"keep has {name!r}, which is not among the columns "
                f"{', '.join(map(repr, found.names))}"
            )
    said = describe(address, request, found)
    made = said.made if said.made is not None else pa.schema([])
    for name in made.names:
        if name in kept:
            raise InvalidArgumentError(
                f"column {name!r} is there already, and an output has its name: rename that, "
                f"outputs={{{name!r}: 'other'}}, or leave the column out, keep=[...]"
            )
    reads = pa.schema([found.field(name) for name in said.reads])
    scored = exchange(address, request, reads, batches, kept)
    if not isinstance(data, pa.Table):
        return scored
    whole = pa.schema([*(found.field(name) for name in kept), *made])
    return pa.Table.from_batches([batch.cast(whole) for batch in scored], schema=whole)


def exchange(
    address: ModelAddress,
    request: ScoreRequest,
    reads: pa.Schema,
    batches: Iterable[pa.RecordBatch],
    keep: list[str],
) -> Iterator[pa.RecordBatch]:
    """Batches with their predictions behind the columns that are kept, in order.

    Holds :data:`WINDOW` pieces of about :data:`MAX_BATCH_BYTES` at most. ``batches`` is used by the
    calling thread only.

    Raises:
        DataLossError: The server has sent fewer or other predictions than there are rows.
        FlightBridgeError: As :func:`score` does.
    """
    with address.connect() as client:
        stream = _Exchange(address, client, request, reads)
        try:
            waiting: deque[pa.RecordBatch] = deque()
            for batch in batches:
                for piece in cut(batch, MAX_BATCH_BYTES):
                    while len(waiting) >= WINDOW or (waiting and stream.ready()):
                        yield from _paired(waiting.popleft(), keep, stream.next())
                    stream.send(conformed(piece, reads))
                    waiting.append(piece)
            stream.finish()
            while waiting:
                yield from _paired(waiting.popleft(), keep, stream.next())
            stream.expect_end()
        finally:
            stream.close()


def _paired(
    piece: pa.RecordBatch, keep: list[str], made: pa.RecordBatch
) -> Iterator[pa.RecordBatch]:
    if made.num_rows != piece.num_rows:
        raise DataLossError(
            f"the model server has sent {made.num_rows} predictions for {piece.num_rows} rows: "
            "score them again"
        )
    return joined([piece.select(keep)], made)


class _Exchange:
    """One ``DoExchange``, with a deadline for every wait."""

    def __init__(
        self,
        address: ModelAddress,
        client: pa.flight.FlightClient,
        request: ScoreRequest,
        reads: pa.Schema,
    ) -> None:
        self._address = address
        self._made: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._until: float | None = None
        self._changed = threading.Condition()
        self._closed = self._expired = False
        try:
            self._writer, self._reader = client.do_exchange(
                pa.flight.FlightDescriptor.for_command(request.encode()), address.options()
            )
        except pa.ArrowException as error:
            raise wire.cause_of(error, address.uri) from error
        # Somebody must read at all times: else server and client wait for each other to take.
        self._receiver = threading.Thread(target=self._receive, name="fb-score-read", daemon=True)
        self._receiver.start()
        threading.Thread(target=self._watch, name="fb-score-watch", daemon=True).start()
        try:
            self._write(lambda: self._writer.begin(reads))
        except BaseException:
            self.close()
            raise

    def send(self, batch: pa.RecordBatch) -> None:
        self._write(lambda: self._writer.write_batch(batch))

    def finish(self) -> None:
        self._write(self._writer.done_writing)

    def ready(self) -> bool:
        return not self._made.empty()

    def next(self) -> pa.RecordBatch:
        found = self._take()
        if found is _END:
            raise DataLossError(
                f"model server {self._address.uri} has ended the stream before its last "
                "predictions: score the rows again"
            )
        return found

    def expect_end(self) -> None:
        if self._take() is not _END:
            raise DataLossError(
                f"model server {self._address.uri} has sent more predictions than there are rows"
            )

    def close(self) -> None:
        with self._changed:
            self._closed = True
            self._changed.notify()
        self._reader.cancel()
        self._receiver.join(timeout=self._address.timeout_s)
        with contextlib.suppress(pa.ArrowException, OSError):  # what it ended with is known
            self._writer.close()

    def _take(self) -> Any:
        try:
            found = self._made.get(timeout=self._address.timeout_s)
        except queue.Empty:
            raise self._late() from None
        if isinstance(found, Exception):
            raise self._late() if self._expired else found
        return found

    def _write(self, write: Any) -> None:
        with self._changed:
            self._until = time.monotonic() + self._address.timeout_s
            self._changed.notify()
        try:
            write()
        except (pa.ArrowException, OSError) as error:
            # What the server has against it is what the other direction ends with.
            while self._take() is not _END:
                pass
            raise wire.cause_of(error, self._address.uri) from error
        finally:
            with self._changed:
                self._until = None

    def _receive(self) -> None:
        try:
            while True:
                chunk = self._reader.read_chunk()
                if chunk.data is not None:
                    self._made.put(chunk.data)
        except StopIteration:
            self._made.put(_END)
        except pa.ArrowException as error:
            self._made.put(wire.cause_of(error, self._address.uri))
        except Exception as error:
            self._made.put(FlightBridgeError(f"model server {self._address.uri}: {error}"))

    def _watch(self) -> None:
        """Ends the call when a write takes too long: nothing else wakes it."""
        with self._changed:
            while not self._closed:
                left = None if self._until is None else self._until - time.monotonic()
                if left is not None and left <= 0:
                    self._expired = True
                    self._until = None
                    self._reader.cancel()
                    continue
                self._changed.wait(left)

    def _late(self) -> DeadlineExceededError:
        return DeadlineExceededError(
            f"model server {self._address.uri} has taken or given nothing for "
            f"{self._address.timeout_s:g} s: raise timeout_s where the model is slow, or give it "
            "smaller batches (batch_size)"
        )


def _read(path: str) -> bytes:
    with open(path, "rb") as file:  # noqa: PTH123
        return file.read()
