"""How well the shuffles mix: a sorted label's spread over batches, beside tf.data's own shuffle.

A label that is 1 in the last tenth of the rows makes the worst feed to read in order. For each way
the table says how far its batches are from drawing rows by chance: the standard deviation of a
batch's share of ones over that of drawing without replacement (1 is chance), the mean distance of
rows that follow one another over the number of rows (1/3 is chance), and the correlation of a row's
place in one epoch with its place in the next (0 is chance).

    python benchmarks/shuffle_quality.py [--rows N] [--batch-rows N]
"""

from __future__ import annotations

import argparse
import math

import numpy as np

import flightbridge
import flightbridge.batches
import flightbridge.tf

WINDOWS = (10_000, 100_000)


def orders(rows: int) -> dict[str, list[np.ndarray]]:
    """The rows of two epochs in the order in which each way hands them out."""
    import pyarrow as pa
    import tensorflow as tf

    found: dict[str, list[np.ndarray]] = {}
    random = np.random.default_rng(1)
    found["numpy permutation"] = [random.permutation(rows) for _ in range(2)]
    found["unshuffled"] = [np.arange(rows)] * 2
    numbers = pa.table({"row": np.arange(rows)})
    with flightbridge.Server() as bridge:
        with flightbridge.connect(bridge.uri) as client:
            client.write("rows", numbers.to_reader(65_536))
        for shuffle in ("full", *WINDOWS):
            with flightbridge.batches.read(
                bridge.uri, "rows", batch_size=1024, shuffle=shuffle, seed=7, epochs=2
            ) as reader:
                read = np.concatenate([np.array(batch["row"]) for batch in reader])
            found[f'shuffle="{shuffle}"' if shuffle == "full" else f"shuffle={shuffle:,}"] = [
                read[:rows],
                read[rows:],
            ]
    for buffer in WINDOWS:
        dataset = tf.data.Dataset.range(rows).shuffle(buffer, seed=7).batch(1024)
        found[f"tf.data shuffle({buffer:,})"] = [
            np.concatenate(list(dataset.as_numpy_iterator())) for _ in range(2)
        ]
    return found


def report(name: str, epochs: list[np.ndarray], batch: int) -> str:
    """One line of the table."""
    first, second = epochs
    rows = len(first)
    ones = (first >= rows * 9 // 10)[: rows // batch * batch].reshape(-1, batch).mean(axis=1)
    chance = math.sqrt(0.1 * 0.9 / batch * (rows - batch) / (rows - 1))
    places = [np.empty(rows, np.int64), np.empty(rows, np.int64)]
    for place, order in zip(places, (first, second), strict=True):
        place[order] = np.arange(rows)
    neighbours = np.abs(np.diff(first)).mean() / rows
    correlation = np.corrcoef(places[0], places[1])[0, 1]
    return f"| {name} | {ones.std() / chance:,.2f} | {neighbours:.4f} | {correlation:+.3f} |"


def main() -> None:
    """Prints the table of docs/tensorflow.md."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=1 << 20)
    parser.add_argument("--batch-rows", type=int, default=1024)
    options = parser.parse_args()
    print(
        "| order | spread of a batch's label, 1 = chance | distance of neighbours, 1/3 = chance "
        "| correlation of two epochs, 0 = chance |"
    )
    print("| --- | --- | --- | --- |")
    for name, epochs in orders(options.rows).items():
        print(report(name, epochs, options.batch_rows))


if __name__ == "__main__":
    main()
