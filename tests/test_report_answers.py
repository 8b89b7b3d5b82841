"""The short answer of 500 random grids: every sentence against the numbers, marks and plot."""

import re

import numpy as np
import pytest
from results import settings, write_run

from nnexp.compare import read_rows
from nnexp.compare.comparison import Comparison, Question, make_comparison
from nnexp.compare.grid import BEST, NEAR
from nnexp.compare.tables import differences_table, sums_table
from nnexp.report.arms import Arms
from nnexp.report.forest import make_forest
from nnexp.report.gaps import find_places
from nnexp.report.sentences import by_column, remarks, short_answer

GRIDS, PARTS = 500, 10
NORMS = ("batch", "group", "instance", "layer", "none")
VERDICTS = ("higher", "lower", "not shown to differ")
NUMBER = r"[+-]\d+\.\d\d"
ITEM = re.compile(rf"(\w+)(?: ({NUMBER}) points(?: \(({NUMBER}) to ({NUMBER})\))?)?")
SENTENCE = re.compile(r"(?:(.+), )?test accuracy(?: compared with (\w+))?: (.+)\.", re.IGNORECASE)
HIGHEST = re.compile(r"the highest(?: of those judged)? (?:is|are) (.+) \((.+) %\)")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> dict:
    """Return the row of a run that is done."""
    folder = tmp_path_factory.mktemp("runs")
    write_run(folder, settings("batch"), 0.5)
    return read_rows([folder])[0]


def random_rows(run: dict, rng: np.random.Generator) -> list[dict]:
    """Return the rows of a grid: cells differ or not, vary or not, and some lost their runs."""
    gain, spread, common = rng.choice([0, 0.02, 0.1]), rng.choice([0, 0.002, 0.02]), rng.random()
    seeds, columns = rng.integers(1, 5), (2, 8, 32, 128)[: rng.integers(1, 5)]
    images = rng.choice([None, 2000])  # None: a cell of one value has no variance at all
    shared = common * spread * rng.normal(size=(4, 4))
    rows = []
    for norm in NORMS[: rng.integers(1, 6)]:
        for at, batch_size in enumerate(columns):
            mean, own = 0.5 + gain * rng.normal(), spread * rng.choice([0, 1, 1, 1, 4])
            lost = rng.choice(["", "", "", "", "", "missing", "diverged", "failed", "one"])
            for seed in range(1 if lost == "one" else seeds):
                if lost == "missing" or rng.random() < 0.04:
                    continue
                status = lost if lost in ("diverged", "failed") and rng.random() < 0.6 else "done"
                value = round(mean + own * rng.normal() + shared[at, seed], 4)
                rows.append(
                    {
                        **run,
                        **{"run_id": f"{norm}-{batch_size}-{seed}", "status": status},
                        **{"norm": norm, "batch_size": batch_size, "seed": seed},
                        "data.test_images": images,
                        "test_accuracy": value if status == "done" else None,
                    }
                )
    return rows


def parts_of(sentence: str) -> tuple[str, str | None, list[str]]:
    """Return of where a sentence is, what it compares with, and its parts."""
    found = SENTENCE.fullmatch(sentence)
    assert found, sentence
    return (found[1] or "").lower(), found[2], found[3].split("; ")


def items_of(part: str) -> tuple[str, dict[str, tuple[str, ...]]]:
    """Return a part's verdict, and the values and intervals of the norms it names."""
    named, verdict = re.fullmatch(r"(.+?) (?:is|are) (\D+?)(?: \(.+\))?", part).groups()
    assert (" are " in part) == (len(list(ITEM.finditer(named))) > 1)
    return verdict, {one[1]: one.groups()[1:] for one in ITEM.finditer(named) if one[1] != "and"}


def verdict_of(low: float, high: float) -> str:
    return "higher" if low > 0 else "lower" if high < 0 else "not shown to differ"


def check_items(sentence: str, known: dict[str, tuple], others: set[str]) -> dict[str, str]:
    """Hold a sentence against the differences known of its place; return each norm's verdict."""
    _, _, parts = parts_of(sentence)
    verdicts: dict[str, str] = {}
    for part in parts:
        if part.startswith(("the highest", "nothing finished")) or part.endswith("compare it with"):
            continue
        verdict, items = items_of(part)
        for norm, texts in items.items():
            assert norm not in verdicts, sentence
            verdicts[norm] = verdict
            if verdict not in VERDICTS:
                assert verdict == "not judged", sentence
                assert known.get(norm, (None, None))[1] is None, sentence
                continue
            value, low, high = known[norm]
            ends = (f"{100 * end:+.2f}" for end in (low, high))
            assert texts == (f"{100 * value:+z.2f}", *ends), sentence
            assert verdict == verdict_of(low, high), sentence
    assert set(verdicts) == others, sentence
    return verdicts


def means_of(rows: list[dict], batch_size: str) -> dict[str, float]:
    """Return each norm's mean of those that can be compared at a batch size."""
    means = {}
    for norm in NORMS:
        cell = [r for r in rows if r["norm"] == norm and str(r["batch_size"]) == batch_size]
        values = [row["test_accuracy"] for row in cell if row["status"] == "done"]
        if len(values) > 1 and all(row["status"] != "diverged" for row in cell):
            means[norm] = float(np.mean(values))
    return means


def check_against(rows: list[dict], comparison: Comparison) -> None:
    against = comparison.against
    assert against is not None
    sums = [one for one in against.averages if one.low is not None]
    for sentence in (*short_answer(comparison), *by_column(comparison)):
        where, base, _ = parts_of(sentence)
        assert base == "batch"
        if where.startswith("average"):
            known = {one.treatment["norm"]: (one.difference, one.low, one.high) for one in sums}
            check_items(sentence, known, {row["norm"] for row in rows} - {"batch"})
            continue
        at = where.removeprefix("batch size ") or str(rows[0]["batch_size"])
        here = [one for one in against.differences if one.settings.get("batch_size", at) == at]
        known = {one.treatment["norm"]: (one.difference, one.low, one.high) for one in here}
        check_items(sentence, known, set(known))
        judgement = next(iter(against.judgements.values()))
        means = means_of(rows, at)
        for norm, (value, low, high) in known.items():
            if low is not None:
                assert low <= value <= high
                assert judgement.model.blocked or value == pytest.approx(
                    means[norm] - means["batch"]
                )


def check_tables(comparison: Comparison) -> None:
    """Hold bold cells against the plot's bold marks."""
    against = comparison.against
    tables = [differences_table(against, comparison.metric), sums_table(against, comparison.metric)]
    bold = sum(
        row[-2].bold and not any(cell.text.startswith("per ") for cell in row)
        for table in tables
        if table
        for row in table.rows
    )
    assert bold == sum(gap.differs for place in find_places(comparison) for gap in place.gaps)


def check_ranking(rows: list[dict], comparison: Comparison) -> None:
    (grid,), (ranking,) = comparison.grids, comparison.rankings
    columns = {f"batch size {column[0]}": column for column in grid.columns}
    for sentence in (*short_answer(comparison), *by_column(comparison)):
        where, base, parts = parts_of(sentence)
        assert base is None
        found = HIGHEST.match(parts[0])
        best = set(found[1].split(" and ")) if found else set()
        if where.startswith("average"):
            judged = ranking.averages.judged.values()
            known = {one.contrast.arm[0]: (one.value, one.low, one.high) for one in judged}
            check_items(sentence, known, {row["norm"] for row in rows} - best)
            continue
        column = columns[where]
        means = means_of(rows, column[0])
        cells = {row[0]: grid.cell(row, column) for row in grid.rows}
        there = {norm for norm, cell in cells.items() if cell.statuses}
        if not best:
            assert len(means) < 2
            assert not any(cell.mark for cell in cells.values())
            check_items(sentence, {}, there - set(means))
            continue
        top = max(means.values())
        assert best <= {norm for norm, mean in means.items() if mean == pytest.approx(top)}
        assert found[2] == f"{100 * top:.2f}"
        known = {
            norm: (judged.value, judged.low, judged.high)
            for norm in means
            if (judged := ranking.at(column, (norm,)))
        }
        verdicts = check_items(sentence, known, there - best)
        assert best == {norm for norm, cell in cells.items() if cell.mark == BEST}
        near = {norm for norm, verdict in verdicts.items() if verdict == "not shown to differ"}
        assert near == {norm for norm, cell in cells.items() if cell.mark == NEAR}


def check_plot(rows: list[dict], comparison: Comparison) -> None:
    """Hold the marks against the sentences: side of zero, bold, and what each says."""
    said = [*short_answer(comparison), *by_column(comparison)]
    plot = make_forest(find_places(comparison), comparison.metric, Arms(rows))
    for mark in plot.marks if plot else ():
        assert mark.values in " ".join(said) or mark.at == pytest.approx(plot.zero)
        value = float(mark.values.split()[0])
        assert (value > 0) <= (mark.at >= plot.zero)
        assert (value < 0) <= (mark.at <= plot.zero)
        if mark.low is not None:
            assert mark.low <= mark.at <= mark.high
            inside = mark.low <= plot.zero <= mark.high
            assert (
                mark.differs != inside
                or min(abs(mark.low - plot.zero), abs(mark.high - plot.zero)) < 0.01
            )
            assert (", shown to differ" in mark.text) == mark.differs


def check_lost(rows: list[dict], comparison: Comparison) -> None:
    """Hold the lists of lost runs against the rows."""
    said = {one.about: one.text for one in remarks(comparison, None)}
    for status in ("diverged", "failed"):
        cells = {(r["norm"], r["batch_size"]) for r in rows if r["status"] == status}
        text = said.get(status.capitalize(), "")
        more = int(found[1]) if (found := re.search(r"and (\d+) more", text)) else 0
        assert len(re.findall(r"\(\d of \d\)", text)) + more == len(cells)


@pytest.mark.parametrize("part", range(PARTS))
def test_no_sentence_contradicts_a_number_a_mark_or_the_plot(run, part):
    for number in range(part, GRIDS, PARTS):
        rng = np.random.default_rng(number)
        rows = random_rows(run, rng)
        norms = {row["norm"] for row in rows}
        against = "batch" if number % 2 and len(norms) > 1 and "batch" in norms else None
        question = Question(rows=["norm"], columns=["batch_size"], against=against)
        if not any(row["status"] == "done" for row in rows):
            continue
        comparison = make_comparison(rows, question)
        (check_against if against else check_ranking)(rows, comparison)
        if against:
            check_tables(comparison)
        check_plot(rows, comparison)
        check_lost(rows, comparison)
