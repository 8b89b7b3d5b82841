import runpy
import threading
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path
from typing import get_type_hints

import hydra
import pytest
import yaml
from hydra.core.config_store import ConfigStore
from hydra.core.global_hydra import GlobalHydra
from hydra.core.utils import JobRuntime
from packaging.version import Version

import nnexp
from nnexp.settings import (
    NOT_IDENTITY,
    ConfigError,
    ExperimentConfig,
    OptimizerConfig,
    flatten,
    from_yaml,
    names_in,
    run_id,
    to_yaml,
)
from nnexp.settings.choices import list_settings, read_choices
from nnexp.settings.compose import compose_config, compose_jobs

ROOT = Path(__file__).resolve().parent.parent
OPTIONS = [
    f"{group}={option}"
    for group, files in read_choices().groups.items()
    for option in files
    if group != "study"  # grids: tests/test_studies.py
]
SETTINGS = list_settings()
LISTED = [key for key, setting in SETTINGS.items() if setting.listed]
NORMS = ["batch", "group", "none"]
DECIDES_NOTHING = {
    *("data.root", "data.cache_dir", "scale", "study", "device", "threads", "runs_dir", "tags"),
    *("plugins", "listeners"),
    *("trace.points", "trace.channels", "probe.points", "probe.images"),
    *("probe.similarity", "probe.landscape"),
    *(key for key in SETTINGS if key.startswith("evaluation.")),
}
OTHER_VALUE = {  # where "a bit more" or "another of the words" is not a value
    "norm.at": "{conv1: none}",
    **dict.fromkeys([key for key in SETTINGS if key.endswith("options")], "{depth: 3}"),
    "code": "{norm.mine: mine.py sha256:0123456789abcdef}",
    "plugins": "[mine.py]",
    "listeners": "[mine]",
    "schedule.milestones": "[0.25]",
    "data.root": "elsewhere",
    "data.cache_dir": "elsewhere",
    "runs_dir": "elsewhere",
    "device": "cpu",
    "scale": "smoke",
    "study": "mine",
    "tags": "[mine]",
}


def another_value(key: str) -> str:
    setting = SETTINGS[key]
    if key in OTHER_VALUE:
        return OTHER_VALUE[key]
    for word in setting.words:
        if word != str(setting.default).lower():
            return word
    return str(
        (setting.default or 1) * 0.5 if setting.kind is float else (setting.default or 1) + 1
    )


@cache
def composed(*words: str) -> ExperimentConfig:
    return compose_config(words)


@pytest.mark.parametrize("word", OPTIONS)
def test_every_option_comes_back_from_its_yaml_as_the_same_run(word: str) -> None:
    config = composed(word)
    assert from_yaml(to_yaml(config)) == config
    assert run_id(from_yaml(to_yaml(config))) == run_id(config)


def test_lists_names_and_small_numbers_come_back_from_yaml() -> None:
    words = ["norm.at.conv1=none", "schedule.milestones=[0.1,0.2]", "norm.eps=1e-12"]
    config = compose_config([*words, 'tags=["ä","b c"]'])
    assert config.norm.at == {"conv1": "none"}
    assert config.tags == ["ä", "b c"]
    assert from_yaml(to_yaml(config)) == config


@pytest.mark.parametrize("text", ["modle: vgg16", "norm: {foo: 1}", "- a list", "", "{", "norm: 3"])
def test_a_config_yaml_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match=r"config\.yaml cannot be read"):
        from_yaml(text)


@pytest.mark.parametrize("value", ["0", "'abc'"])
def test_a_config_yaml_is_checked_like_the_command_line(value: str) -> None:
    with pytest.raises(ConfigError, match=f"batch_size cannot be {value}"):
        from_yaml(f"batch_size: {value}")


def test_no_words_give_the_defaults_of_the_schema() -> None:
    assert compose_config() == ExperimentConfig()


@pytest.mark.parametrize(
    ("words", "same"),
    [
        (["norm=group"], ["norm.name=group"]),
        (["norm=group"], ["norm={name: group}"]),
        (["model=vgg16", "norm=batch"], []),
        (["optimizer.learning_rate=5e-3"], ["optimizer.learning_rate=0.005"]),
        (["model.width=2"], ["model.width=2.0"]),
        (["norm.at.conv1=none"], ["norm.at={conv1: none}"]),
        (["norm.at.a=none", "norm.at.b=none"], ["norm.at.b=none", "norm.at.a=none"]),
        (["scale=laptop"], ["epochs=6", "data.train_images=5000", "data.val_images=1000"]),
        (["scale=overnight"], ["epochs=30"]),
        (["model=convnext_tiny"], ["model=convnext_tiny", "norm=layer"]),
    ],
)
def test_equal_settings_meet_in_one_run_however_they_are_written(
    words: list[str], same: list[str]
) -> None:
    if words == ["scale=laptop"]:
        same = [*same, f"data.test_images={compose_config(words).data.test_images}"]
    assert run_id(compose_config(words)) == run_id(compose_config(same))


@pytest.mark.parametrize("key", SETTINGS)
def test_exactly_the_deciding_settings_make_another_run(key: str) -> None:
    changed = ExperimentConfig()
    part, _, leaf = key.rpartition(".")
    setattr(getattr(changed, part) if part else changed, leaf, yaml.safe_load(another_value(key)))
    assert changed != ExperimentConfig()
    same_run = run_id(changed) == run_id(ExperimentConfig())
    assert same_run == (key in DECIDES_NOTHING)


def test_a_run_is_named_after_what_people_look_for() -> None:
    name = run_id(compose_config(["model=resnet18", "norm=none", "batch_size=8", "seed=3"]))
    assert name.startswith("resnet18-none-bs8-s3-")
    assert len(name.rpartition("-")[2]) == 8


@pytest.mark.parametrize(
    ("words", "norm"),
    [
        (["model=convnext_tiny"], "layer"),
        (["model=convnext_tiny", "norm=batch"], "batch"),
        (["norm=batch", "model=convnext_tiny"], "batch"),
        (["model=resnet18"], "batch"),
    ],
)
def test_a_model_brings_its_home_norm_unless_another_is_asked_for(
    words: list[str], norm: str
) -> None:
    assert compose_config(words).norm.name == norm


def test_each_model_of_a_sweep_brings_its_own_home_norm() -> None:
    jobs = compose_jobs(["model=vgg16,convnext_tiny", "seed=0,1"])
    assert [(config.model.name, config.norm.name, config.seed) for _, config in jobs] == [
        ("vgg16", "batch", 0),
        ("vgg16", "batch", 1),
        ("convnext_tiny", "layer", 0),
        ("convnext_tiny", "layer", 1),
    ]


@pytest.mark.parametrize("words", [["scale=smoke", "epochs=9"], ["epochs=9", "scale=smoke"]])
def test_a_setting_typed_beats_the_scale(words: list[str]) -> None:
    config = compose_config(words)
    assert config.epochs == 9
    assert config.scale == "smoke"
    assert config.data.train_images == 1000


@pytest.mark.parametrize("word", OPTIONS)
def test_every_option_is_what_its_file_is_called(word: str) -> None:
    group, _, option = word.partition("=")
    part = getattr(composed(word), group)
    assert (part if group == "scale" else part.name) == option


@pytest.mark.parametrize("key", SETTINGS)
def test_every_setting_says_what_it_means(key: str) -> None:
    assert SETTINGS[key].meaning


@pytest.mark.parametrize("key", [key for key, one in SETTINGS.items() if one.kind is float])
@pytest.mark.parametrize("value", ["nan", "inf", "-1"])
def test_no_setting_takes_a_number_that_cannot_train(key: str, value: str) -> None:
    part, _, leaf = key.rpartition(".")
    with pytest.raises(ConfigError, match=f"{key} cannot be"):
        get_type_hints(ExperimentConfig)[part](**{leaf: float(value)})


@pytest.mark.parametrize("key", [key for key, one in SETTINGS.items() if one.kind is int])
def test_every_whole_number_has_an_upper_limit(key: str) -> None:
    part, _, leaf = key.rpartition(".")
    owner = get_type_hints(ExperimentConfig)[part] if part else ExperimentConfig
    with pytest.raises(ConfigError, match=f"{key} cannot be 1000"):
        owner(**{leaf: 10**30})


@pytest.mark.parametrize("key", ["momentum", "beta1", "beta2"])
def test_an_average_of_the_optimizer_keeps_less_than_all_of_the_past(key: str) -> None:
    assert OptimizerConfig(**{key: 0.9999})
    assert OptimizerConfig(**{key: 0.0})
    with pytest.raises(ConfigError, match=f"{key} cannot be 1.0"):
        OptimizerConfig(**{key: 1.0})


@pytest.mark.parametrize(
    ("key", "text", "value"),
    [
        ("seed", "3", 3),
        ("batch_size", "64", 64),
        ("threads", "2", 2),
        ("data.val_images", "70", 70),
        ("optimizer.learning_rate", "1e-3", 0.001),
        ("norm.affine", "false", False),
        ("runs_dir", "7", "7"),
    ],
)
def test_a_value_from_the_environment_has_the_type_of_its_setting(
    key: str, text: str, value: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NNEXP_TEST_VALUE", text)
    config = compose_config([f"{key}=${{oc.env:NNEXP_TEST_VALUE}}"])
    found = flatten(config)[key]
    assert found == value
    assert type(found) is type(value)
    assert config == from_yaml(to_yaml(config))


@pytest.mark.parametrize("key", ["tags", "schedule.milestones", "norm.at"])
def test_a_text_from_the_environment_is_no_list(key: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NNEXP_TEST_VALUE", "0.5")
    with pytest.raises(ConfigError, match=f"{key} cannot be '0.5'"):
        compose_config([f"{key}=${{oc.env:NNEXP_TEST_VALUE}}"])


@pytest.mark.parametrize("key", [*LISTED, "model.name", "norm.name", "schedule.name"])
def test_a_setting_of_words_says_which(key: str) -> None:
    with pytest.raises(ConfigError) as error:
        compose_config([f"{key}=xyzzy"])
    assert all(word in error.value.remedy for word in SETTINGS[key].words)


def test_what_a_setting_needs_follows_from_its_limits() -> None:
    assert SETTINGS["batch_size"].needs() == "it needs a whole number of at least 1"
    assert SETTINGS["threads"].needs().endswith("of at least 1, or null")
    assert SETTINGS["norm.eps"].needs() == "it needs a number above 0"


def test_names_come_from_the_packaged_files_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "configs/norm").mkdir(parents=True)
    (tmp_path / "configs/norm/mine.yaml").write_text("name: mine\n")
    (tmp_path / "configs/nnexp.yaml").touch()
    monkeypatch.chdir(tmp_path)
    assert "mine" not in names_in("norm")
    with pytest.raises(ConfigError, match="no norm 'mine'"):
        compose_config(["norm=mine"])


def test_the_schema_that_hydra_knows_is_the_dataclass() -> None:
    compose_config()
    assert ConfigStore.instance().load("schema.yaml").node._metadata.object_type is ExperimentConfig


def test_the_page_of_settings_is_what_the_code_says() -> None:
    page = runpy.run_path(str(ROOT / "docs/hooks.py"))["settings_markdown"]()
    rows = {
        cells[1].strip(" `"): cells
        for line in page.splitlines()
        if len(cells := line.split("|")) == 7
    }
    for key, setting in SETTINGS.items():
        _, _, default, values, meaning, decides, _ = rows[key]
        written = default.strip(" `")
        read = (
            float(written)
            if setting.kind is float and written != "null"
            else yaml.safe_load(written)
        )
        assert read == setting.default
        assert meaning.strip() == setting.meaning
        assert all(f"`{word}`" in values for word in setting.words)
        assert (decides.strip() == "no") == (key in NOT_IDENTITY)


def test_settings_are_composed_in_several_threads_at_once():
    together = threading.Barrier(3)

    def compose(norm: str) -> str:
        together.wait()
        return compose_config([f"norm={norm}", "model=baseline"]).norm.name

    with ThreadPoolExecutor(3) as threads:
        assert list(threads.map(compose, NORMS)) == NORMS


def test_a_program_that_uses_hydra_itself_finds_it_as_it_was():
    with hydra.initialize_config_dir(str(ROOT), job_name="theirs", version_base="1.2"):
        theirs = GlobalHydra.instance().hydra
        assert compose_config(["norm=group"]).norm.name == "group"
        assert len(compose_jobs(["norm=group,none"])) == 2
        assert GlobalHydra.instance().hydra is theirs
        assert JobRuntime.instance().get("name") == "theirs"
        assert hydra.version.getbase() == Version("1.2")


@pytest.mark.parametrize("function", ["compose", "sweep"])
def test_a_list_in_the_place_of_words_is_refused_in_two_lines(function):
    with pytest.raises(ConfigError, match=rf"{function} cannot take \['norm=batch'\]") as refused:
        getattr(nnexp, function)(["norm=batch"])
    assert refused.value.remedy.startswith(f"write {function}(*words)")


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (lambda config: setattr(config, "batch_size", -3), "batch_size cannot be -3"),
        (lambda config: setattr(config, "seed", "0"), "seed cannot be '0'"),
        (lambda config: setattr(config.norm, "eps", 0), "norm.eps cannot be 0"),
        (lambda config: setattr(config.data, "val_images", 2.5), "data.val_images cannot be 2.5"),
    ],
)
def test_settings_that_python_code_made_impossible_are_refused_before_there_is_a_folder(
    change, problem, tmp_path
):
    config = compose_config(["data=synthetic", "scale=smoke", f"runs_dir={tmp_path}/runs"])
    change(config)
    with pytest.raises(ConfigError, match=problem):
        nnexp.run(config)
    assert not (tmp_path / "runs").exists()
