import re
import shlex
from collections.abc import Iterable
from dataclasses import replace
from functools import cache
from pathlib import Path

import hydra
import pytest
import yaml
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import DictConfig
from results import compared, settings, write_run

from nnexp.bench.bench import differing_in_speed
from nnexp.cli.app import main
from nnexp.cli.study_plan import HEADS, asked_by, read_plan
from nnexp.compare import read_rows
from nnexp.compare.study import read_study
from nnexp.rundir import write_results_view
from nnexp.settings import (
    ConfigError,
    ExperimentConfig,
    NormConfig,
    OptimizerConfig,
    config_home,
    names_in,
    run_id,
)
from nnexp.settings.choices import read_choices, remarks
from nnexp.settings.compose import (
    VERSION_BASE,
    compose_config,
    compose_each,
    compose_jobs,
    expand_jobs,
    launch_jobs,
    register,
    to_config,
)
from nnexp.settings.compose_many import compose_all

STUDIES = names_in("study")
READ = "# read: nnexp compare study=mine --rows norm --against group --metric val_accuracy"
MINE = """# @package _global_
# Does it work?
# cost: nothing
defaults:
  - override /model: baseline
study: mine
epochs: 4
hydra:
  sweeper:
    params:
      ++norm.at: "{},{conv1:layer}"
      norm: batch,group
      seed: 0,1
"""

RATE = "optimizer.learning_rate"


@pytest.fixture(autouse=True)
def _empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


READ_ONCE = cache(read_study)


@pytest.fixture(autouse=True)
def _composed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Compose the grid of a name once, which is one here; the remarks are read each time."""
    monkeypatch.setattr("nnexp.compare.study.read_study", READ_ONCE)


@pytest.fixture
def own_study(tmp_path: Path) -> Path:
    """A study in the marked `configs/` of the current folder."""
    file = tmp_path / "configs/study/mine.yaml"
    file.parent.mkdir(parents=True)
    file.write_text(MINE)
    (tmp_path / "configs/nnexp.yaml").touch()
    return file


def printed(capsys: pytest.CaptureFixture[str], *argv: str) -> str:
    with pytest.raises(SystemExit) as end:
        main(argv)
    assert end.value.code == 0
    return capsys.readouterr()[0]


def grid_in_file(study: str) -> dict[str, str]:
    text = (config_home() / "study" / f"{study}.yaml").read_text("utf-8")
    return yaml.safe_load(text)["hydra"]["sweeper"]["params"]


def as_hydra_splits(words: Iterable[str]) -> list[list[str]]:
    parsed = OverridesParser.create().parse_overrides(list(words))
    (jobs,) = BasicSweeper.split_arguments(parsed, None)
    return jobs


@pytest.mark.parametrize("study", STUDIES)
def test_study_is_headed_by_its_question_its_commands_its_cost_and_its_plan(study):
    question, *rest = remarks(config_home() / "study" / f"{study}.yaml")
    assert question.endswith("?")
    heads = [line.partition(": ")[0] for line in rest]
    optional = ("also", "source", "check")
    assert [head for head in heads if head not in optional] == ["run", "read", "cost", *HEADS]
    if "check" in heads:
        assert rest[0].startswith(f"run: nnexp verify {study.removeprefix('verify_')}")
        assert "source" in heads
    else:
        assert rest[0].startswith(f"run: nnexp sweep study={study}")
    for command in [read_plan(study).read, *read_plan(study).also]:
        assert re.match(rf"nnexp (compare|figure \w+) study={study}( |$)", command)


@pytest.mark.parametrize("study", STUDIES)
def test_command_that_reads_a_study_asks_for_the_metric_and_the_baseline_of_its_plan(study):
    plan = read_plan(study)
    asked = asked_by(plan.read)
    assert asked["metric"] == plan.heads["metric"]
    assert f"{asked['rows'][0]}={asked['against']}".endswith(plan.heads["baseline"])


@pytest.mark.parametrize("command", ["compare", "report"])
def test_study_without_another_question_is_read_as_planned(command, own_study, capsys):
    write_study(Path("runs"), "study=mine")
    own_study.write_text(MINE.replace("# cost: nothing", READ))
    assert show(command, capsys, "study=mine") == show(
        command, capsys, "study=mine", *shlex.split(READ.partition("study=mine ")[2])
    )


@pytest.mark.parametrize(
    "typed", ["--metric=val_accuracy", "--metric=test_accuracy", "--cols=norm"]
)
def test_what_is_asked_of_a_study_wins_over_its_plan(typed, own_study, capsys):
    write_study(Path("runs"), "study=mine")
    before = show("compare", capsys, "study=mine", typed)
    own_study.write_text(MINE.replace("# cost: nothing", READ))
    assert show("compare", capsys, "study=mine", typed) == before


def show(command: str, capsys: pytest.CaptureFixture[str], *words: str) -> str:
    """Return what a command prints, or the page that it writes without its commands."""
    page = Path("page.html")
    text = printed(capsys, command, *words, *(["-o", str(page)] if command == "report" else []))
    return page.read_text("utf-8") if command == "report" else text


@pytest.mark.parametrize("study", STUDIES)
@pytest.mark.parametrize("typed", [["scale=smoke"], ["seed=5", "scale=smoke"]])
def test_jobs_of_a_study_are_those_of_hydras_own_sweeper_in_its_order(study, typed):
    words = [f"study={study}", *typed]
    in_file = [f"{key}={values}" for key, values in grid_in_file(study).items()]
    assert expand_jobs(words) == as_hydra_splits([*in_file, *words])


def test_hydra_really_runs_the_jobs_that_are_listed(own_study):
    words = ["study=mine", "seed=3,4", "norm.momentum=0.5"]
    ran: list[tuple[list[str], str]] = []

    def task(composed: DictConfig) -> float:
        ran.append((list(HydraConfig.get().overrides.task), run_id(to_config(composed))))
        return 0.0

    launch_jobs(["hydra/launcher=basic", *words], task)
    listed = compose_jobs(words)
    assert [name for _, name in ran] == [run_id(config) for _, config in listed]
    assert [overrides for overrides, _ in ran] == [overrides for overrides, _ in listed]
    assert len(ran) == 8
    assert all(config.epochs == 4 for _, config in listed)


def test_what_is_typed_beats_the_study(own_study):
    jobs = compose_jobs(["study=mine", "seed=7", "model=alexnet", "epochs=16"])
    assert {(one.model.name, one.epochs, one.seed) for _, one in jobs} == {("alexnet", 16, 7)}
    assert len(jobs) == 4


def test_grid_of_a_mapping_meets_the_runs_of_single_blocks():
    jobs = compose_jobs(["study=swap_block", "batch_size=8", "seed=1"])
    common = ["model=baseline", "batch_size=8", "seed=1"]
    expected = [[], ["norm.at.conv1=layer"], ["norm.at.conv3=layer"]]
    assert [run_id(one) for _, one in jobs] == [
        run_id(compose_config([*common, *words])) for words in expected
    ]


def test_one_job_of_a_study_can_be_trained_if_all_its_words_are_typed():
    for words, config in compose_jobs(["study=swap_block", "batch_size=2"])[:4]:
        assert compose_config(words) == config
    with pytest.raises(ConfigError, match="study=swap_block is a grid"):
        compose_config(["study=swap_block", "batch_size=2", "seed=0"])


@pytest.mark.parametrize("command", ["show", "data", "train"])
def test_command_on_one_run_refuses_a_study(command, capsys):
    with pytest.raises(SystemExit) as end:
        main([command, "study=claims"])
    assert end.value.code == 2
    assert capsys.readouterr()[1].splitlines() == [
        "nnexp: study=claims is a grid",
        "       use nnexp sweep study=claims",
    ]


def test_settings_of_a_study_are_shown_without_a_sweep(own_study, capsys):
    text = printed(capsys, "train", "study=mine", "--cfg", "job")
    assert yaml.safe_load(text)["epochs"] == 4


def test_configs_shows_a_studys_remarks_its_grid_and_its_settings(own_study, capsys):
    lines = printed(capsys, "configs", "study=mine").splitlines()
    words = [line.partition("\t")[0] for line in lines]
    assert lines[:2] == ["study=mine\tDoes it work?", "\tcost: nothing"]
    assert words[2:5] == ["norm.at={},{conv1:layer}", "norm=batch,group", "seed=0,1"]
    assert {"model.name=baseline", "epochs=4"} <= set(words)


def test_configs_lists_every_study_with_its_question(own_study, capsys):
    lines = printed(capsys, "configs", "study").splitlines()
    assert [line.partition("\t")[0] for line in lines] == [
        f"study={name}" for name in ("mine", *STUDIES)
    ]
    assert "study=mine\tDoes it work?" in lines


@pytest.mark.parametrize(
    ("grid", "problem", "remedy"),
    [
        ("modle: a,b", "no setting 'modle'", "did you mean model=a,b"),
        ("norm: batch,btach", "no norm 'btach'", "did you mean norm=batch"),
        ("batch_size: 0,8", "batch_size cannot be 0", "it needs a whole number"),
        ("norm.at: '{},{a:layer}'", "'norm.at' adds to the settings", "write it ++norm.at"),
    ],
)
def test_wrong_grid_in_a_file_is_answered_in_two_lines(own_study, grid, problem, remedy):
    head = MINE.partition("      ++")[0]
    own_study.write_text(f"{head}      {grid}\n")
    with pytest.raises(ConfigError) as error:
        compose_jobs(["study=mine"])
    assert error.value.problem.removeprefix("hydra.sweeper.params: ") == problem
    assert error.value.remedy.startswith(remedy)


@pytest.mark.parametrize(
    "words",
    [
        [],
        ["model=convnext_tiny", "norm.eps=1e-3"],
        ["norm.eps=1e-3", "norm=group", "scale=smoke", "epochs=9"],
        ["++norm.at={conv1:layer}", "++norm.at.conv3=none", "tags=[a,b]"],
        ["norm={name: group, num_groups: 2}", "data.root='a b'", "runs_dir=${data.root}/x"],
        ["+norm.at.conv1=none", "schedule.milestones=[0.1]", "threads=2", "threads=null"],
    ],
)
def test_many_jobs_are_composed_as_hydra_composes_each(words):
    register()
    other = ["seed=1", *words]
    with hydra.initialize_config_dir(str(config_home()), **VERSION_BASE):
        expected = [to_config(hydra.compose("config", job)) for job in (words, other)]
        made = compose_all([words, other, words], read_choices(), to_config)
        assert list(made) == [*expected, expected[0]]


def test_what_a_config_of_the_users_own_takes_from_another_setting_follows_each_job(
    tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    for option, lines in {
        "follows": "data: {val_images: '${batch_size}'}",
        "lacks": "epochs: ???",
    }.items():
        file = tmp_path / "own" / "study" / f"{option}.yaml"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(f"# @package _global_\n{lines}\n")
    follows = compose_jobs(["study=follows", "batch_size=8,16"], "own")
    assert [config.data.val_images for _, config in follows] == [8, 16]
    lacks = compose_jobs(["study=lacks", "epochs=8,16"], "own")
    assert [config.epochs for _, config in lacks] == [8, 16]


def test_thousands_of_jobs_are_composed_by_hydra_once_for_each_value_of_a_mapping(monkeypatch):
    composed = []
    compose = hydra.compose

    def count(*args, **kwargs):
        composed.append(args)
        return compose(*args, **kwargs)

    monkeypatch.setattr(hydra, "compose", count)
    blocks = "++norm.at={},{conv1:layer}"
    jobs = compose_jobs(["seed=range(100)", "epochs=1,2,3,4,5", "norm.eps=1e-3,1e-5", blocks])
    assert len({run_id(config) for _, config in jobs}) == 2000
    assert len(composed) == 3  # one of them to read what the files would sweep


def test_bench_measures_what_differs_in_seed_or_learning_rate_once():
    rates = [OptimizerConfig(learning_rate=rate) for rate in (0.1, 0.2)]
    configs = [
        settings(n, seed=s, optimizer=o) for n in ("batch", "none") for s in (0, 1) for o in rates
    ]
    assert [one.norm.name for one in differing_in_speed(configs)] == ["batch", "none"]


PROBED = (
    *("matched_shift", "scaled_gradient_spread", "initial_scaled_gradient_spread"),
    *("covariate_shift", "activation_drift", "generalization_gap", "population_gap", "batch_gap"),
    *("population_test_accuracy", "running_var_distance"),
)


@cache
def configs_of(*words: str) -> list[ExperimentConfig]:
    """Return the settings of the runs of a sweep; a study of that name has one grid here."""
    return compose_each(expand_jobs(words))


def write_study(folder: Path, *words: str) -> None:
    for index, config in enumerate(configs_of(*words)):
        measured = ("val_accuracy", "mean_val_accuracy", "train_accuracy")
        shares = dict.fromkeys(measured, 0.5 + index / 1000)
        probed = dict.fromkeys(PROBED, 0.1 + index / 1000)
        write_run(folder, config, 0.5 + index / 1000, **shares, **probed)


@pytest.mark.parametrize("study", STUDIES)
def test_runs_of_a_study_say_so_and_commands_that_read_it_work_on_them(study, capsys):
    words = (f"study={study}", "scale=smoke", "data=synthetic")
    confirm = asked_by(read_plan(study).read).get("confirm")
    seeds = "seed=0,1" if confirm else "seed=0"
    assert {config.study for config in configs_of(*words, seeds)} == {study}
    write_study(Path("runs"), *words, seeds)
    if confirm:
        last = grid_in_file(study)[RATE].split(",")[-1]  # which is the best of them here
        write_study(Path("runs"), *words, f"{RATE}={last}", "seed=8,9")
    for command in [read_plan(study).read, *read_plan(study).also]:
        with pytest.raises(SystemExit) as end:
            main(shlex.split(command)[1:])
        out, err = capsys.readouterr()
        assert end.value.code == 0
        assert confirm or f"runs of study={study} are here" in err
        assert ("difference" in out) == ("--against" in command)
        assert out.startswith("figure: ") == command.startswith("nnexp figure")


def test_study_as_a_source_keeps_its_runs_whatever_their_images_epochs_precision_and_seed(
    own_study,
):
    write_study(Path("runs"), "study=mine", "seed=9", "scale=smoke", "precision=bf16")
    write_study(Path("other"), "study=mine", "seed=0", "epochs=7", "data=synthetic")
    (one, *_) = configs_of("study=mine")
    for changes in (
        {"batch_size": 64},
        {"init": "torch"},
        {"optimizer": OptimizerConfig(momentum=0.8)},
        {"norm": NormConfig(name="batch", at={"conv3": "layer"})},
    ):
        write_run(Path("runs"), replace(one, **changes), 0.9)
    assert len(read_rows(["study=mine"])) == 4
    assert len(read_rows(["study=mine", "runs", "other"])) == 8
    assert len(read_rows(["runs", "other"])) == 12


def test_runs_of_several_studies_are_taken_once(own_study):
    own_study.with_name("other.yaml").write_text(MINE.replace("batch,group", "group,none"))
    write_study(Path("runs"), "study=mine", "seed=0")
    write_study(Path("more"), "study=other", "seed=0", "norm=none")
    assert len(read_rows(["study=mine", "study=other", "runs", "more"])) == 6


def test_study_finds_its_runs_in_the_results_of_another_machine(own_study):
    write_study(Path("there"), "study=mine", "seed=0")
    write_results_view(Path("there")).rename("results.csv")
    assert len(read_rows(["study=mine", "results.csv"])) == 4


def test_runs_that_a_study_lacks_are_counted(own_study, capsys):
    write_study(Path("runs"), "study=mine", "seed=0,7")
    assert "nnexp: 4 of the 8 runs of study=mine are here\n" in compared(capsys, "study=mine")[2]


def test_runs_beyond_the_grid_of_a_study_are_counted_with_how_to_compare_them(own_study, capsys):
    write_study(Path("runs"), "study=mine")
    (one, *_) = configs_of("study=mine")
    write_run(Path("runs"), replace(one, norm=NormConfig(name="layer")), 0.9)
    write_run(Path("runs"), replace(one, norm=NormConfig(name="layer"), batch_size=7), 0.9)
    said = compared(capsys, "study=mine")[2].splitlines()[-1]
    assert said == (
        "nnexp: left out, since the grid of study=mine does not have them: 1 run; "
        "name their folders or files without study=mine to compare them too"
    )


def test_study_without_a_run_or_of_another_name_is_refused(capsys):
    write_run(Path("runs"), settings("layer"), 0.5)
    code, out, err = compared(capsys, "study=disable_bn")
    assert (code, out) == (2, "")
    assert err.splitlines() == [
        "nnexp: no run of study=disable_bn",
        "       nnexp sweep study=disable_bn trains them",
    ]
    assert "did you mean study=disable_bn" in compared(capsys, "study=disable_nb")[2]


def test_own_study_is_said_where_it_is_a_source(own_study, capsys):
    write_study(Path("runs"), "study=mine")
    out, err = compared(capsys, "study=mine")[1:]
    assert "runs: 8" in out
    assert err.splitlines() == [
        f"nnexp: {own_study.parents[1]} goes before the packaged configs (it has a nnexp.yaml)"
    ]
