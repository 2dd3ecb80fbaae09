"""SavedModels and Keras models behind one face. TensorFlow is imported when one is loaded."""

from __future__ import annotations

import importlib
import os
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from flightbridge.errors import FailedPreconditionError, InvalidArgumentError, SchemaMismatchError

DEFAULT_SIGNATURE = "serving_default"
_ANSI = re.compile(r"\x1b\[[0-9;]*m")  # Keras's messages have colours
PREDICTION = "prediction"
"""What the output of a model is called that has one, without a name of its own."""


@dataclass(frozen=True)
class ModelRef:
    """Which model: where it lies and how it is called.

    Attributes:
        path: Absolute path of a SavedModel's directory, or of a ``.keras`` or ``.h5`` file.
        signature: Of a SavedModel; None: ``serving_default``, or the only one there is.
        modules: Python modules to import first, such as those with a Keras model's own layers.
    """

    path: str
    signature: str | None = None
    modules: tuple[str, ...] = ()


def make_ref(
    model: str | os.PathLike[str], signature: str | None, modules: Sequence[str]
) -> ModelRef:
    """A checked reference; the path is not looked at.

    Raises:
        InvalidArgumentError: A setting has a wrong type.
    """
    if not isinstance(model, (str, os.PathLike)) or not os.fspath(model):
        raise InvalidArgumentError(f"model={model!r} is no path: give that of a saved model")
    if signature is not None and not isinstance(signature, str):
        raise InvalidArgumentError(
            f"signature={signature!r} is no name: give a str, or leave it out"
        )
    if isinstance(modules, str) or not all(isinstance(name, str) for name in modules):
        raise InvalidArgumentError(f"modules={modules!r} is no list of module names")
    return ModelRef(str(Path(os.fsdecode(model)).absolute()), signature, tuple(modules))


class Model(Protocol):
    """A loaded model. Its functions may be traced by ``tf.function``; thread-safe."""

    title: str
    """For messages: kind, path and signature."""
    inputs: tuple[str, ...] | None
    """Names of its inputs; None where it takes whatever it is given."""

    def check(self, given: Mapping[str, tuple[str, Any]]) -> None:
        """Refuses columns that do not fit: of each input, the column's name and its spec.

        Raises:
            SchemaMismatchError: The message names input, column, model and remedy.
        """

    def call(self, given: Any) -> Any:
        """From inputs (a dict; a bare tensor where there are no names) to outputs."""

    def output_names(self, count: int) -> list[str]:
        """For outputs that come as a list, or alone."""


def kind_of(path: str) -> str:
    """``"saved_model"`` or ``"keras"``.

    Raises:
        InvalidArgumentError: There is no model at the path; the message says what could be there.
    """
    place = Path(path)
    if place.is_dir():
        if (place / "saved_model.pb").exists() or (place / "saved_model.pbtxt").exists():
            return "saved_model"
        raise InvalidArgumentError(
            f"model={path!r} is a directory without saved_model.pb: name that of a SavedModel "
            "(keras: model.export(path)), or a .keras file"
        )
    if not place.exists():
        raise InvalidArgumentError(
            f"model={path!r} does not exist on {os.uname().nodename}: give a path under which the "
            "driver and every executor find the model, such as one on a shared file system"
        )
    if place.suffix not in (".keras", ".h5", ".hdf5"):
        raise InvalidArgumentError(
            f"model={path!r} is neither a SavedModel's directory nor a .keras or .h5 file: save it "
            "with model.export(path) or model.save('name.keras')"
        )
    return "keras"


def import_tensorflow() -> Any:
    """TensorFlow, or an error that says where it is missing.

    Raises:
        FailedPreconditionError: It is not installed for this Python.
    """
    try:
        return importlib.import_module("tensorflow")
    except ImportError as error:
        raise FailedPreconditionError(
            f"TensorFlow cannot be imported by {sys.executable} on {os.uname().nodename} "
            f"({error}): install it there, pip install 'flightbridge[tensorflow]', or score with "
            "uri= a model that flightbridge serve-model serves"
        ) from error


def load(ref: ModelRef) -> Model:
    """Loads a model; seconds for the first one of a process, which imports TensorFlow.

    Raises:
        InvalidArgumentError: There is no such model or signature, or it cannot be loaded.
        FailedPreconditionError: TensorFlow, or one of ``modules``, cannot be imported.
    """
    kind = kind_of(ref.path)
    tf = import_tensorflow()
    for name in ref.modules:
        try:
            importlib.import_module(name)
        except ImportError as error:
            raise FailedPreconditionError(
                f"modules has {name!r}, which {sys.executable} cannot import ({error}): ship it "
                "to the executors, as with spark.addArtifacts(path, pyfile=True)"
            ) from error
    try:
        return SavedModel(tf, ref) if kind == "saved_model" else KerasModel(tf, ref)
    except InvalidArgumentError:
        raise
    except Exception as error:
        raise InvalidArgumentError(
            f"model={ref.path!r} cannot be loaded: {first_line(error)}; a Keras model with layers "
            "of its own needs the modules that define them, modules=['package.layers']"
        ) from error


class SavedModel:
    """A signature of a SavedModel."""

    def __init__(self, tf: Any, ref: ModelRef) -> None:
        self._tf = tf
        self._loaded = tf.saved_model.load(ref.path)  # owns the variables
        known = self._loaded.signatures
        name = ref.signature or DEFAULT_SIGNATURE
        if ref.signature is None and name not in known and len(known) == 1:
            name = next(iter(known))
        if name not in known:
            raise InvalidArgumentError(
                f"signature={name!r} is not one of model {ref.path!r}, which has "
                f"{', '.join(map(repr, sorted(known))) or 'none: save it with signatures=...'}"
            )
        self.title = f"model {ref.path!r} (signature {name!r})"
        self._function = known[name]
        self._specs: dict[str, Any] = self._function.structured_input_signature[1]
        self.inputs: tuple[str, ...] | None = tuple(sorted(self._specs))

    def check(self, given: Mapping[str, tuple[str, Any]]) -> None:
        """See :class:`Model`."""
        covered: set[str] = set()
        for name, (column, spec) in given.items():
            if isinstance(spec, dict):
                raise SchemaMismatchError(
                    f"input {name!r} of {self.title} takes one tensor, and column {column!r} is a "
                    f"struct or a map: name a part of it, columns={{{name!r}: "
                    f"{column + '.' + next(iter(spec))!r}}}"
                )
            parts = _components(self._tf, name, spec)
            if absent := [part for part in parts if part not in self._specs]:
                raise SchemaMismatchError(
                    f"input {name!r} of {self.title} takes {_shown(self._specs[name])}, and column "
                    f"{column!r} is {_shown(spec)} (there is no input {absent[0]!r} for its "
                    f"parts): make it dense, with pad_to={{{column!r}: n}} where it has lists"
                )
            for part, part_spec in parts.items():
                self._check_one(name, column, self._specs[part], part_spec)
            covered.update(parts)
        if missing := sorted(set(self._specs) - covered):
            raise _missing(self, missing[0], given)

    def _check_one(self, name: str, column: str, wanted: Any, spec: Any) -> None:
        takes = f"input {name!r} of {self.title} takes {_shown(wanted)}, and column {column!r} is "
        if wanted.dtype != spec.dtype:
            remedy = (
                f"pass dtypes={{{column!r}: {wanted.dtype.name!r}}}"
                if _castable(spec.dtype, wanted.dtype)
                else f"cast the column to {wanted.dtype.name} in Spark"
            )
            raise SchemaMismatchError(f"{takes}{_shown(spec)}: {remedy}")
        if wanted.shape.rank is None:
            return
        if wanted.shape.rank > 0 and wanted.shape[0] is not None:
            raise SchemaMismatchError(
                f"input {name!r} of {self.title} takes batches of exactly {wanted.shape[0]} rows: "
                "export the model with None as the first dimension"
            )
        if not wanted.shape.is_compatible_with(_adjusted(spec.shape, wanted.shape)):
            raise SchemaMismatchError(
                f"{takes}{_shown(spec)}: make it that shape in Spark (an array, or a vector of a "
                "VectorAssembler), or name another column in columns={...}"
            )

    def call(self, given: Any) -> Any:
        """See :class:`Model`."""
        parts: dict[str, Any] = {}
        for name, value in given.items():
            parts.update(_components(self._tf, name, value))
        for name, value in parts.items():
            if _adjusted(value.shape, self._specs[name].shape).rank != value.shape.rank:
                parts[name] = self._tf.expand_dims(value, -1)
        outputs = dict(sorted(self._function(**parts).items()))  # its own order is any
        if list(outputs) == ["output_0"]:  # the exporter's name for what has none
            return {PREDICTION: outputs["output_0"]}
        return outputs

    def output_names(self, count: int) -> list[str]:
        """See :class:`Model`; a signature's outputs have names."""
        return [f"output_{i}" for i in range(count)]


class KerasModel:
    """A Keras model as it is called in inference (``training=False``)."""

    def __init__(self, tf: Any, ref: ModelRef) -> None:
        if ref.signature is not None:
            raise InvalidArgumentError(
                f"signature={ref.signature!r} is given for {ref.path!r}, a Keras model, which has "
                "none: leave it out"
            )
        self.title = f"model {ref.path!r}"
        self._model = tf.keras.models.load_model(ref.path, compile=False)
        self._struct = _input_struct(self._model)
        names = None if self._struct is None else _names_of(self._struct)
        self.inputs: tuple[str, ...] | None = None if names is None else tuple(names)

    def check(self, given: Mapping[str, tuple[str, Any]]) -> None:
        """See :class:`Model`. Shapes and dtypes are Keras's to judge: it adapts some."""
        for name in self.inputs or ():
            if name not in given:
                raise _missing(self, name, given)

    def call(self, given: Any) -> Any:
        """See :class:`Model`."""
        if isinstance(self._struct, (list, tuple)):
            given = [given[name] for name in self.inputs or ()]
        elif self._struct is not None and not isinstance(self._struct, dict):
            given = next(iter(given.values()))
        return self._model(given, training=False)

    def output_names(self, count: int) -> list[str]:
        """See :class:`Model`."""
        if count == 1:
            return [PREDICTION]
        names = list(getattr(self._model, "output_names", None) or ())
        usable = len(names) == count and len(set(names)) == count
        return names if usable else [f"output_{i}" for i in range(count)]


def first_line(error: BaseException) -> str:
    """An error of TensorFlow's, which may have hundreds of lines, in one."""
    plain = _ANSI.sub("", str(error))
    lines = [line.strip() for line in plain.splitlines() if line.strip()]
    useful = [line for line in lines if not line.startswith(("File ", "in user code", "Arguments"))]
    return f"{type(error).__name__}: {' '.join(useful or lines)[:400]}"


def _input_struct(model: Any) -> Any:
    try:
        struct = model.input
    except (AttributeError, ValueError, RuntimeError):  # a subclassed model, or one never built
        return None
    flat = isinstance(struct, (dict, list, tuple)) or hasattr(struct, "name")
    nested = isinstance(struct, (dict, list, tuple)) and any(
        isinstance(part, (dict, list, tuple))
        for part in (struct.values() if isinstance(struct, dict) else struct)
    )
    return struct if flat and not nested else None


def _names_of(struct: Any) -> list[str]:
    if isinstance(struct, dict):
        return list(struct)
    return [t.name for t in (struct if isinstance(struct, (list, tuple)) else [struct])]


def _components(tf: Any, name: str, value: Any) -> dict[str, Any]:
    # How a signature names the parts of a ragged or sparse tensor: x, x_1, x_2.
    parts = tf.nest.flatten(value, expand_composites=True)
    return {name if i == 0 else f"{name}_{i}": part for i, part in enumerate(parts)}


def _adjusted(shape: Any, wanted: Any) -> Any:
    """Columns are [n] where models say [n, 1], which Keras takes for the same."""
    if wanted.rank is not None and wanted.rank == shape.rank + 1 and wanted[-1] == 1:
        return shape.concatenate([1])
    return shape


def _castable(found: Any, wanted: Any) -> bool:
    whole = found.is_integer or found.is_bool
    return bool(
        (whole and (wanted.is_integer or wanted.is_floating))
        or (found.is_floating and wanted.is_floating)
    )


def _shown(spec: Any) -> str:
    shape = getattr(spec, "shape", None)
    dims = "" if shape is None or shape.rank is None else str(list(shape)).replace("None", "?")
    kind = type(spec).__name__.removesuffix("Spec").removesuffix("Tensor").lower()
    return " ".join(part for part in (kind, spec.dtype.name, dims) if part)


def _missing(model: Model, name: str, given: Mapping[str, Any]) -> SchemaMismatchError:
    return SchemaMismatchError(
        f"input {name!r} of {model.title} is given no column (its inputs are "
        f"{', '.join(map(repr, model.inputs or ()))}; given are "
        f"{', '.join(map(repr, given)) or 'none'}): name one, columns={{{name!r}: 'column'}}"
    )
