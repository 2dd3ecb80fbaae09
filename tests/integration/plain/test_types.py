"""A plain Flight client: every type of column, whole and cut."""

from __future__ import annotations

import pyarrow as pa
import pytest

from .calls import COLUMNS, OPTIONS, get, path, put, ticket


@pytest.mark.parametrize("name", COLUMNS)
def test_every_type_comes_back_as_it_went(client, name):
    table = pa.table({name: COLUMNS[name], "row": [0, 1, 2]})
    put(client, table, "types")
    assert client.get_schema(path("types"), OPTIONS).schema == table.schema
    assert get(client, "types") == table


@pytest.mark.parametrize("name", COLUMNS)
def test_rows_and_columns_of_every_type_can_be_cut_out(client, name):
    whole = pa.concat_tables([pa.table({"row": [0, 1, 2], name: COLUMNS[name]})] * 7)
    whole = whole.combine_chunks()
    put(client, whole, "cut", rows=9)
    for begin, end in ((0, 21), (1, 20), (3, 4), (8, 10), (9, 18), (20, 21), (5, 5)):
        got = client.do_get(
            ticket(
                feed="cut",
                columns=[name],
                ranges=[{"partition": 0, "row_begin": begin, "row_end": end}],
            ),
            OPTIONS,
        ).read_all()
        got.validate(full=True)
        assert got.to_pydict() == whole.select([name])[begin:end].to_pydict(), (begin, end)


def test_dictionaries_that_change_between_batches(client):
    batches = [
        pa.record_batch({"d": pa.array(values).dictionary_encode()})
        for values in (["a", "b"], ["a", "b"], ["c", "a"], ["a", "b"])
    ]
    writer, _ = client.do_put(path("feed"), batches[0].schema, OPTIONS)
    with writer:
        for batch in batches:
            writer.write_batch(batch)
    expected = [v for batch in batches for v in batch["d"].to_pylist()]
    assert get(client, "feed")["d"].to_pylist() == expected
    for begin in range(len(expected)):
        ranges = [{"partition": 0, "row_begin": begin}]
        cut = client.do_get(ticket(feed="feed", ranges=ranges), OPTIONS).read_all()
        assert cut["d"].to_pylist() == expected[begin:]


def test_no_columns(client):
    table = pa.table({"id": [1, 2, 3]}).select([])
    put(client, table, "columnless")
    assert get(client, "columnless").num_columns == 0
