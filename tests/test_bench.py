from dataclasses import replace

import pytest

from nnexp.bench.bench import BenchRow, BenchSettings, bench, bench_table
from nnexp.settings import NormConfig


@pytest.fixture
def row(tiny) -> BenchRow:
    return bench(replace(tiny, norm=NormConfig(name="group")), BenchSettings(rounds=2, steps=3))


def test_bench_measures_every_contender_and_its_row_adds_up(row):
    low, high = row.to_bare_step_range
    assert 0 < low <= row.to_bare_step <= high
    assert row.images_per_second > 0
    assert row.to_textbook_loop is not None
    assert row.to_textbook_loop > 0
    assert row.peak_memory_mb > 50
    assert (row.model, row.norm, row.batch_size) == ("baseline", "group", 16)


def test_table_shows_the_row(row):
    table = bench_table([row])
    cells = [next(iter(column.cells)) for column in table.columns]
    assert cells[:3] == ["baseline", "group", "16"]
    assert cells[4] == f"{row.to_bare_step:.3f}"


def test_textbook_loop_can_be_left_out(tiny):
    row = bench(tiny, BenchSettings(rounds=1, steps=2, textbook=False))
    assert row.to_textbook_loop is None
