"""A feed read by ``ArrowStreamDataset`` of the real tensorflow_io, through our stream endpoint."""

import pytest

pytestmark = [pytest.mark.tf, pytest.mark.filterwarnings("default")]
tf = pytest.importorskip("tensorflow")
try:
    from tensorflow_io import arrow
except Exception:  # missing, or built for another TensorFlow: then it is NotImplementedError
    pytest.skip("no tensorflow_io for this TensorFlow: make test-classic", allow_module_level=True)

import flightbridge.tf  # noqa: E402
from flightbridge.streaming import StreamEndpoint  # noqa: E402


@pytest.mark.parametrize("kind", ["tcp", "unix"])
def test_the_rows_are_those_of_our_own_dataset(bridge, tmp_path, kind):
    names = ["id", "half", "odd", "name"]
    listen = "127.0.0.1:0" if kind == "tcp" else f"unix://{tmp_path}/feed"
    ours = flightbridge.tf.dataset(bridge, "plain", batch_size=128, columns=names)
    with StreamEndpoint(bridge, "plain", columns=names, batch_rows=128, listen=listen) as endpoint:
        theirs = arrow.ArrowStreamDataset.from_schema(
            endpoint.address, endpoint.schema, batch_mode="auto"
        )
        for _ in range(2):  # each iterator connects anew
            got = {name: [] for name in names}
            for element in theirs:
                for name, column in zip(names, element, strict=True):
                    got[name] += column.numpy().tolist()
            want = {name: [] for name in names}
            for element in ours:
                for name in names:
                    want[name] += element[name].numpy().tolist()
            assert got == want


def test_batches_of_another_size(bridge):
    with StreamEndpoint(bridge, "plain", columns=["id"]) as endpoint:
        made = arrow.ArrowStreamDataset.from_schema(
            endpoint.address, endpoint.schema, batch_size=64, batch_mode="keep_remainder"
        )
        sizes = [int(ids.shape[0]) for (ids,) in made]
    assert sizes == [64] * 15 + [40]


def test_several_endpoints_are_read_one_after_the_other(bridge):
    with (
        StreamEndpoint(bridge, "plain", columns=["id"]) as first,
        StreamEndpoint(bridge, "plain", columns=["id"]) as second,
    ):
        addresses = [first.address, second.address]
        made = arrow.ArrowStreamDataset.from_schema(addresses, first.schema, batch_mode="auto")
        ids = [row for (column,) in made for row in column.numpy().tolist()]
    assert ids == list(range(1000)) * 2


def test_a_stream_that_is_cut_is_an_error(bridge):
    with bridge.client() as client:
        client.write("gone", client.read_table("plain", columns=["id"]))
        with StreamEndpoint(bridge, "gone") as endpoint:
            client.drop("gone")
            made = arrow.ArrowStreamDataset.from_schema(
                endpoint.address, endpoint.schema, batch_mode="auto"
            )
            with pytest.raises(tf.errors.OpError):
                list(made)
