"""One folder that cannot be read takes no command down for the others."""

import csv
import json
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hostile import BROKEN, ODD, REASONS, TORN, Damage
from report_runs import write_full

from nnexp import experiment
from nnexp.cli.app import main
from nnexp.rundir.folder import RunDir
from nnexp.rundir.results import write_results_view

GUARD = 300  # seconds after which a command that waits for a FIFO is ended
CHEAP = (["runs"], ["compare"], ["compare", "--json"], ["compare", "--rows", "norm", "--csv"])


@pytest.fixture(autouse=True)
def _own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.chdir(tmp_path)
    signal.signal(signal.SIGALRM, lambda *_: pytest.fail("it hangs"))
    signal.alarm(GUARD)
    yield
    signal.alarm(0)


def healthy() -> list[RunDir]:
    """Write two runs with nothing wrong."""
    return [write_full(Path("runs"), "batch", 0.4 + seed / 100, seed=seed) for seed in (0, 1)]


def damaged(damage: Damage, seed: int = 7) -> RunDir:
    """Write one run and damage it; return its folder."""
    run = write_full(Path("runs"), "group", 0.5, seed=seed)
    damage(run)
    return run


def answer(capsys: pytest.CaptureFixture[str], *argv: str) -> tuple[int, str, str]:
    """Return exit code, output and messages of a command."""
    capsys.readouterr()
    with pytest.raises(SystemExit) as end:
        main(list(argv))
    assert isinstance(end.value.code, int)
    out, err = capsys.readouterr()
    assert "Traceback" not in out + err
    return end.value.code, out, err


@pytest.mark.parametrize("name", BROKEN)
def test_folder_that_cannot_be_read_is_named_by_every_command_that_goes_on(name, capsys):
    first, second = healthy()
    broken = damaged(BROKEN[name])
    for argv in CHEAP:
        code, out, err = answer(capsys, *argv)
        assert (code, len(err.splitlines())) == (0, 1), argv
        assert err.startswith("nnexp: 1 folder cannot be read: "), argv
        assert str(broken.path) in err
        file, _, what = name.partition(" ")
        assert file in err
        assert REASONS.get(what, "") in err
        if argv == ["runs"]:
            (line,) = [line for line in out.splitlines() if line.startswith(broken.path.name)]
            assert line.split()[1] == "broken"
            assert first.path.name in out
    code, out, _ = answer(capsys, "diff", str(first.path), str(second.path))
    assert code == 0


@pytest.mark.parametrize("name", BROKEN)
def test_single_run_that_cannot_be_read_is_answered_in_two_lines(name, capsys):
    (first, _), broken = healthy(), str(damaged(BROKEN[name]).path)
    for argv in (
        ["runs", broken],
        ["compare", broken],
        ["report", broken],
        ["figure", "curves", broken],
        ["diff", broken, str(first.path)],
        ["diff", str(first.path), broken],
    ):
        code, out, err = answer(capsys, *argv)
        assert (code, out) == (2, ""), argv
        assert len(err.splitlines()) == 2, argv
        assert broken in err, argv


@pytest.mark.parametrize("name", ODD)
def test_folder_that_is_odd_is_read_all_the_same(name, capsys):
    healthy()
    run = damaged(ODD[name])
    run.log.write_text("\x1b[31mred\x1b]0;owned\x07 \u202eabc\n")
    for argv in (*CHEAP, ["logs", str(run.path)], ["traces", "--csv", str(run.path)]):
        code, out, err = answer(capsys, *argv)
        assert code == 0, argv
        assert "cannot be read" not in err, argv
        assert not {"\x1b", "\x07", "\u202e"} & set(out + err), argv


@pytest.mark.parametrize("name", [name for name in TORN if name.startswith("traces")])
def test_traces_that_cannot_be_read_leave_those_of_other_runs(name, capsys):
    first, _ = healthy()
    torn = damaged(TORN[name])
    code, out, err = answer(capsys, "traces", "--csv", str(torn.path), str(first.path))
    assert code == 0
    assert err.startswith(f"nnexp: 1 folder cannot be read: {torn.path} (traces.csv: ")
    assert {row["run_id"] for row in csv.DictReader(out.splitlines())} == {first.path.name}
    code, out, err = answer(capsys, "traces", str(torn.path))
    assert (code, out, len(err.splitlines())) == (2, "", 2)
    assert str(torn.traces) in err


@pytest.mark.parametrize("name", [name for name in TORN if name.startswith("metrics")])
def test_metrics_of_an_unfinished_run_that_cannot_be_read_are_listed_as_broken(name, capsys):
    healthy()
    torn = damaged(TORN[name])
    whole = torn.path / "whole"
    torn.result.rename(whole)
    code, out, err = answer(capsys, "runs")
    states = {line.split()[0]: line.split()[1] for line in out.splitlines()[1:] if line}
    may_be_growing = name in ("metrics are empty", "metrics are torn")
    assert code == 0
    assert (states[torn.path.name] == "broken") != may_be_growing
    assert (str(torn.path) in err) != may_be_growing
    whole.rename(torn.result)
    code, _, err = answer(capsys, "compare")  # which does not look at them
    assert (code, err) == (0, "")


@pytest.mark.parametrize("kind", ["curves", "traces", "dots"])
def test_figure_is_drawn_without_the_folders_that_cannot_be_read(kind, capsys):
    healthy()
    bad = [*list(BROKEN.values())[::4], *TORN.values()]
    runs = [damaged(damage, seed) for seed, damage in enumerate(bad, 10)]
    table = {"curves": "metrics", "traces": "traces"}.get(kind, "result")
    code, out, err = answer(capsys, "figure", kind, "-o", "figure.svg")
    assert (code, out) == (0, "figure: figure.svg\nnumbers: figure.csv\n")
    (line,) = err.splitlines()
    named = sum(name.startswith(table) for name in TORN) + len(bad) - len(TORN)
    assert line.startswith(f"nnexp: {named} folders cannot be read: {runs[0].path} (")
    assert Path("figure.svg").stat().st_size > 1000


def test_report_is_written_with_all_that_can_be_read_and_names_the_rest(capsys):
    healthy()
    bad = [*BROKEN.values(), *TORN.values(), *ODD.values()]
    for seed, damage in enumerate(bad, 10):
        damaged(damage, seed)
    code, out, err = answer(capsys, "report", "-o", "page.html", "--where", "norm=batch,group")
    assert code == 0
    assert out.startswith("report: page.html")
    assert err.splitlines()[-1].startswith(
        f"nnexp: {len(BROKEN) + len(TORN)} folders cannot be read: "
    )
    page = Path("page.html").read_text("utf-8")
    assert f"{len(BROKEN)} folders cannot be read" in page
    assert "drawn without what cannot be read" in page
    assert '<figure class="curves">' in page
    assert not {"\x1b", "\x07", "\u202e"} & set(page)


def test_run_finishes_beside_folders_that_cannot_be_read(tiny):
    bad = [*BROKEN.values(), *TORN.values(), *ODD.values()]
    for seed, damage in enumerate(bad, 10):
        damaged(damage, seed)
    outcome = experiment.run(tiny)
    assert outcome.status == "done"
    view = write_results_view(Path("runs"))
    with view.open(encoding="utf-8", newline="") as file:
        assert len(list(csv.DictReader(file))) >= len(TORN)


@pytest.mark.parametrize("source", ["/dev/null", "fifo", "a" * 300, "results.csv"])
def test_source_that_is_no_folder_of_runs_is_answered_in_two_lines(source, capsys):
    import os

    os.mkfifo("fifo")
    os.mkfifo("results.csv")
    code, out, err = answer(capsys, "compare", source)
    assert (code, out, len(err.splitlines())) == (2, "", 2)
    assert source in err


def test_markup_in_a_name_is_text_and_not_a_colour(capsys, monkeypatch):
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    run = write_full(Path("runs"), "batch", 0.5, status="failed", reason="[red]why[/red] [/nope]")
    run.status.write_text(json.dumps({"status": "[bold]odd", "reason": "[red]why[/red] [/nope]"}))
    _, out, _ = answer(capsys, "runs")
    assert "[bold]odd" in out
    assert "[red]why[/red] [/nope]" in out
