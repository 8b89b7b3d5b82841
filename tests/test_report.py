import re
from collections import Counter
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from report_runs import MADE_WITH, write_curves, write_full, write_study, write_traces
from results import BATCH, LAYER, settings, write_run, write_seeds
from scipy import stats

from nnexp.cli.app import main
from nnexp.cli.report_pages import about_study
from nnexp.cli.study_plan import StudyPlan
from nnexp.compare import load_runs, read_rows
from nnexp.compare.comparison import Question, make_comparison
from nnexp.figures import style_of
from nnexp.figures.chance import chance_of
from nnexp.figures.defaults import complete
from nnexp.report import PageHead, make_page, write_report
from nnexp.report.arms import Arms
from nnexp.report.cells import sort_value
from nnexp.report.page import MOST_ROWS
from nnexp.report.runs import MOST_DETAILED, MOST_TRACED
from nnexp.report.sentences import by_column, remarks, short_answer
from nnexp.rundir import write_results_view
from nnexp.settings import DataConfig, NormConfig

PAGES = Path(__file__).parents[1] / "docs/studies"
VOID = {"meta", "link", "img", "source", "br", "input"}


class Page(HTMLParser):
    """What a page holds: tags in balance, attributes, text."""

    def __init__(self, html: str) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.attributes: list[tuple[str, str, str]] = []
        self.text: dict[str, list[str]] = {}
        self.feed(html)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.attributes += [(tag, key, value or "") for key, value in attrs]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.attributes += [(tag, key, value or "") for key, value in attrs]

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open:
            self.text.setdefault(self.open[-1], []).append(data)

    def values(self, key: str) -> list[str]:
        return [value for _, name, value in self.attributes if name == key]


@pytest.fixture(autouse=True)
def _empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def page_of(*sources: str, topic: PageHead | None = None, **question) -> str:
    rows = read_rows(sources or ("runs",))
    return make_page(rows, Question(**question), topic or PageHead())


def said(**question) -> list[str]:
    """Return the sentences of the short answer."""
    rows = read_rows()
    return short_answer(make_comparison(rows, complete(Question(**question), rows)))


def remarked() -> dict[str, str]:
    """Return what is said beside the short answer, by what it is said of."""
    rows = read_rows()
    comparison = make_comparison(rows, complete(Question(), rows))
    return {one.about: one.text for one in remarks(comparison, chance_of(rows, comparison.metric))}


def test_page_is_whole_and_needs_nothing_but_itself():
    write_study(Path("runs"), rates=(0.005, 0.02), seeds=(0, 1))
    run = write_full(Path("runs"), "none", None, rate=0.3, status="diverged")
    write_traces(run, "channels")
    html = page_of()
    page = Page(html)
    addresses = [*page.values("src"), *page.values("srcset"), *page.values("href")]
    assert all(one.startswith(("data:", "#")) for one in addresses)
    assert not re.search(r"url\(|@import|https?://|//[a-z]+\.", html)
    (policy,) = [one for one in page.values("content") if "default-src" in one]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert not page.values("style")
    assert not [key for _, key, _ in page.attributes if key.startswith("on")]
    assert max(Counter(page.values("id")).values()) == 1
    links = {one.removeprefix("#") for one in page.values("href") if one.startswith("#")}
    assert links <= set(page.values("id"))
    assert all(page.values("alt"))


def test_same_runs_give_the_same_page():
    write_study(Path("runs"), seeds=(0,))
    assert page_of() == page_of()


def test_what_others_wrote_is_text_and_never_markup():
    write_study(Path("runs"), seeds=(0,))
    evil = "<script>alert(1)</script>"
    write_full(Path("runs"), "group", None, 8, status="failed", reason=f"Error: {evil}")
    sheet = Path("results.csv")
    head, row = write_results_view(Path("runs")).read_text("utf-8").splitlines()[:2]
    others = row.replace("baseline-batch", evil).replace("done,", f"{evil},")
    others = others.replace(",batch,", r",<b>$\frac$</b>,")
    sheet.write_text(f"{head}\n{others}\n", "utf-8")
    html = page_of("runs", str(sheet), topic=PageHead(title=f"A & B {evil}", question=evil))
    assert evil not in html
    assert html.count("<script>") == 1
    assert "<b>" not in html
    page = Page(html)
    assert page.text["h1"] == [f"A & B {evil}"]
    assert f"Error: {evil}" in page.text["td"]


def test_answer_gives_each_difference_to_a_baseline_with_its_interval_the_largest_first():
    values = {
        "batch": [0.80, 0.82, 0.81, 0.85],
        "group": [0.715, 0.705, 0.745, 0.695],
        "layer": [0.86, 0.81, 0.82, 0.83],
    }
    for norm, accuracies in values.items():
        write_seeds(Path("runs"), dict(enumerate(accuracies)), norm)
    interval = stats.dunnett(
        values["group"], values["layer"], control=values["batch"], rng=1
    ).confidence_interval(0.95)
    (sentence,) = said()
    found = re.fullmatch(
        r"Test accuracy compared with batch: group -10\.50 points \((\S+) to (\S+)\) is lower; "
        r"layer \+1\.00 points \((\S+) to (\S+)\) is not shown to differ\.",
        sentence,
    )
    bounds = [interval.low[0], interval.high[0], interval.low[1], interval.high[1]]
    assert list(map(float, found.groups())) == pytest.approx([100 * b for b in bounds], abs=0.05)


def test_best_is_named_where_there_is_no_baseline_with_what_differs_from_it():
    write_seeds(Path("runs"), {seed: one + 0.1 for seed, one in BATCH.items()}, "group")
    write_seeds(Path("runs"), LAYER, "layer")
    write_seeds(Path("runs"), {0: 0.5}, "instance")
    (sentence,) = said()
    assert sentence.startswith("Test accuracy: the highest of those judged is group (92.00 %); ")
    assert "layer -13.00 points (" in sentence
    assert sentence.endswith(") is lower; instance is not judged (one seed).")


def test_one_seed_is_called_too_little_to_judge():
    write_seeds(Path("runs"), {0: 0.5}, "batch")
    write_seeds(Path("runs"), {0: 0.4}, "layer")
    (sentence,) = said()
    assert sentence.startswith(
        "Test accuracy compared with batch: layer -10.00 points is not judged (one seed"
    )


def test_one_norm_alone_is_not_called_best():
    write_seeds(Path("runs"), BATCH, "batch")
    assert said() == ["Test accuracy: batch 82.00 %, and nothing to compare it with."]


def test_several_columns_are_answered_by_their_average_and_each_has_its_sentence():
    write_study(Path("runs"), batch_sizes=(2, 8, 32))
    rows = read_rows()
    comparison = make_comparison(rows, complete(Question(), rows))
    (sentence,) = short_answer(comparison)
    assert sentence.startswith("Average over batch size, test accuracy compared with batch: ")
    heads = [one.partition(",")[0] for one in by_column(comparison)]
    assert heads == ["Batch size 2", "Batch size 8", "Batch size 32"]
    assert "Per doubling of batch size" in remarked()


def test_lost_runs_are_named_with_their_reasons():
    write_study(Path("runs"), seeds=(0, 1))
    write_full(Path("runs"), "none", None, 8, status="diverged")
    write_full(Path("runs"), "group", None, 8, status="failed", reason="disk full\nmore")
    words = remarked()
    assert words["Diverged"] == "none, batch size 8 (1 of 1)."
    assert words["Failed"] == "group, batch size 8 (1 of 1)."
    cells = Page(page_of()).text["td"]
    assert "the loss was no longer finite at step 7" in cells
    assert "disk full" in cells


def test_run_that_failed_before_its_first_epoch_makes_an_arm_without_a_curve():
    for groups in (4, 7):
        config = replace(settings(), norm=NormConfig(name="group", num_groups=groups))
        if groups == 4:
            write_curves(write_run(Path("runs"), config, 0.8), [0.5, 1.0], 0.8)
        else:
            write_run(Path("runs"), config, status="failed", reason="7 groups do not divide 16")
    page = Page(page_of())
    assert page.values("data-name") == ["num groups 4"] * 4
    assert "7 groups do not divide 16" in page.text["td"]


def test_norm_at_its_best_own_setting_is_one_arm():
    for groups in (2, 4):
        for seed in (0, 1):
            norm = NormConfig(name="group", num_groups=groups)
            accuracy = 0.5 + groups / 100 + seed / 1000
            run = write_run(
                Path("runs"),
                replace(settings(seed=seed), norm=norm),
                accuracy,
                val_accuracy=accuracy,
            )
            write_curves(run, [0.5, 1.0], accuracy)
    page = Page(page_of(best="norm.num_groups"))
    assert page.values("data-name") == ["group"] * 4


def test_where_learning_rates_vary_each_cell_is_at_its_best_and_the_shared_rates_are_there_too():
    write_study(Path("runs"), rates=(0.005, 0.02), seeds=(0, 1))
    html = page_of()
    page = Page(html)
    assert "val_accuracy %: how each cell chose its optimizer.learning_rate" in page.text["caption"]
    assert "test_accuracy %, optimizer.learning_rate=0.005" in page.text["caption"]
    assert "46.30 ± 0.14 (2) at 0.02" in html
    named = Page(page_of(rows=["norm"], columns=["optimizer.learning_rate"]))
    assert not [one for one in named.text["caption"] if "how each cell chose" in one]


def test_page_says_how_to_make_the_runs_again():
    write_study(Path("runs"), batch_sizes=(32,), seeds=(0,))
    dirty = {**MADE_WITH, "dirty": True, "commit": "beef" * 10}
    write_run(Path("runs"), settings("layer", batch_size=32), 0.5, environment=dirty)
    page = Page(page_of())
    (first, second) = [one for one in page.text["pre"] if one.startswith("git checkout")]
    assert first == (
        f"git checkout {MADE_WITH['commit']}\npip install uv\n"
        "uv run nnexp train norm=batch data.root='my photos'"
    )
    assert f"git checkout {dirty['commit']}" in second
    assert {"clean", "with uncommitted changes", "3.12.1", "2.15.0"} <= set(page.text["dd"])


def test_results_of_another_machine_make_a_page_without_curves():
    write_study(Path("runs"), seeds=(0, 1))
    view = write_results_view(Path("runs"))
    page = Page(page_of(str(view)))
    notes = " ".join(page.text["p"])
    assert "no run here has a metrics.csv" in notes
    assert "Of 12 runs the environment is not known here." in notes


def test_of_many_runs_some_traces_are_left_out_and_the_page_says_so():
    seeds = tuple(range(MOST_TRACED // 3 + 4))
    write_study(Path("runs"), batch_sizes=(32,), seeds=seeds)
    html = page_of()
    assert html.count('aria-label="running mean') == MOST_TRACED
    assert html.count('aria-label="loss') == 3 * len(seeds)
    assert f"Traces are drawn for {MOST_TRACED} runs" in html
    assert "12 are left out" in html


def test_every_setting_of_every_run_is_on_the_page():
    write_full(Path("runs"), "group", 0.5)
    (settings_text,) = [one for one in Page(page_of()).text["pre"] if "norm.eps=" in one]
    assert "norm=group\nbatch_size=32\nseed=0" in settings_text
    assert "schedule.milestones=[0.5, 0.75]" in settings_text


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("* 45.40 ± 1.42 (3)", "45.40"),
        ("≈ 44.1 (3) at 0.02↓", "44.1"),
        ("-12.5 to +3", "-12.5"),
        ("1,234", "1234"),
        ("< 0.0001", "0.0001"),
        ("2 of 3 diverged", None),
        ("–", None),
    ],
)
def test_cells_are_sorted_by_the_number_they_begin_with(text, value):
    assert sort_value(text) == value


def test_study_heads_the_page_with_its_question_and_not_with_what_its_authors_found():
    nothing = {"title": "", "question": ""}
    asked = about_study(["study=disable_bn", "elsewhere"], nothing)
    assert asked["title"] == "Study disable_bn"
    assert asked["question"].endswith("?")
    mine = about_study(["study=disable_bn"], {**nothing, "question": "Why?"})
    assert mine["question"] == "Why?"
    assert about_study(["runs"], nothing) == nothing
    assert asked.keys() == nothing.keys()


@pytest.mark.parametrize("file", sorted(PAGES.glob("*.remarks.md")), ids=lambda file: file.name)
def test_page_headed_by_a_study_never_says_what_its_authors_found(file):
    found = [line for line in file.read_text("utf-8").splitlines() if len(line) > 40]
    assert found
    head = about_study([f"study={file.name.partition('.')[0]}"], {"title": "", "question": ""})
    write_seeds(Path("runs"), BATCH, "batch")
    page = Page(page_of(topic=PageHead(**head)))
    assert page.text["p"][0] == head["question"]
    text = " ".join(word for words in page.text.values() for word in words)
    assert not [line for line in found if line in text]


def test_command_writes_the_page_and_says_how_large_it_is(capsys):
    write_study(Path("runs"), seeds=(0,))
    with pytest.raises(SystemExit) as end:
        main(["report", "runs", "-o", "page.html", "--title", "Mine", "--metric", "val_accuracy"])
    assert end.value.code == 0
    assert re.fullmatch(r"report: page.html \(0\.\d MB, 6 runs\)\n", capsys.readouterr().out)
    page = Page(Path("page.html").read_text("utf-8"))
    assert page.text["h1"] == ["Mine"]
    assert page.text["p"][0] == "How does val accuracy depend on norm and batch size?"


@pytest.mark.parametrize("output", ["page.pdf", "nowhere/page.html"])
def test_page_that_cannot_be_written_is_said_in_two_lines(output, capsys):
    write_study(Path("runs"), seeds=(0,))
    with pytest.raises(SystemExit) as end:
        main(["report", "runs", "-o", output])
    assert end.value.code == 2
    assert len(capsys.readouterr().err.splitlines()) == 2


def test_probed_runs_have_a_table_of_what_happens_inside():
    for norm, shift in (("batch", 0.5), ("none", 0.1)):
        for seed in (0, 1):
            write_run(Path("runs"), settings(norm, seed=seed), 0.8, covariate_shift=shift)
    page = make_page(read_rows(), Question(), PageHead())
    assert "Inside the network" in page
    assert "0.5000 ± 0.0000 (2)" in page
    write_run(Path("more"), settings("batch", seed=0), 0.8)
    assert "Inside the network" not in make_page(read_rows(["more"]), Question(), PageHead())


def test_report_is_written_of_folders_and_of_loaded_runs_alike(capsys):
    write_study(Path("runs"), batch_sizes=(32,), seeds=(0,))
    write_full(Path("runs"), "none", None, 8, status="diverged")
    write_full(Path("runs"), "none", None, 16, status="failed", reason="disk full")
    written = write_report("first.html", "runs", rows=["norm"], title="Mine")
    write_report("second.html", load_runs("runs"), rows=["norm"], title="Mine")
    assert written == Path("first.html")
    assert written.read_text("utf-8") == Path("second.html").read_text("utf-8")
    assert capsys.readouterr() == ("", "")


def test_what_is_no_better_than_guessing_is_called_at_chance():
    for norm, seed, accuracy in (
        ("none", 0, 0.11),
        ("none", 1, 0.09),
        ("batch", 0, 0.40),
        ("batch", 1, 0.11),
    ):
        config = settings(norm, seed=seed, data=DataConfig(name="cifar10", test_images=500))
        write_run(Path("runs"), config, accuracy, chance_accuracy=0.1, test_images=500)
    assert remarked()["At chance"] == "none: no better than guessing, 10 %."
    html = page_of()
    assert "test 9.00 %, at chance" in html
    assert html.count(", at chance") == 3
    write_seeds(Path("more"), {0: 0.1}, "none", data=DataConfig(name="folder"))
    assert "at chance" not in page_of("more")


def test_report_judges_as_the_study_planned(monkeypatch):
    plan = StudyPlan(read="nnexp compare --rows norm.momentum --against 0.1 --margin 5 --paired")
    monkeypatch.setattr("nnexp.cli.study_plan.read_plan", lambda *_: plan)
    with pytest.raises(SystemExit) as end:
        main(["report", "study=running_stats", str(PAGES / "running_stats.csv")])
    assert end.value.code == 0
    page = Path("report.html").read_text("utf-8")
    assert "the whole interval is within ± 5 points" in page
    assert "Runs that share a seed are compared as pairs" in page


def test_page_opens_with_the_answer_then_the_plot_then_tables_and_figures():
    write_study(Path("runs"), batch_sizes=(2, 8, 32))
    html = page_of()
    (sentence,) = said()
    places = [
        html.index(words)
        for words in (
            sentence, '<figure class="forest">', "Column by column", 'id="tables"', "<table",
            'class="curves"', "<img", "What failed</h2>", "All 27 runs</summary>",
        )
    ]  # fmt: skip
    assert places == sorted(places)


def test_plot_has_a_text_alternative_and_its_marks_have_the_values_of_the_table():
    write_study(Path("runs"), batch_sizes=(2, 8, 32))
    page = Page(page_of())
    assert ("svg", "role", "img") in page.attributes
    assert any("Forest plot: differences" in label for label in page.values("aria-label"))
    titles = [one for one in page.text["title"] if "points (" in one]
    assert len(titles) == 2 * 4
    cells = " ".join(page.text["td"] + page.text["strong"])
    for title in titles:
        value, low, high = re.search(r"(\S+) points \((\S+) to (\S+)\)", title).groups()
        assert f"{value} ({low} to {high})" in cells


def test_curves_on_the_page_are_those_of_the_runs():
    write_study(Path("runs"), batch_sizes=(32,))
    html = page_of()
    points = re.findall(r'data-name="batch"[^>]*points="([^"]*)"', html)
    assert len(points) == 4
    lines = [[tuple(map(float, point.split(","))) for point in one.split()] for one in points]
    accuracies = [row["val_accuracy"] + 0.01 for row in read_rows() if row["norm"] == "batch"]
    mean = 100 * float(np.mean(accuracies))
    assert lines[3] == [
        (n, pytest.approx(-s * mean, abs=0.01)) for n, s in ((1, 0.5), (2, 0.8), (3, 1.0))
    ]
    assert "mean of 3 seeds, band: ± sample standard deviation" in html


def test_of_very_many_folders_some_are_read_for_figures_and_the_page_says_so(monkeypatch):
    monkeypatch.setattr("nnexp.report.sample.MOST_READ", 6)
    write_study(Path("runs"), batch_sizes=(32,))
    html = page_of()
    assert "are drawn of 6 of 9 runs, the lowest seeds first." in html
    assert "mean of 2 seeds" in html


def test_page_of_very_many_runs_stays_small_and_says_where_the_rest_is():
    write_study(Path("runs"), seeds=(0,))
    (row, *others) = read_rows()
    many = [
        {**row, "run_id": f"{row['run_id']}-{seed}", "seed": seed, "reason": "x" * 300}
        for seed in range(10, 10 + 2 * MOST_ROWS)
    ]
    html = make_page([row, *others, *many], Question(), PageHead())
    assert len(html) < 4_000_000
    assert html.count("<tr>") < 1.5 * MOST_ROWS
    assert html.count('<details id="run-') == MOST_DETAILED
    assert f"Settings and curves are shown for {MOST_DETAILED} runs" in html
    assert f"The first {MOST_ROWS} of {len(many) + 6} rows; results.csv" in html
    page = Page(html)
    links = {one.removeprefix("#") for one in page.values("href") if one.startswith("#")}
    assert links <= set(page.values("id"))


def test_norm_of_a_plug_in_has_a_marker_of_its_own_on_the_page():
    write_seeds(Path("runs"), BATCH, "batch")
    rows = [{**row, "norm": norm} for row in read_rows() for norm in ("batch", "ghost & co")]
    for row in rows:
        row["run_id"] += row["norm"]
    html = make_page(rows, Question(), PageHead())
    assert f"--own: {style_of('ghost & co').colour};" in html
    drawn = {arm.marker for arm in Arms(rows).all}
    assert len(drawn) == 2
    assert drawn <= set(Page(html).values("d"))
