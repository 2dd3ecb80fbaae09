"""Facts about the tf.data op, for ``flightbridge doctor``."""

from __future__ import annotations

from typing import Any

from flightbridge.errors import FlightBridgeError


def diagnose() -> dict[str, Any]:
    """What is known of TensorFlow and the op; never raises, never builds.

    Returns:
        A dict of

        * ``tensorflow``: installed version, or None;
        * ``built_for``: TensorFlow version of the op in the wheel, or None;
        * ``op_path``: the op that would be loaded, or None where it must be built first;
        * ``abi_match``: whether ``op_path`` fits the installed TensorFlow;
        * ``compiler``: the C++ compiler that would build it, or None;
        * ``keras``: version, or None;
        * ``gpus``: number of GPUs that TensorFlow sees;
        * ``problem`` and ``remedy``: text, or None where all is well.
    """
    from flightbridge.tf import _op, build

    facts: dict[str, Any] = dict.fromkeys(
        ("tensorflow", "built_for", "op_path", "compiler", "keras", "problem", "remedy")
    )
    facts |= {"abi_match": False, "gpus": 0, "compiler": build.compiler()}
    try:
        record = _op.record()
        facts["built_for"] = record.get("tensorflow")
        tf = build.TensorFlow.installed()
        facts["tensorflow"] = tf.version
        facts["keras"], facts["gpus"] = _keras_version(), _gpus()
        _op.core()
        path = build.cached_library(tf)
        if not path.exists() and _op.fits(record, tf):
            path = _op.installed_library()
    except (FlightBridgeError, OSError) as error:
        facts["problem"] = str(error)
        facts["remedy"] = (
            "pip install 'flightbridge[tensorflow]'"
            if facts["tensorflow"] is None
            else "pip install --force-reinstall flightbridge"
        )
        return facts
    if path.exists():
        facts |= {"op_path": str(path), "abi_match": True}
    else:
        facts["problem"] = (
            f"the tf.data op was built for TensorFlow {_op.built_for()}, but TensorFlow "
            f"{tf.version} is installed; it is rebuilt at its first use"
        )
        facts["remedy"] = build.COMMAND
        if facts["compiler"] is None:
            facts["remedy"] = f"apt-get install g++ && {build.COMMAND}"
    return facts


def _keras_version() -> str | None:
    import importlib.metadata

    try:
        return importlib.metadata.version("keras")
    except importlib.metadata.PackageNotFoundError:
        return None


def _gpus() -> int:
    import tensorflow as tf

    return len(tf.config.list_physical_devices("GPU"))
