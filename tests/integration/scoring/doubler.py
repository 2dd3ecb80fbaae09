"""A Keras model of a class of its own, every load of which leaves a line in a file."""

from __future__ import annotations

import importlib.util
import sys
import warnings
from pathlib import Path

OWN_LAYERS = '''"""A Keras model of its own, which notes the process that loads it."""

import os

import keras


@keras.saving.register_keras_serializable(package="fbtests")
class Doubler(keras.Model):
    def __init__(self, log="", **settings):
        super().__init__(**settings)
        self.log = log

    def call(self, inputs):
        return {"double": inputs["x"] * 2, "sum": inputs["x"] + inputs["y"]}

    def get_config(self):
        return {**super().get_config(), "log": self.log}

    @classmethod
    def from_config(cls, config):
        if config["log"]:
            with open(config["log"], "a") as log:
                log.write(f"{os.getpid()}\\n")
        return cls(**config)
'''


def save_doubler(home: Path, path: Path, log: Path) -> None:
    """Saves the model; its class is in ``fb_own_layers`` of ``home``. Loads write their process's
    number to ``log``."""
    import numpy as np

    source = home / "fb_own_layers.py"
    source.write_text(OWN_LAYERS)
    if "fb_own_layers" not in sys.modules:
        spec = importlib.util.spec_from_file_location("fb_own_layers", source)
        module = importlib.util.module_from_spec(spec)
        sys.modules["fb_own_layers"] = module
        spec.loader.exec_module(module)
    model = sys.modules["fb_own_layers"].Doubler(log=str(log))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Keras's and TensorFlow's own
        model({"x": np.ones(2, np.float32), "y": np.ones(2, np.float32)})
        model.save(path)
