"""Graphs and sessions: iterators of TensorFlow 1."""

import pytest

pytestmark = [pytest.mark.tf, pytest.mark.filterwarnings("default")]
tf = pytest.importorskip("tensorflow")

import flightbridge.tf  # noqa: E402

v1 = tf.compat.v1


def dataset(bridge, **settings):
    return flightbridge.tf.dataset(bridge.uri, "plain", **{"batch_size": 64, **settings})


def drain(session, element):
    got = []
    while True:
        try:
            got.append(session.run(element))
        except tf.errors.OutOfRangeError:
            return got


def ids_of(elements):
    return [row for element in elements for row in element.tolist()]


def test_initializable_iterator(bridge):
    with tf.Graph().as_default(), v1.Session() as session:
        iterator = v1.data.make_initializable_iterator(dataset(bridge, columns="id"))
        element = iterator.get_next()
        for _ in range(2):
            session.run(iterator.initializer)
            assert ids_of(drain(session, element)) == list(range(1000))


def test_each_initialization_shuffles_anew(bridge):
    with tf.Graph().as_default(), v1.Session() as session:
        made = dataset(bridge, columns="id", shuffle=True, seed=4)
        iterator = v1.data.make_initializable_iterator(made)
        element = iterator.get_next()
        orders = []
        for _ in range(2):
            session.run(iterator.initializer)
            orders.append(ids_of(drain(session, element)))
    assert orders[0] != orders[1]
    assert sorted(orders[0]) == sorted(orders[1]) == list(range(1000))


def test_one_shot_iterator(bridge):
    with tf.Graph().as_default(), v1.Session() as session:
        element = v1.data.make_one_shot_iterator(dataset(bridge)).get_next()
        first = session.run(element)
        assert first["name"][:2].tolist() == [b"n0", b"n1"]
        assert first["tags"].to_list()[:4] == [[], [0], [0, 1], []]
        rest = drain(session, element["id"])
    assert ids_of([first["id"], *rest]) == list(range(1000))


def test_reinitializable_iterator(bridge):
    with tf.Graph().as_default(), v1.Session() as session:
        even, shuffled = dataset(bridge, columns="id"), dataset(bridge, columns="id", shuffle=99)
        iterator = v1.data.Iterator.from_structure(
            v1.data.get_output_types(even), tf.TensorShape([None])
        )
        element = iterator.get_next()
        session.run(iterator.make_initializer(even))
        assert ids_of([session.run(element)]) == list(range(64))
        session.run(iterator.make_initializer(shuffled))
        assert sorted(ids_of(drain(session, element))) == list(range(1000))


def test_map_and_batch_in_a_graph(bridge):
    with tf.Graph().as_default(), v1.Session() as session:
        made = dataset(bridge, columns=["id"], label="half")
        sums = made.map(lambda x, y: tf.reduce_sum(x["id"]) + tf.cast(tf.reduce_sum(y), tf.int64))
        element = v1.data.make_one_shot_iterator(sums.prefetch(2)).get_next()
        assert sum(drain(session, element)) == sum(range(1000)) * 3 // 2


def test_saving_an_iterator_in_a_session(bridge, tmp_path):
    path = str(tmp_path / "state")

    def build():
        iterator = v1.data.make_initializable_iterator(dataset(bridge, columns="id", shuffle=200))
        saveable = tf.data.experimental.make_saveable_from_iterator(iterator)
        return iterator, iterator.get_next(), v1.train.Saver({"iterator": saveable})

    with tf.Graph().as_default(), v1.Session() as session:
        iterator, element, saver = build()
        session.run(iterator.initializer)
        got = ids_of([session.run(element) for _ in range(5)])
        saver.save(session, path, write_meta_graph=False)
        want = got + ids_of(drain(session, element))
    with tf.Graph().as_default(), v1.Session() as session:
        iterator, element, saver = build()
        session.run(iterator.initializer)
        saver.restore(session, path)
        assert got + ids_of(drain(session, element)) == want
