"""`results.csv` files from spreadsheets and other hands, and what is made of them."""

import csv
import io
import json
import math
from pathlib import Path

import pytest
from results import BATCH, GROUP, cells, compared, settings, write_run, write_seeds

from nnexp.compare import load_runs, read_rows
from nnexp.rundir import write_results_view

ENCODINGS = ["utf-8-sig", "utf-16", "utf-16-le", "utf-16-be"]


@pytest.fixture(autouse=True)
def _own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def view() -> Path:
    """Return the results of two norms with four seeds each, away from their runs."""
    write_seeds(Path("elsewhere"), BATCH, "batch")
    write_seeds(Path("elsewhere"), GROUP, "group")
    return write_results_view(Path("elsewhere")).rename("results.csv")


def changed(view: Path, column: str, text: str, row: int = 0) -> str:
    """Put a text into one cell; return the run's id."""
    rows = list(csv.DictReader(io.StringIO(view.read_text("utf-8"))))
    rows[row][column] = text
    with view.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return rows[row]["run_id"]


@pytest.mark.parametrize(
    "text", ["NA", "93.1%", "0,931", "nan", "NaN", "Infinity", "True", "1e999"]
)
def test_cell_that_is_no_number_is_missing_for_its_run_alone_and_named(view, text, capsys):
    name = changed(view, "test_accuracy", text)
    code, out, err = compared(capsys, str(view), "--rows", "norm", "--csv")
    counts = {row["norm"]: row["n"] for row in csv.DictReader(io.StringIO(out))}
    assert (code, counts) == (0, {"batch": "3", "group": "4"})
    assert err.startswith("nnexp: no number, so taken as missing: test_accuracy ")
    assert err.endswith(f" of {name}\n")
    for form in ([], ["--md"], ["--tex"], ["--against", "batch"]):
        assert compared(capsys, str(view), "--rows", "norm", *form)[0] == 0


def test_column_without_any_number_is_missing_for_all_and_the_first_are_named(view, capsys):
    for row in range(8):
        changed(view, "test_accuracy", "0,931", row)
    code, out, err = compared(capsys, str(view), "--rows", "norm", "--csv")
    assert (code, {row["n"] for row in csv.DictReader(io.StringIO(out))}) == (0, {"0"})
    assert err.count("'0,931'") == 5
    assert err.endswith(" and 3 more\n")


def test_column_of_remarks_stays_text_though_one_looks_like_a_number(view, capsys):
    text = view.read_text("utf-8").splitlines()
    remarks = ["remark", "good", "5", *["bad"] * 6]
    view.write_text("\n".join(f"{a},{b}" for a, b in zip(text, remarks, strict=True)) + "\n")
    heard: list[str] = []
    assert [row["remark"] for row in read_rows([view], heard.append)][:2] == ["good", 5]
    assert heard == []


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
@pytest.mark.parametrize("encoding", ENCODINGS)
def test_table_of_a_spreadsheet_reads_like_the_one_it_was_saved_from(view, encoding, delimiter):
    rows = list(csv.reader(io.StringIO(view.read_text("utf-8"))))
    text = io.StringIO()
    csv.writer(text, delimiter=delimiter, lineterminator="\r\n").writerows(rows)
    mark = "\ufeff" if encoding in ("utf-16-le", "utf-16-be") else ""
    Path("saved.csv").write_bytes((mark + text.getvalue()).encode(encoding))
    assert [{**row, "folder": ""} for row in read_rows(["saved.csv"])] == [
        {**row, "folder": ""} for row in read_rows([view])
    ]


@pytest.mark.parametrize("encoding", ["latin-1", "utf-16-le", "cp1252"])
def test_table_whose_encoding_can_only_be_guessed_is_answered_with_a_hint(view, encoding, capsys):
    changed(view, "study", "Größe")
    view.write_bytes(view.read_text("utf-8").encode(encoding))
    code, out, err = compared(capsys, str(view))
    assert (code, out, len(err.splitlines())) == (2, "", 2)
    assert "save it as UTF-8" in err


@pytest.mark.parametrize(
    ("column", "text", "reason"),
    [
        ("seed", "", "seed is empty"),
        ("seed", "one", "seed is 'one'"),
        ("batch_size", "12.5", "batch_size is 12.5"),
        ("run_id", "", "run_id is empty"),
        ("optimizer.learning_rate", "0,02", "optimizer.learning_rate is '0,02'"),
    ],
)
def test_row_whose_settings_cannot_be_is_left_out_and_named(view, column, text, reason, capsys):
    changed(view, column, text, row=2)
    code, out, err = compared(capsys, str(view), "--csv")
    assert code == 0
    assert sum(int(row["n"]) for row in csv.DictReader(io.StringIO(out))) == 7
    assert err == f"nnexp: 1 row cannot be read: row 4 of results.csv ({reason})\n"


@pytest.mark.parametrize("tail", ["a,b\n", 'x,"' + "y\n" * 9, ",".join("1" * 300) + "\n"])
def test_table_with_a_ragged_or_endless_row_is_answered_in_two_lines(view, tail, capsys):
    with view.open("a") as file:
        file.write(tail)
    code, out, err = compared(capsys, str(view))
    assert (code, out, len(err.splitlines())) == (2, "", 2)


def test_setting_that_a_row_was_made_without_is_at_its_default(view):
    changed(view, "norm.conv_bias", "")
    assert read_rows([view])[0]["norm.conv_bias"] == "auto"


def test_rows_as_pandas_writes_them_can_be_read_again(view):
    at = settings("batch", seed=9)
    at.norm.at = {"conv1": "layer"}
    write_run(Path("more"), at, 0.5)
    load_runs("more", view).drop(columns=["folder"]).to_csv("again.csv", index=False)
    again = read_rows(["again.csv"])
    assert len(again) == 9
    assert again[0]["norm.at"] == "{conv1: layer}"


@pytest.mark.parametrize("value", ["NaN", "Infinity", "-Infinity", "1e999"])
def test_json_is_json_whatever_the_figures(view, value, capsys):
    changed(view, "test_loss", value)
    code, out, err = compared(capsys, str(view), "--metric", "test_loss", "--json")

    def refuse(word: str) -> None:
        raise AssertionError(word)

    json.loads(out, parse_constant=refuse)
    assert code == 0
    assert "test_loss" in err


def test_figure_too_large_to_average_is_null_and_noted_in_json(view, capsys):
    for row, text in enumerate(["1.5e308", "1.6e308", "1.7e308", "1.4e308"]):
        changed(view, "test_loss", text, row)
    with pytest.warns(RuntimeWarning):
        code, out, _ = compared(capsys, str(view), "--metric", "test_loss", "--json")
    content = json.loads(out, parse_constant=lambda word: pytest.fail(word))
    assert code == 0
    assert content["warnings"] == ["a number that is not finite is written as null"]
    assert any(cell["mean"] is None for cell in content["cells"])


@pytest.mark.parametrize("start", ["=", "+", "-", "@"])
def test_text_that_a_spreadsheet_would_compute_is_escaped_and_numbers_are_not(view, start, capsys):
    changed(view, "norm", f"{start}cmd|' /C calc'!A0", row=5)
    rows = cells(capsys, str(view), "--rows", "norm", "--metric", "test_accuracy")
    assert f"'{start}cmd|' /C calc'!A0" in {row["norm"] for row in rows}
    paired = cells(capsys, str(view), "--rows", "norm", "--against", "batch")
    assert any(row["difference"].startswith("-") for row in paired)
    assert all(math.isfinite(float(row["difference"] or 0)) for row in paired)


def test_line_break_in_a_cell_breaks_no_line_of_markdown_or_latex(view, capsys):
    whole = [compared(capsys, str(view), "--rows", "norm", form)[1] for form in ("--md", "--tex")]
    for row in range(4):
        changed(view, "norm", "two\r\nlines", row)
    broken = [compared(capsys, str(view), "--rows", "norm", form)[1] for form in ("--md", "--tex")]
    assert [len(text.splitlines()) for text in broken] == [len(text.splitlines()) for text in whole]
    assert "two lines" in broken[0]
    assert "two lines" in broken[1]


@pytest.mark.parametrize("label", ["[1ex]", "*", "*[2cm]"])
def test_label_of_a_row_is_no_option_of_the_line_break_before_it(view, label, capsys):
    for row in range(4):
        changed(view, "norm", label, row)
    _, out, _ = compared(capsys, str(view), "--rows", "norm", "--tex")
    rows = [line.lstrip() for line in out.splitlines() if line.endswith(r"\\")]
    assert not any(line.startswith(("[", "*")) for line in rows)
