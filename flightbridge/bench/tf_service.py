"""A tf.data service in a process of its own, until its standard input ends."""

from __future__ import annotations

import os
import sys


def main() -> None:
    """Prints ``serving grpc://HOST:PORT`` when it is ready."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    import tensorflow as tf

    service = tf.data.experimental.service
    dispatcher = service.DispatchServer(service.DispatcherConfig(port=0))
    address = dispatcher.target.split("://")[1]
    worker = service.WorkerServer(service.WorkerConfig(dispatcher_address=address, port=0))
    print(f"serving {dispatcher.target}", flush=True)
    sys.stdin.read()
    del worker, dispatcher


if __name__ == "__main__":
    main()
