"""Which processor a scoring process may use, settled before TensorFlow looks.

Never run on a GPU: what is written here follows TensorFlow's and Spark's documentation.
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass

from flightbridge.errors import InvalidArgumentError
from flightbridge.scoring.models import import_tensorflow

log = logging.getLogger("flightbridge.scoring")

DEVICES = ("auto", "cpu", "gpu")
_VISIBLE = "CUDA_VISIBLE_DEVICES"


@dataclass
class _Settled:
    """What this process was told first: TensorFlow cannot be told otherwise later."""

    visible: str


_settled: _Settled | None = None


def check_device(device: str) -> str:
    """The device, if it is one.

    Raises:
        InvalidArgumentError: It is not known.
    """
    if device not in DEVICES:
        raise InvalidArgumentError(
            f"device={device!r} is not known: give one of {', '.join(map(repr, DEVICES))}"
        )
    return device


def prepare(device: str, *, assigned: Sequence[str] = (), cpus: int | None = None) -> None:
    """Settles devices and threads of this process; at once where that is done already.

    Args:
        device: ``"auto"``: the GPUs in ``assigned``, else the CPU. ``"cpu"``. ``"gpu"``: those in
            ``assigned``, else all that there are.
        assigned: Addresses of GPUs that are this task's alone, as Spark gives them.
        cpus: Threads for the operations of a model; None leaves it to TensorFlow.
    """
    global _settled
    visible = ",".join(assigned) if device != "cpu" else ""
    wanted = visible or ("all" if device == "gpu" else "none")
    if _settled is not None:
        if _settled.visible != wanted:
            # Wrong for nobody but the other task on that GPU: memory growth is on.
            log.warning(
                "this worker was started with GPU %s and now has a task with GPU %s: it stays with "
                "the first; give each executor one GPU, or set spark.python.worker.reuse=false",
                _settled.visible,
                wanted,
            )
        return
    if visible and "tensorflow" not in sys.modules:
        os.environ[_VISIBLE] = visible  # takes indices and UUIDs alike
    tf = import_tensorflow()
    _settled = _Settled(wanted)
    try:
        if cpus is not None:
            tf.config.threading.set_intra_op_parallelism_threads(cpus)
            tf.config.threading.set_inter_op_parallelism_threads(cpus)
        gpus = tf.config.list_physical_devices("GPU")
        if wanted == "none":
            tf.config.set_visible_devices([], "GPU")
            gpus = []
        for gpu in gpus:
            tf.config.experimental.set_memory_growth(gpu, True)
    except RuntimeError as error:  # somebody has used TensorFlow in this process before
        log.warning("devices and threads stay as they are in this process: %s", error)
        return
    if wanted != "none" and not gpus:
        log.warning("GPU %s is wanted and TensorFlow finds none: scoring on the CPU", wanted)
