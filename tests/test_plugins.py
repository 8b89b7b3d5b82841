"""Plug-ins: what a user's own files and packages bring, through the real command line."""

import hashlib
import json
import re
from dataclasses import replace
from pathlib import Path

import hydra
import pytest
from processes import Starter

import nnexp
from nnexp import experiment
from nnexp.cli.app import main
from nnexp.models.sketch import sketch_model
from nnexp.norms import NORMS
from nnexp.rundir import RunError
from nnexp.settings import ConfigError, from_yaml, plugins, run_id
from nnexp.settings.compose import VERSION_BASE, compose_config, compose_jobs
from nnexp.settings.configs import config_home
from nnexp.settings.plugins import load_plugins_of, refuse_session_code

RMS = """import torch
from torch import nn
from nnexp.norms import NORMS, NormKind, Statistic

class RMSNorm(nn.Module):
    def __init__(self, spec):
        super().__init__()
        self.eps = spec.eps
        self.weight = nn.Parameter(torch.ones(spec.channels))

    def forward(self, x):
        root = (x.square().mean((1, 2, 3), keepdim=True) + self.eps).sqrt()
        return x / root * self.weight[:, None, None]

AXES = Statistic(over="CHW", per="image", centred=False)
KIND = NormKind(build=RMSNorm, statistic=AXES, beta=False)
NORMS.add("rms_chw", KIND, about="root mean square", values={"eps": 1e-6})
"""
REST = """import torch
from torch import nn
from nnexp.data import SOURCES
from nnexp.models import MODELS
from nnexp.training import OPTIMIZERS, SCHEDULES

def tiny(config, num_classes, norms):
    block = norms.for_block("only")
    width = config.options.get("channels", 4)
    conv = block.conv_norm_act(3, width, 3)
    return nn.Sequential(conv, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, num_classes))

MODELS["tiny"] = tiny
SOURCES["painted"] = lambda config, progress: SOURCES["synthetic"](config, progress)
OPTIMIZERS["plain"] = lambda groups, config, peak: torch.optim.SGD(groups, lr=peak)
SCHEDULES["halves"] = lambda step, total, warmup, config: config.options["factor"] ** step
"""
DRAWN = """
from dataclasses import replace
from pathlib import Path

def drawn(config, progress):
    whole = SOURCES["synthetic"](config, progress)
    return replace(whole, fingerprint=whole.fingerprint + Path("shift.txt").read_text())

SOURCES["drawn"] = drawn
"""
SMALL = [
    *("model=simple_cnn", "data=synthetic", "scale=smoke", "epochs=1", "batch_size=16"),
    *("threads=1", "device=cpu"),
    *("data.train_images=48", "data.val_images=20", "data.test_images=20"),
]


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("NNEXP_PLUGINS", raising=False)
    (tmp_path / "rms_chw.py").write_text(RMS)
    return tmp_path


def test_a_norm_from_a_file_is_swept_by_processes_and_compared(here: Path, nnexp: Starter) -> None:
    done = nnexp("sweep", *SMALL, "norm=batch,rms_chw", "plugins=[rms_chw.py]", "-j", "2")
    assert done.returncode == 0, done.stderr
    done = nnexp("compare", "--json")
    assert done.returncode == 0, done.stderr
    assert "rms_chw" in done.stdout
    (run,) = here.glob("runs/*-rms_chw-*")
    config = from_yaml((run / "config.yaml").read_text())
    assert config.code["norm.rms_chw"].startswith("rms_chw.py sha256:")
    assert config.norm.eps == 1e-6
    assert run_id(config) == run.name
    assert json.loads((run / "result.json").read_text())["code"] == config.code


def test_hydra_has_the_name_of_a_run_in_a_process_that_has_loaded_no_plugin(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ["norm=rms_chw", "plugins=[rms_chw.py]"]
    name = run_id(compose_config(words))
    with hydra.initialize_config_dir(str(config_home()), **VERSION_BASE):
        composed = hydra.compose("config", words, return_hydra_config=True)
    del NORMS["rms_chw"]
    monkeypatch.setattr(plugins, "_loaded", {})
    monkeypatch.chdir(here.parent)
    assert composed.hydra.sweep.subdir == name


def test_model_data_optimizer_and_schedule_come_from_a_file_too(here: Path, nnexp: Starter) -> None:
    (here / "rest.py").write_text(REST)
    words = "model=tiny data=painted optimizer=plain schedule=halves epochs=1 batch_size=16"
    more = "data.train_images=32 data.val_images=20 data.test_images=20 threads=1 device=cpu"
    done = nnexp(
        *("train", *words.split(), *more.split(), "plugins=[rest.py]"),
        *("model.options.channels=6", "schedule.options.factor=0.5", "schedule.warmup=0"),
    )
    assert done.returncode == 0, done.stderr
    (run,) = (here / "runs").glob("tiny-*")
    result = json.loads((run / "result.json").read_text())
    assert set(result["code"]) == {
        *("model.tiny", "data.painted", "optimizer.plain", "schedule.halves"),
    }
    assert result["parameters"] == 3 * 6 * 9 + 12 + 70


@pytest.mark.parametrize("line", ["NORMS |= {'mine': kind}", "NORMS.update(mine=kind)"])
def test_entries_made_together_come_from_their_plug_in_too(here: Path, line: str) -> None:
    (here / "mine.py").write_text(f"from nnexp.norms import NORMS\nkind = NORMS['group']\n{line}\n")
    code = compose_config([*SMALL, "norm=mine", "plugins=[mine.py]"]).code
    assert code["norm.mine"].startswith("mine.py sha256:")


def test_settings_made_before_an_entry_was_another_text_do_not_train(here: Path) -> None:
    NORMS["mine"] = NORMS["group"]
    config = compose_config([*SMALL, "norm=mine"])
    NORMS["mine"] = NORMS["layer"]
    with pytest.raises(ConfigError, match=r"norm\.mine is .* now, and was .* when the settings"):
        experiment.run(config)
    assert not (here / "runs").exists()


def test_settings_made_in_python_train_as_composed_ones_do(here: Path) -> None:
    NORMS["mine"] = NORMS["group"]
    config = compose_config([*SMALL, "norm=mine"])
    first = experiment.run(replace(config, code={}))
    assert first.result["code"] == {"norm.mine": config.code["norm.mine"]}
    assert first.run.path.name == run_id(config)
    NORMS["mine"] = NORMS["layer"]
    again = experiment.run(replace(config, code={}))
    assert again.run.path != first.run.path


def test_error_in_a_data_source_of_a_user_is_said_in_two_lines(here: Path) -> None:
    text = "from nnexp import SOURCES\nSOURCES['broken'] = lambda config, progress: {}['gone']\n"
    (here / "broken.py").write_text(text)
    config = compose_config([*SMALL, "data=broken", "plugins=[broken.py]"])
    with pytest.raises(ConfigError, match="error in a plug-in: KeyError: 'gone'") as caught:
        experiment.run(config)
    assert "broken.py, line 2" in caught.value.remedy


def test_finished_run_whose_source_gives_other_images_now_is_not_taken_for_done(here: Path) -> None:
    (here / "rest.py").write_text(REST + DRAWN)
    config = compose_config([*SMALL, "data=drawn", "plugins=[rest.py]"])
    (here / "shift.txt").write_text("0")
    assert experiment.run(config).status == "done"
    assert experiment.run(config).status == "done"
    (here / "shift.txt").write_text("1")
    with pytest.raises(RunError, match="images"):
        experiment.run(config)


def test_an_installed_package_brings_its_entries_by_an_entry_point(
    here: Path, nnexp: Starter
) -> None:
    site = here / "site"
    about = site / "norms_of_mine-1.2.dist-info"
    about.mkdir(parents=True)
    (site / "norms_of_mine.py").write_text(RMS)
    (about / "METADATA").write_text("Name: norms-of-mine\nVersion: 1.2\n")
    (about / "entry_points.txt").write_text("[nnexp.plugins]\nmine = norms_of_mine\n")
    done = nnexp("train", "--cfg", "job", "norm=rms_chw", PYTHONPATH=str(site))
    assert done.returncode == 0, done.stderr
    done = nnexp("train", *SMALL, "norm=rms_chw", PYTHONPATH=str(site))
    assert done.returncode == 0, done.stderr
    (run,) = here.glob("runs/*-rms_chw-*")
    assert from_yaml((run / "config.yaml").read_text()).code == {
        "norm.rms_chw": "norms-of-mine 1.2"
    }
    done = nnexp("compare")  # the package is gone
    assert done.returncode == 0, done.stderr
    assert "rms_chw" in done.stdout


@pytest.mark.parametrize(
    "text",
    [
        "# @package _global_\nplugins: [evil.py]\n",
        "# @package _global_\nhydra: {overrides: {task: ['plugins=[evil.py]']}}\n",
        "# @package _global_\nhydra: {overrides: {hydra: ['plugins=[evil.py]']}}\n",
        "# @package _global_\nhydra: {sweeper: {params: {plugins: '[evil.py]'}}}\n",
        "# @package _global_\nhydra: {sweeper: {params: {+plugins: '[evil.py]'}}}\n",
        "# @package _global_\ndefaults: [{override /norm: rms_chw}]\nplugins: ${oc.env:PWD}\n",
    ],
)
def test_no_file_of_settings_imports_a_plug_in(here: Path, text: str) -> None:
    (here / "evil.py").write_text("from pathlib import Path\nPath('pwned').touch()\n")
    (here / "mine/study").mkdir(parents=True)
    (here / "mine/study/bad.yaml").write_text(text)
    for compose in (compose_config, compose_jobs):
        with pytest.raises(ConfigError) as error:
            compose(["study=bad"], str(here / "mine"))
        assert "could run code" in error.value.problem or "no norm" in error.value.problem
    assert not (here / "pwned").exists()


def test_typed_plugins_do_not_let_a_file_add_its_own(here: Path) -> None:
    (here / "evil.py").write_text("from pathlib import Path\nPath('pwned').touch()\n")
    (here / "mine/study").mkdir(parents=True)
    (here / "mine/study/bad.yaml").write_text("# @package _global_\nplugins: [evil.py]\n")
    with pytest.raises(ConfigError, match="could run code"):
        compose_jobs(["study=bad", "plugins=[rms_chw.py]"], str(here / "mine"))
    assert not (here / "pwned").exists()


@pytest.mark.parametrize("word", ["plugins=rms_chw.py", "plugins=['${tags}']", "plugins={a: b}"])
def test_plugins_are_a_list_of_plain_names(here: Path, word: str) -> None:
    with pytest.raises(ConfigError, match="plugins cannot be"):
        compose_config([word])


def test_the_code_of_a_run_cannot_be_set(here: Path) -> None:
    with pytest.raises(ConfigError, match="code cannot be set"):
        compose_config(["code.norm=x"])


def test_another_text_of_the_file_is_another_run(here: Path) -> None:
    words = ["norm=rms_chw", "plugins=[rms_chw.py]"]
    first = compose_config(words)
    assert first.code["norm.rms_chw"].endswith(hashlib.sha256(RMS.encode()).hexdigest()[:16])
    (here / "rms_chw.py").write_text(RMS + "# mended\n")
    second = compose_config(words)
    assert run_id(first) != run_id(second)
    with pytest.raises(ConfigError, match=r"norm\.rms_chw is rms_chw\.py"):
        load_plugins_of(first)


def test_a_plug_in_that_a_run_does_not_use_leaves_its_name_alone(here: Path) -> None:
    assert run_id(compose_config(["plugins=[rms_chw.py]"])) == run_id(compose_config())


def test_a_mistyped_name_finds_the_norm_of_a_plug_in(here: Path) -> None:
    with pytest.raises(ConfigError, match="did you mean norm=rms_chw"):
        compose_config(["norm=rmz_chw", "plugins=[rms_chw.py]"])


@pytest.mark.parametrize(
    ("text", "problem", "line"),
    [
        ("import torch\n1 / 0\n", "ZeroDivisionError: division by zero", 2),
        ("a = 1\nb = = 2\n", "SyntaxError: invalid syntax", 2),
        ("import nothing_of_the_kind\n", "ModuleNotFoundError: No module", 1),
        ("import sys\nsys.exit(3)\n", "SystemExit: 3", 2),
    ],
)
def test_a_plug_in_that_fails_says_where(here: Path, text: str, problem: str, line: int) -> None:
    (here / "bad.py").write_text(text)
    with pytest.raises(ConfigError) as error:
        compose_config(["plugins=[bad.py]"])
    assert problem in error.value.problem
    assert error.value.remedy == f"{here / 'bad.py'}, line {line}"


@pytest.mark.parametrize(
    ("entry", "problem", "remedy"),
    [
        ("Statistic(over='NXW', per='x')", "over='NXW' names no axes", "it needs some of"),
        ("NORMS['x'] = nn.Identity", "NORMS['x'] must be a NormKind, not Identity", "= NormKind("),
        ("NORMS |= {'x': nn.Identity}", "NORMS['x'] must be a NormKind, not Ide", "= NormKind("),
    ],
)
def test_an_entry_that_cannot_be_says_where(
    here: Path, entry: str, problem: str, remedy: str
) -> None:
    heading = "from torch import nn\nfrom nnexp.norms import NORMS, Statistic\n"
    (here / "bad.py").write_text(f"{heading}{entry}\n")
    with pytest.raises(ConfigError) as error:
        compose_config(["plugins=[bad.py]"])
    assert error.value.problem.startswith(f"plug-in {here / 'bad.py'}: {problem}")
    assert error.value.remedy.startswith(f"{here / 'bad.py'}, line 3: ")
    assert remedy in error.value.remedy


BUGS = """from torch import nn
from nnexp.models import MODELS
from nnexp.norms import NORMS, NormKind

class Half(nn.Identity):
    def forward(self, x):
        return x[:, :, ::2]

class Other(nn.Identity):
    def forward(self, x):
        return x.view(3)

class Pair(nn.Identity):
    def forward(self, x):
        return x, x

class Double(nn.Identity):
    def forward(self, x):
        return x.double()

def fails(*args):
    return 1 / 0

for name, build in {
    "fails": fails, "nothing": lambda spec: None, "half": Half, "other": Other,
    "pair": Pair, "double": Double,
}.items():
    NORMS[name] = NormKind(build=build, gamma=False, beta=False)
MODELS["fails"], MODELS["nothing"] = fails, lambda config, num_classes, norms: None
"""


@pytest.mark.parametrize(
    ("words", "problem", "remedy"),
    [
        ("norm=fails", "error in a plug-in: ZeroDivisionError", r"bugs\.py, line 22$"),
        ("norm=nothing", r"build of NORMS\['nothing'\] returns None", "nn.Module"),
        ("norm=half", r"NORMS\['half'\] returns \(2, 32, 16, 32\)", "of the same size"),
        ("norm=pair", r"NORMS\['pair'\] returns tuple, its input", "of the same size and type"),
        ("norm=double", r"NORMS\['double'\] returns .* of torch.float64", "size and type"),
        ("norm=other", "error in a plug-in: RuntimeError", r"bugs\.py, line 11$"),
        ("model=fails", "error in a plug-in: ZeroDivisionError", r"bugs\.py, line 22$"),
        ("model=nothing", r"MODELS\['nothing'\] returns None", "nn.Module"),
    ],
)
def test_an_entry_whose_code_fails_is_refused_before_a_run_has_a_folder(
    here: Path, words: str, problem: str, remedy: str
) -> None:
    (here / "bugs.py").write_text(BUGS)
    config = compose_config([*SMALL, "model=baseline", words, "plugins=[bugs.py]"])
    for function in (experiment.run, sketch_model):
        with pytest.raises(ConfigError, match=problem) as error:
            function(config)
        assert re.search(remedy, error.value.remedy)
    assert not (here / "runs").exists() or not list((here / "runs").iterdir())


@pytest.mark.parametrize("name", ["nowhere.py", "nowhere_at_all"])
def test_a_plug_in_that_is_nowhere_is_told_in_two_lines(here: Path, name: str) -> None:
    with pytest.raises(ConfigError, match=name) as error:
        compose_config([f"plugins=[{name}]"])
    assert error.value.remedy


def test_the_environment_names_plug_ins(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NNEXP_PLUGINS", "rms_chw.py")
    config = compose_config(["norm=rms_chw"])
    assert config.plugins == ["rms_chw.py"]
    assert "norm.rms_chw" in config.code


def test_a_norm_made_in_python_is_recorded_by_its_source_and_not_swept(here: Path) -> None:
    NORMS["mine"] = NORMS["none"]
    config = compose_config(["norm=mine"])
    assert config.code["norm.mine"].startswith("defined in Python, sha256:")
    with pytest.raises(ConfigError, match="norm 'mine' is defined in this session alone"):
        refuse_session_code([config])


@pytest.mark.parametrize("typed", ["norm", "norm=rms_chw"])
def test_configs_lists_the_entries_of_the_plug_ins_that_are_typed(
    here: Path, typed: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as end:
        main(["configs", "plugins=[rms_chw.py]", typed])
    lines = capsys.readouterr()[0].splitlines()
    assert end.value.code == 0
    assert "norm=rms_chw\troot mean square" in lines
    assert ("norm.eps=1.0e-06" in lines[2]) == (typed == "norm=rms_chw")
    assert not [line for line in lines if line.startswith("code=")]  # it cannot be typed


def test_a_plug_in_is_named_by_a_text_alone_too(here: Path) -> None:
    assert nnexp.compose("norm=rms_chw", plugins="rms_chw.py").plugins == ["rms_chw.py"]
