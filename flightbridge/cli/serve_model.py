"""``flightbridge serve-model``: a model as a process of its own."""

from __future__ import annotations

import logging
import os
import sys
from pathlib import Path
from typing import Any

import click

from flightbridge.cli import settings

log = logging.getLogger("flightbridge.serve-model")


@click.command("serve-model")
@click.argument("model")
@settings.options(settings.SERVE_MODEL)
def serve_model(model: str, **values: Any) -> None:
    """Serve a model until SIGTERM or SIGINT: rows go up, predictions come down.

    MODEL is a SavedModel's directory, or a .keras or .h5 file. Prints one line on stdout when
    calls are served, "flightbridge: serving model NAME on grpc://HOST:PORT", and logs on stderr.
    The first SIGTERM or SIGINT lets running batches finish within --grace and ends with exit
    code 0.

    \b
    Examples:
      flightbridge serve-model /models/ratings.keras
      flightbridge serve-model /models/ratings --signature serve --port 0 --ready-file uri.txt
      flightbridge serve-model /models/ratings --host 0.0.0.0 --tls-cert tls.crt \\
          --tls-key tls.key --token-file tokens
    """  # noqa: D301 (click reads the backspace)
    from flightbridge.cli.ready import ReadyFile
    from flightbridge.cli.serve import log_to_stderr, say_ready
    from flightbridge.cli.stop import StopSignals

    log_to_stderr(values["log_level"])
    ready_file, grace = values["ready_file"], values["grace"]
    with StopSignals() as signals:  # before any thread starts: TensorFlow has many
        ready = ReadyFile(Path(ready_file)) if ready_file is not None else None
        server = _start(model, values)
        try:
            if not signals.stopping:
                if ready is not None:
                    ready.announce(server.uri)
                say_ready(f"flightbridge: serving model {server.name} on {server.uri}\n")
            log.info("got %s, stopping (grace %g s)", signals.wait(), grace)
        finally:
            if ready is not None:
                ready.remove()
            done = server.stop(grace_s=grace)
    if not done:
        log.warning("a model was still at work on a batch: not waiting for it")
    log.info("stopped")
    # TensorFlow's and gRPC's threads may be at work still: there is nothing left to be lost.
    sys.stderr.flush()
    if not done:
        os._exit(0)


def _start(model: str, values: dict[str, Any]) -> Any:
    from flightbridge.errors import PermissionDeniedError
    from flightbridge.scoring.server import ModelServer

    modules = values["modules"]
    try:
        server = ModelServer(
            model,
            host=values["host"],
            port=values["port"],
            name=values["name"],
            signature=values["signature"],
            modules=[] if modules is None else modules.split(","),
            max_batch_bytes=values["max_batch_bytes"],
            max_streams=values["max_streams"],
            idle_timeout_s=values["idle_timeout"],
            control_port=None if values["control_port"] < 0 else values["control_port"],
            token_file=values["token_file"],
            tls_cert=values["tls_cert"],
            tls_key=values["tls_key"],
            tls_client_ca=values["tls_client_ca"],
            insecure=values["insecure"],
        )
    except PermissionDeniedError as error:
        # A host or port that needs another option, not something that failed.
        raise click.UsageError(str(error)) from error
    log.info("pid %d, model %s, control port %s", os.getpid(), model, server.control_uri or "off")
    if values["insecure"] and values["token_file"] is None:
        log.warning("--insecure: no token; whoever reaches %s can score", server.uri)
    elif values["insecure"] and values["tls_cert"] is None:
        log.warning("--insecure: no TLS; whoever sees the way to %s can read tokens", server.uri)
    return server
