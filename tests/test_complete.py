import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from nnexp.cli.app import main
from nnexp.models import MODELS, build_model
from nnexp.norms import make_norms, norm_layers, spec_of
from nnexp.settings import ModelConfig, NormConfig, names_in

Capsys = pytest.CaptureFixture[str]


@pytest.fixture(autouse=True)
def _empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def complete(capsys: Capsys, **environment: str) -> list[str]:
    with pytest.MonkeyPatch.context() as patch:
        for name, value in environment.items():
            patch.setenv(name, value)
        with pytest.raises(SystemExit):
            main([])
    out, err = capsys.readouterr()
    assert err == ""
    return out.split("\n")[:-1] if out.strip() else []


def bash(capsys: Capsys, typed: str) -> list[str]:
    """Complete as bash asks: words broken at `=`, the last one under the cursor."""
    words = typed.replace("=", " = ").split()
    if typed.endswith(" "):
        words.append("")
    return complete(
        capsys,
        _NNEXP_COMPLETE="complete_bash",
        COMP_WORDS="\n".join(words),
        COMP_CWORD=str(len(words) - 1),
    )


def zsh(capsys: Capsys, typed: str) -> str:
    lines = complete(capsys, _NNEXP_COMPLETE="complete_zsh", _TYPER_COMPLETE_ARGS=typed)
    return "\n".join(lines)


def fish(capsys: Capsys, typed: str) -> list[str]:
    return complete(
        capsys,
        _NNEXP_COMPLETE="complete_fish",
        _TYPER_COMPLETE_ARGS=typed,
        _TYPER_COMPLETE_FISH_ACTION="get-args",
    )


NORMS = sorted(names_in("norm"))


@pytest.mark.parametrize(
    ("typed", "offered"),
    [
        ("nnexp swe", ["sweep"]),
        ("nnexp train no", ["norm=", "norm."]),
        ("nnexp train norm=", NORMS),
        ("nnexp train norm=ba", ["batch", "batch_renorm"]),
        ("nnexp train norm=xyzzy", []),
        ("nnexp train norm=none,", [f"none,{norm}" for norm in NORMS if norm != "none"]),
        (
            "nnexp train norm=none,batch,g",
            ["none,batch,ghost", "none,batch,group", "none,batch,group_ws"],
        ),
        ("nnexp train norm.at.conv1=la", ["layer", "layer_chw"]),
        ("nnexp train norm.at.conv5_", [f"norm.at.conv5_{index}=" for index in (1, 2, 3)]),
        ("nnexp train model=simple_cnn norm.at.", ["norm.at.conv1="]),
        ("nnexp sweep model=simple_mlp,simple_cnn norm.at.h", ["norm.at.hidden="]),
        ("nnexp train hydra/launcher=sub", ["submitit_local", "submitit_slurm"]),
        ("nnexp sweep hydra/sw", ["hydra/sweeper=basic", "hydra/sweeper=optuna"]),
        ("nnexp train model=vgg16 norm=ba", ["batch", "batch_renorm"]),
        ("nnexp train -m norm=ba", ["batch", "batch_renorm"]),
        ("nnexp train --cfg job norm=ba", ["batch", "batch_renorm"]),
        ("nnexp train sca", ["scale=full", "scale=laptop", "scale=overnight", "scale=smoke"]),
        ("nnexp train tra", ["trace.channels=", "trace.points="]),
        ("nnexp train norm.eps", ["norm.eps=", "norm.eps=1e-05"]),
        ("nnexp train norm.affine=", ["true", "false"]),
        ("nnexp train batch_size=", ["128"]),
        ("nnexp train batch_size=8,", []),
        ("nnexp train precision=b", ["bf16"]),
        ("nnexp train optimizer.learning_rate_scaling=", ["none", "linear", "sqrt"]),
        ("nnexp train +no", ["+norm=", "+norm."]),
        ("nnexp train xyzzy", []),
        ("nnexp train --config-dir nowhere no", []),
        ("nnexp sweep norm=ba", ["batch", "batch_renorm"]),
        ("nnexp sweep study=dis", ["disable_bn"]),
        ("nnexp configs study=r", ["running_stats"]),
        ("nnexp configs no", ["norm"]),
        ("nnexp configs norm=g", ["ghost", "group", "group_ws"]),
    ],
)
def test_bash_is_offered_what_can_follow(typed: str, offered: list[str], capsys: Capsys) -> None:
    assert bash(capsys, typed) == offered


def test_an_empty_word_is_offered_every_key(capsys: Capsys) -> None:
    offered = bash(capsys, "nnexp train ")
    assert {"model=", "model.", "trace.", "batch_size=", "tags="} <= set(offered)
    assert not any(key.startswith("norm.") and key != "norm." for key in offered)


def test_zsh_and_fish_are_offered_whole_words_with_their_meaning(capsys: Capsys) -> None:
    assert '"norm=none,group":"Wu 2018' in zsh(capsys, "nnexp train norm=none,g")
    assert '"norm.eps=":"inside the root' in zsh(capsys, "nnexp train norm.ep")
    lines = fish(capsys, "nnexp train norm=none,gr")
    assert lines[0].startswith("norm=none,group\tWu 2018")
    assert lines[1].startswith("norm=none,group_ws\tQiao 2019")
    assert fish(capsys, "nnexp train precision=")[1] == "precision=bf16"


def test_the_users_own_configs_are_offered(tmp_path: Path, capsys: Capsys) -> None:
    (tmp_path / "configs/norm").mkdir(parents=True)
    (tmp_path / "configs/norm/mine.yaml").write_text("name: batch\n")
    assert bash(capsys, "nnexp train norm=mi") == []
    assert bash(capsys, "nnexp train --config-dir configs norm=mi") == ["mine"]
    (tmp_path / "configs/nnexp.yaml").touch()
    assert bash(capsys, "nnexp train norm=mi") == ["mine"]


@pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")
@pytest.mark.skipif(
    not Path(sys.executable).with_name("nnexp").exists(),
    reason="not installed as a command",
)
def test_a_real_bash_completes_without_torch_and_without_hydra(tmp_path: Path) -> None:
    for name in ("torch", "hydra", "pandas"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit('imported too early')\n")
    here = Path(sys.executable).parent
    environment = {
        **os.environ,
        "PATH": f"{here}:{os.environ['PATH']}",
        "PYTHONPATH": str(tmp_path),
        "_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION": "1",
    }
    script = """
        eval "$(nnexp --show-completion bash)"
        COMP_WORDS=(nnexp train norm = none,inst) COMP_CWORD=4
        _nnexp_completion nnexp && echo "${COMPREPLY[@]}"
    """
    command = ["bash", "--norc", "-c", script]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("none,instance\n", "")


@pytest.mark.parametrize(
    ("typed", "offered"),
    [
        ("nnexp compare study=dis", ["disable_bn"]),
        ("nnexp compare vgg", ["vgg16-batch-bs128-s0-44136fa3"]),
        ("nnexp logs vgg", ["vgg16-batch-bs128-s0-44136fa3"]),
        ("nnexp traces runs/vgg", ["runs/vgg16-batch-bs128-s0-44136fa3"]),
        ("nnexp diff vgg16-batch-bs128-s0-44136fa3 vgg", ["vgg16-batch-bs128-s0-44136fa3"]),
        ("nnexp figure er", ["error"]),
        ("nnexp compare --metric test_a", ["test_accuracy"]),
        ("nnexp compare --metric test_loss,test_a", ["test_loss,test_accuracy"]),
        ("nnexp compare --rows norm.mom", ["norm.momentum"]),
        ("nnexp compare --rows norm,batch_s", ["norm,batch_size"]),
        ("nnexp compare --cols batch_s", ["batch_size"]),
        ("nnexp compare --best optimizer.learning_rate_", ["optimizer.learning_rate_scaling"]),
        ("nnexp compare --where precis", ["precision="]),
        ("nnexp compare --where precision=", ["fp32", "bf16"]),
        ("nnexp compare --where norm=batch,la", ["batch,layer", "batch,layer_chw"]),
        ("nnexp compare --against ba", ["batch", "batch_renorm", "batch_size="]),
        ("nnexp compare --against norm=ba", ["batch", "batch_renorm"]),
        ("nnexp compare --sort test_a", ["test_accuracy"]),
        ("nnexp compare --sort batch_s", ["batch_size"]),
        ("nnexp report study=swap", ["swap_block"]),
    ],
)
def test_runs_kinds_metrics_and_keys_are_offered(
    typed: str, offered: list[str], capsys: Capsys
) -> None:
    folder = Path("runs/vgg16-batch-bs128-s0-44136fa3")
    folder.mkdir(parents=True)
    (folder / "config.yaml").write_text("model: {}\n")
    assert bash(capsys, typed) == offered


@pytest.mark.parametrize(
    ("typed", "offered"),
    [
        ("plugins=", ["[rms.py]", "[code/"]),
        ("plugins=[r", ["[rms.py]"]),
        ("plugins=[code/", ["[code/tiny.py]"]),
        ("plugins=[./r", ["[./rms.py]"]),
        ("plugins=[rms.py,code/t", ["[rms.py,code/tiny.py]"]),
    ],
)
def test_python_files_are_offered_as_plug_ins(
    typed: str, offered: list[str], tmp_path: Path, capsys: Capsys
) -> None:
    (tmp_path / "code").mkdir()
    for name in ("rms.py", "notes.txt", "code/tiny.py"):
        (tmp_path / name).touch()
    assert bash(capsys, f"nnexp train {typed}") == offered
    assert bash(capsys, f"nnexp configs {typed}") == offered


def test_an_absolute_path_is_completed(tmp_path: Path, capsys: Capsys) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere/rms.py").touch()
    assert bash(capsys, f"nnexp compare {tmp_path}/else") == [f"{tmp_path}/elsewhere"]
    typed = f"nnexp train plugins=[{tmp_path}/elsewhere/r"
    assert bash(capsys, typed) == [f"[{tmp_path}/elsewhere/rms.py]"]


@pytest.mark.parametrize("model", MODELS)
def test_the_blocks_that_are_offered_are_those_of_the_model(model: str, capsys: Capsys) -> None:
    built = build_model(ModelConfig(name=model, width=0.25), 10, make_norms(NormConfig()))
    blocks = dict.fromkeys(spec_of(layer).block for _, layer in norm_layers(built))
    offered = fish(capsys, f"nnexp train model={model} norm.at.")
    assert [line.partition("=")[0] for line in offered] == [f"norm.at.{name}" for name in blocks]
