"""Models small enough to know every answer by heart."""

from __future__ import annotations

import dataclasses
import warnings
from pathlib import Path

import pytest

from .doubler import save_doubler


@dataclasses.dataclass(frozen=True)
class Models:
    """Paths.

    ``keras``, ``exported``: x + f[0] + f[1] + f[2] of float32 x [n, 1] and f [n, 3].
    ``text``: of strings, their length, themselves in capitals, and bytes that are no text.
    ``ragged``: of lists of int64, their sum and twice themselves.
    ``kinds``: of int64 x, an output of each dtype, and shapes.
    """

    root: Path
    keras: Path
    exported: Path
    text: Path
    ragged: Path
    kinds: Path


@pytest.fixture(scope="session")
def models(tmp_path_factory):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Keras's and TensorFlow's own
        return _make_models(tmp_path_factory.mktemp("models"))


def _make_models(root: Path) -> Models:
    import keras
    import tensorflow as tf

    x, f = keras.Input((1,), name="x"), keras.Input((3,), name="f")
    total = keras.layers.Dense(1, kernel_initializer="ones", name="total")
    adder = keras.Model({"x": x, "f": f}, total(keras.layers.Concatenate()([x, f])))
    adder.save(root / "adder.keras")
    adder.export(root / "adder", verbose=False)

    class Text(tf.Module):
        @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="text")])
        def __call__(self, text):
            return {
                "length": tf.strings.length(text, unit="UTF8_CHAR"),
                "upper": tf.strings.upper(text, encoding="utf-8"),
                "raw": tf.strings.join([text, tf.constant(b"\xff")]),
            }

    class RaggedLists(tf.Module):
        @tf.function(input_signature=[tf.RaggedTensorSpec([None, None], tf.int64)])
        def __call__(self, lists):
            return {"sum": tf.reduce_sum(lists, axis=1), "twice": lists * 2}

    class Kinds(tf.Module):
        @tf.function(input_signature=[tf.TensorSpec([None], tf.int64, name="x")])
        def __call__(self, x):
            names = "int8 int16 int32 int64 uint8 uint16 uint32 uint64 float16 bfloat16 float64"
            made = {name: tf.cast(x, name) for name in names.split()}
            return {
                **made,
                "bool": x % 2 == 0,
                "matrix": tf.stack([x, -x], axis=1),
                "cube": tf.stack([tf.stack([x, -x], axis=1)] * 2, axis=1),
                "words": tf.RaggedTensor.from_row_lengths(
                    tf.repeat(tf.strings.as_string(x), x % 3), x % 3
                ),
                "once": tf.reduce_sum(x),
                "complex": tf.cast(x, tf.complex64),
                "fewer": x[1:],
                "sparse": tf.sparse.from_dense(x),
            }

        @tf.function(input_signature=[tf.TensorSpec([2], tf.int64, name="x")])
        def pairs(self, x):
            return {"y": x}

        @tf.function(input_signature=[tf.TensorSpec([None], tf.int64, name="x")])
        def picky(self, x):
            with tf.control_dependencies([tf.debugging.assert_less(x, tf.constant(90, tf.int64))]):
                return {"y": tf.identity(x)}

    for name, module in {"text": Text(), "ragged": RaggedLists()}.items():
        tf.saved_model.save(module, root / name, signatures=module.__call__)
    kinds = Kinds()
    signatures = {"all": kinds.__call__, "pairs": kinds.pairs, "picky": kinds.picky}
    tf.saved_model.save(kinds, root / "kinds", signatures=signatures)
    return Models(
        root,
        root / "adder.keras",
        root / "adder",
        root / "text",
        root / "ragged",
        root / "kinds",
    )


@pytest.fixture(scope="session")
def make_doubler(models):
    """Saves a model whose class is in ``fb_own_layers`` of ``models.root``; loads leave a log."""

    def make(path: Path, log: Path) -> None:
        save_doubler(models.root, path, log)

    return make
