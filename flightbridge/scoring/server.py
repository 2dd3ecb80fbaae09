"""A model behind a port: Flight's ``DoExchange`` with rows going up and predictions coming down.

In Python, unlike the data plane: what takes time here is the model. Where it may listen, tokens and
the size of messages are checked by the same native code as :class:`flightbridge.Server`'s.
"""

from __future__ import annotations

import contextlib
import logging
import os
import re
import threading
import time
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.flight

from flightbridge import tls as tls_files
from flightbridge._native._gate import NativeGate, limit_ipc_messages
from flightbridge.closing import Closing
from flightbridge.config import format_bytes, parse_bytes
from flightbridge.control import ControlServer
from flightbridge.errors import (
    FlightBridgeError,
    InvalidArgumentError,
    ResourceExhaustedError,
    ServerUnavailableError,
)
from flightbridge.scoring import models, wire
from flightbridge.scoring.request import ScoreRequest, decode
from flightbridge.scoring.scorer import Scorer
from flightbridge.scoring.slices import conformed, groups
from flightbridge.scoring.watch import IdleWatch

log = logging.getLogger("flightbridge.scoring")

MAX_SCORERS = 16
CUT_S = 15.0  # for calls whose connections are ended to come to their end
_NAME = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9_.-]{0,199}")
_MIDDLEWARE = "flightbridge-gate"


class ModelServer(Closing):
    """Serves one model, from when it is constructed until :meth:`stop`. Thread-safe.

    Attributes:
        name: Of the model; tokens need the scope ``read`` on it.
        uri: ``grpc://HOST:PORT``; ``grpc+tls://`` with TLS.
        control_uri: As ``uri``, of the health service; None without one.
    """

    def __init__(
        self,
        model: str | os.PathLike[str],
        host: str = "127.0.0.1",
        port: int = 0,
        *,
        name: str | None = None,
        signature: str | None = None,
        modules: Sequence[str] = (),
        max_batch_bytes: int | str = "64MiB",
        max_streams: int = 64,
        idle_timeout_s: float = 300.0,
        control_port: int | None = None,
        token_file: str | os.PathLike[str] | None = None,
        tls_cert: str | os.PathLike[str] | None = None,
        tls_key: str | os.PathLike[str] | None = None,
        tls_client_ca: str | os.PathLike[str] | None = None,
        insecure: bool = False,
    ) -> None:
        """Loads the model and serves it.

        Args:
            model: As in :func:`flightbridge.spark.predict`, like ``signature`` and ``modules``.
            host: Address to listen on. One that other machines can reach needs TLS and tokens, or
                ``insecure=True``.
            port: Port to listen on; 0 picks a free one.
            name: What tokens call the model; None: the path's last part, without suffix.
            signature: Of a SavedModel.
            modules: Python modules to import first.
            max_batch_bytes: Bytes (or text) above which a record batch is refused, as are options
                that would make the tensors of ``batch_size`` rows larger.
            max_streams: Exchanges at the same time; one more is refused.
            idle_timeout_s: Seconds that a client may neither send nor take anything.
            control_port: Port of ``grpc.health.v1``; 0 picks a free one, None serves none.
            token_file: As in :class:`flightbridge.Server`, like all below.
            tls_cert: PEM file with the server's certificate chain.
            tls_key: PEM file with its key.
            tls_client_ca: PEM file of the CAs that must have signed every client's certificate.
            insecure: Allow a host that other machines can reach, without TLS or without tokens.

        Raises:
            InvalidArgumentError: A setting is outside what is allowed, or there is no such model.
            FailedPreconditionError: TensorFlow is missing, or the port is in use.
            PermissionDeniedError: The host is not loopback, TLS or tokens are missing, and
                ``insecure`` is not set.
        """
        ref = models.make_ref(model, signature, modules)
        self.name = _name_of(ref.path, name)
        tls = _tls_of(tls_cert, tls_key, tls_client_ca)
        gate = NativeGate(host, port, tls is not None, _absolute(token_file), bool(insecure))
        self._watch: IdleWatch | None = None
        self._control: ControlServer | None = None
        loaded = models.load(ref)
        self._watch = IdleWatch(idle_timeout_s)
        address = f"[{host}]" if ":" in host else host
        scheme = "grpc" if tls is None else "grpc+tls"
        self._service = _Service(
            f"{scheme}://{address}:{port}",
            tls,
            gate,
            self.name,
            loaded,
            self._watch,
            parse_bytes(max_batch_bytes, "max_batch_bytes"),
            max_streams,
        )
        self.uri = f"{scheme}://{address}:{self._service.port}"
        self.control_uri: str | None = None
        if control_port is not None:
            paths = ("", "", "") if tls is None else tls.paths
            try:
                self._control = ControlServer(host, control_port, tls=paths)
            except BaseException:
                self.stop(grace_s=0)
                raise
            self.control_uri = self._control.uri

    def stop(self, grace_s: float = 5.0) -> bool:
        """Refuses new calls, gives running ones ``grace_s`` seconds, then ends their connections.

        Returns whether the server is down; False where a model is still at work on a batch.
        Idempotent.
        """
        if self._control is not None:
            self._control.draining()
        done = self._service.stop(grace_s)
        if self._watch is not None:
            self._watch.close()
        if self._control is not None:
            self._control.stop()
        return done

    def _leave(self) -> None:
        self.stop()

    def __repr__(self) -> str:
        return f"<flightbridge.scoring.ModelServer {self.uri} {self.name}>"


class _Tls:
    def __init__(self, cert: str, key: str, client_ca: str) -> None:
        self.paths = (cert, key, client_ca)
        self.certificates = [(Path(cert).read_bytes(), Path(key).read_bytes())]
        self.client_ca = Path(client_ca).read_bytes() if client_ca else None


class _Gatekeeper(pa.flight.ServerMiddlewareFactory):  # type: ignore[misc]
    """Refuses calls before anything of them is read."""

    def __init__(self, gate: NativeGate, name: str) -> None:
        super().__init__()
        self._gate = gate
        self._name = name

    def start_call(self, info: Any, headers: dict[str, list[str | bytes]]) -> None:
        given = headers.get("authorization", [""])[0]
        header = given.decode("latin-1") if isinstance(given, bytes) else given
        try:
            self._gate.admit(header, self._name)
        except FlightBridgeError as error:
            raise wire.reply(error) from None


class _Service(pa.flight.FlightServerBase):  # type: ignore[misc]
    def __init__(
        self,
        location: str,
        tls: _Tls | None,
        gate: NativeGate,
        name: str,
        model: models.Model,
        watch: IdleWatch,
        max_batch_bytes: int,
        max_streams: int,
    ) -> None:
        self._model = model
        self._watch = watch
        self._max_batch_bytes = max_batch_bytes
        self._max_streams = max_streams
        self._lock = threading.Lock()
        self._streams = 0
        self._stopping = False
        self._down: threading.Thread | None = None
        self._scorers: OrderedDict[tuple[bytes, bytes], Scorer] = OrderedDict()
        super().__init__(
            location,
            tls_certificates=None if tls is None else tls.certificates,
            verify_client=tls is not None and tls.client_ca is not None,
            root_certificates=None if tls is None else tls.client_ca,
            middleware={_MIDDLEWARE: _Gatekeeper(gate, name)},
        )

    def stop(self, grace_s: float) -> bool:
        with self._lock:
            self._stopping = True
            if self._down is None:
                # It waits for running calls, which nobody here can bound.
                self._down = threading.Thread(target=self.shutdown, name="fb-stop", daemon=True)
                self._down.start()
        self._down.join(timeout=grace_s)
        until = time.monotonic() + CUT_S
        while self._down.is_alive() and time.monotonic() < until:
            self._watch.cut_all()  # again and again: a call may begin to wait just now
            self._down.join(timeout=0.1)
        return not self._down.is_alive()

    # ---- Flight's methods -----------------------------------------------------------------

    def list_actions(self, context: Any) -> list[tuple[str, str]]:
        return [(wire.DESCRIBE, "what the model makes of columns; no body: what it takes")]

    def do_action(self, context: Any, action: Any) -> Iterator[pa.flight.Result]:
        with _replies():
            if action.type != wire.DESCRIBE:
                raise InvalidArgumentError(
                    f"action {action.type[:80]!r} is not known here: this is a model server"
                )
            body = action.body.to_pybytes() if action.body is not None else b""
            asked = wire.decode_question(body)
            title, inputs = self._model.title, self._model.inputs
            if asked is None:
                said = wire.Description(title, inputs)
            else:
                scorer = self._scorer(*asked)
                said = wire.Description(
                    title,
                    inputs,
                    tuple(scorer.schema.names),
                    scorer.outputs,
                    scorer.output_schema,
                )
            return iter([pa.flight.Result(said.encode())])

    def do_exchange(self, context: Any, descriptor: Any, reader: Any, writer: Any) -> None:
        limit_ipc_messages(self._max_batch_bytes)
        peer = context.peer()
        with _replies(), self._stream():
            command = descriptor.command
            request = decode(command if isinstance(command, bytes) else b"")
            with self._watch.waiting(peer):
                schema = reader.schema
            scorer = self._scorer(request, schema)
            writer.begin(scorer.output_schema)
            for batch in self._batches(reader, peer):
                made = self._score(scorer, batch)
                with self._watch.waiting(peer):
                    writer.write_batch(made)

    # ---- one stream -----------------------------------------------------------------------

    @contextlib.contextmanager
    def _stream(self) -> Iterator[None]:
        with self._lock:
            if self._stopping:
                raise ServerUnavailableError("this model server is stopping: score with another")
            if self._streams >= self._max_streams:
                raise ResourceExhaustedError(
                    f"{self._streams} exchanges are running, which is --max-streams: try again "
                    "later, or start the server with more"
                )
            self._streams += 1
        try:
            yield
        finally:
            with self._lock:
                self._streams -= 1

    def _batches(self, reader: Any, peer: str) -> Iterator[pa.RecordBatch]:
        while not self._stopping:
            try:
                with self._watch.waiting(peer):
                    chunk = reader.read_chunk()
            except StopIteration:
                return
            if chunk.data is not None:
                yield self._checked(chunk.data)
        raise ServerUnavailableError("this model server is stopping: score the rest with another")

    def _checked(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        if batch.nbytes > self._max_batch_bytes:
            raise ResourceExhaustedError(
                f"a record batch is {format_bytes(batch.nbytes)}, larger than max_batch_bytes, "
                f"{format_bytes(self._max_batch_bytes)}: send smaller ones"
            )
        try:
            batch.validate(full=True)  # native code follows its offsets
        except pa.ArrowException as error:
            raise InvalidArgumentError(f"a record batch is damaged: {error}") from error
        return batch

    def _score(self, scorer: Scorer, batch: pa.RecordBatch) -> pa.RecordBatch:
        rows = conformed(batch, scorer.schema)
        made = [scorer.score(pieces) for pieces in groups([rows], scorer.batch_size)]
        if len(made) == 1:
            return made[0]
        table = pa.Table.from_batches(made, schema=scorer.output_schema).combine_chunks()
        batches = table.to_batches()
        return batches[0] if batches else scorer.score([])

    def _scorer(self, request: ScoreRequest, schema: pa.Schema) -> Scorer:
        key = (request.encode(), schema.serialize().to_pybytes())
        with self._lock:
            found = self._scorers.get(key)
            if found is not None:
                self._scorers.move_to_end(key)
                return found
        made = Scorer(self._model, request, schema)
        if made.row_bytes() * request.batch_size > self._max_batch_bytes:
            raise ResourceExhaustedError(
                f"batch_size={request.batch_size} rows of {format_bytes(made.row_bytes())} of "
                f"tensors are more than max_batch_bytes, {format_bytes(self._max_batch_bytes)}: "
                "ask for a smaller batch_size, pad_to or vectors"
            )
        with self._lock:
            self._scorers[key] = made
            while len(self._scorers) > MAX_SCORERS:
                self._scorers.popitem(last=False)
        return made


@contextlib.contextmanager
def _replies() -> Iterator[None]:
    """Errors as Flight sends them."""
    try:
        yield
    except FlightBridgeError as error:
        raise wire.reply(error) from error
    except pa.flight.FlightError:
        raise
    except pa.ArrowException as error:
        said = str(error).split(". Detail:")[0]
        if "max_batch_bytes" in said:  # the limit on messages, as Arrow hands it on
            raise wire.reply(ResourceExhaustedError(said)) from error
        raise wire.reply(InvalidArgumentError(f"the stream is damaged: {said}")) from error
    except Exception as error:
        log.exception("a call failed")
        raise wire.reply(FlightBridgeError(f"{type(error).__name__}, see the log")) from error


def _name_of(path: str, name: str | None) -> str:
    found = Path(path).name.split(".")[0] if name is None else name
    if not isinstance(found, str) or not _NAME.fullmatch(found):
        raise InvalidArgumentError(
            f"name={found!r} is no name for a model: give 1 to 200 of A-Z a-z 0-9 _ . -, not "
            "starting with a dot (--name)"
        )
    return found


def _tls_of(
    cert: str | os.PathLike[str] | None,
    key: str | os.PathLike[str] | None,
    client_ca: str | os.PathLike[str] | None,
) -> _Tls | None:
    if cert is None and key is None and client_ca is None:
        return None
    if cert is None or key is None:
        raise InvalidArgumentError(
            "tls_cert and tls_key belong together, and tls_client_ca needs both: give them all"
        )
    tls_files.check_pair("tls_cert", os.fspath(cert), "tls_key", os.fspath(key))
    if client_ca is not None:
        tls_files.check_certificates("tls_client_ca", os.fspath(client_ca))
    return _Tls(_absolute(cert), _absolute(key), _absolute(client_ca))


def _absolute(path: str | os.PathLike[str] | None) -> str:
    return "" if path is None else str(Path(os.fsdecode(path)).absolute())
