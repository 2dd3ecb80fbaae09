"""tf.data over feeds that grow: followed, saved and restored."""

import itertools
import threading
import time

import pyarrow as pa
import pytest

import flightbridge
import flightbridge.tf

pytestmark = [pytest.mark.tf, pytest.mark.filterwarnings("default")]
tf = pytest.importorskip("tensorflow")

SCHEMA = pa.schema([("id", pa.int64())])


@pytest.fixture
def client():
    with flightbridge.Server() as server, flightbridge.connect(server.uri) as client:
        yield client


def add(client, begin, rows):
    table = pa.table([pa.array(range(begin, begin + rows), pa.int64())], schema=SCHEMA)
    client.write("grows", table, mode="stream", partition_rows=6)


def make(client, **settings):
    settings = {"batch_size": 4, "columns": "id", "follow": True} | settings
    return flightbridge.tf.dataset(client.uri, "grows", follow_timeout_s=60, **settings)


def take(iterator, count=None):
    return [batch.numpy().tolist() for batch in itertools.islice(iterator, count)]


def test_elements_come_as_generations_do(client):
    add(client, 0, 10)
    dataset = make(client)
    assert dataset.cardinality() == tf.data.UNKNOWN_CARDINALITY
    iterator = iter(dataset)
    first = take(iterator, 3)
    writer = threading.Thread(target=lambda: (add(client, 10, 5), client.end_feed("grows")))
    writer.start()
    rest = take(iterator)
    writer.join(60)
    assert first == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]
    assert rest == [[10, 11, 12, 13], [14]]
    assert take(iter(dataset)) == first + rest, "an iterator more begins again"


@pytest.mark.parametrize("symbolic", [False, True], ids=["full_state", "symbolic"])
@pytest.mark.parametrize("shuffle", [None, 5, "full"])
def test_a_checkpoint_goes_on_in_and_between_generations(client, tmp_path, shuffle, symbolic):
    for g in range(3):
        add(client, g * 10, 10)

    def dataset():
        options = tf.data.Options()
        options.experimental_symbolic_checkpoint = symbolic
        return make(client, shuffle=shuffle, seed=3).with_options(options)

    def write_the_rest():
        add(client, 30, 7)
        client.end_feed("grows")

    paths, seen = [], []
    iterator = iter(dataset())
    for step in range(9):  # three of each generation, saved behind each
        seen += take(iterator, 1)
        paths.append(tf.train.Checkpoint(iterator=iterator).write(str(tmp_path / str(step))))
    write_the_rest()  # a position holds, whatever comes after it
    whole = take(iter(dataset()))
    assert whole[:9] == seen
    assert sorted(itertools.chain.from_iterable(whole)) == list(range(37))
    for step, path in enumerate(paths):
        restored = iter(dataset())
        tf.train.Checkpoint(iterator=restored).read(path).assert_consumed()
        assert take(restored) == whole[step + 1 :]


BEHIND = {
    "source": lambda ds: ds,
    "map": lambda ds: ds.map(lambda x: x + 0, num_parallel_calls=2),
    "prefetch": lambda ds: ds.unbatch().batch(4).prefetch(2),
    "shuffle": lambda ds: ds.shuffle(2, seed=1),
}


@pytest.mark.parametrize("behind", BEHIND)
def test_saving_does_not_wait_for_the_next_generation(client, tmp_path, behind):
    add(client, 0, 10)

    def dataset():
        return BEHIND[behind](make(client))

    iterator = iter(dataset())
    seen = take(iterator, 1)  # whatever reads ahead has come to the end of the generation, or will
    path = tf.train.Checkpoint(iterator=iterator).write(str(tmp_path / "saved"))
    assert client.feed("grows").state.name == "OPEN"
    positions = flightbridge.tf.saved_positions(path, exact=behind != "shuffle")
    assert len(positions) == 1
    add(client, 10, 5)
    client.end_feed("grows")
    seen += take(iterator)
    restored = iter(dataset())
    tf.train.Checkpoint(iterator=restored).read(path).assert_consumed()
    assert seen[:1] + take(restored) == seen
    assert sorted(itertools.chain.from_iterable(seen)) == list(range(15))


def test_an_iterator_that_another_thread_waits_in_is_saved(client, tmp_path):
    add(client, 0, 8)
    iterator = iter(make(client))
    first = take(iterator, 2)
    rest = []
    waiting = threading.Thread(target=lambda: rest.extend(take(iterator)))
    waiting.start()
    time.sleep(0.3)  # it waits for the next generation by now; if not, there is nothing to see
    path = tf.train.Checkpoint(iterator=iterator).write(str(tmp_path / "saved"))
    assert waiting.is_alive()
    add(client, 8, 3)
    client.end_feed("grows")
    waiting.join(60)
    assert rest == [[8, 9, 10]]
    restored = iter(make(client))
    tf.train.Checkpoint(iterator=restored).read(path).assert_consumed()
    assert first + take(restored) == first + rest


def test_without_follow_a_dataset_stays_as_it_was_made(client):
    add(client, 0, 10)
    dataset = flightbridge.tf.dataset(client.uri, "grows", batch_size=4, columns="id")
    add(client, 10, 10)
    assert int(dataset.cardinality()) == 3
    for _ in range(2):
        assert list(itertools.chain.from_iterable(take(iter(dataset)))) == list(range(10))
