import os
import subprocess
import sys
from pathlib import Path

import pytest

from nnexp.cli.app import main
from nnexp.settings import names_in

MODELS = (
    "model: alexnet, baseline, convnext_tiny, efficientnet_lite0, "
    "resnet14, resnet18, resnet20, resnet56, simple_cnn, simple_mlp, vgg16"
)
NORMS = f"norm: {', '.join(sorted(names_in('norm')))}"
STUDIES = (
    "study: all_images, batch_size, claims, disable_bn, quickstart, running_stats, swap_block, "
    "three_ways, verify_groups, verify_init, verify_resnet14, verify_resnet20, "
    "verify_small_batches, verify_vgg16"
)
NO_FOLDER = (
    "nnexp: data.root=/nowhere is not a folder\n"
    "       data.root needs train/<class>/ and test/<class>/ with pictures in them\n"
)
TWO_COMMANDS = "nnexp train runs once, nnexp sweep a grid"
WHOLE = "it needs a whole number of at least 1"

ANSWERS = [  # what is typed after `nnexp train`, what is wrong, what would do
    ("modle=vgg16", "no setting 'modle'", "did you mean model=vgg16"),
    ("norm=btach", "no norm 'btach'", f"did you mean norm=batch ({NORMS})"),
    ("lr=0.1", "no setting 'lr'", "did you mean optimizer.learning_rate=0.1"),
    ("batch_size=abc", "batch_size cannot be 'abc'", WHOLE),
    ("batch_size=0", "batch_size cannot be 0", WHOLE),
    ("norm=none,batch", "norm names several values", "use nnexp sweep, or add -m"),
    ("--epochs 3", "no option --epochs", "settings are written epochs=3"),
    ("+optimzer=adam", "no setting 'optimzer'", "did you mean optimizer=adamw"),
    # near words
    (
        "optimizer=adam",
        "no optimizer 'adam'",
        "did you mean optimizer=adamw (optimizer: adamw, sgd)",
    ),
    ("norm=bn", "no norm 'bn'", f"did you mean norm=batch ({NORMS})"),
    ("norm=dyt", "no norm 'dyt'", f"did you mean norm=dynamic_tanh ({NORMS})"),
    ("norm=sync_batch", "no norm 'sync_batch'", f"did you mean norm=batch ({NORMS})"),
    ("norm=GN", "no norm 'GN'", f"did you mean norm=group ({NORMS})"),
    ("model=resnet", "no model 'resnet'", f"did you mean model=resnet14 ({MODELS})"),
    ("model=xyzzy", "no model 'xyzzy'", MODELS),
    ("wd=0.1", "no setting 'wd'", "did you mean optimizer.weight_decay=0.1"),
    ("bs=8", "no setting 'bs'", "did you mean batch_size=8"),
    ("learning_rate=1", "no setting 'learning_rate'", "did you mean optimizer.learning_rate=1"),
    ("optimizer.lr=1", "no setting 'optimizer.lr'", "did you mean optimizer.learning_rate=1"),
    ("norm.epz=1", "no setting 'norm.epz'", "did you mean norm.eps=1"),
    ("nrom.eps=1", "no setting 'nrom.eps'", "did you mean norm.eps=1"),
    (
        "momentum=0.5",
        "no setting 'momentum'",
        "did you mean norm.momentum=0.5 or optimizer.momentum=0.5",
    ),
    # unknown keys, at every level, however they are added
    ("++x=1", "no setting 'x'", "nnexp configs lists what there is"),
    (
        "+model.foo=1",
        "no setting 'model.foo'",
        "model has name, width, dropout, stochastic_depth, options",
    ),
    ("trace.foo=2", "no setting 'trace.foo'", "trace has points, channels"),
    ("++trace={foo: 2}", "no setting 'trace.foo'", "trace has points, channels"),
    ("hydra.foo=1", "no setting 'hydra.foo'", "nnexp train --cfg hydra lists Hydra's own"),
    ("seed.x=1", "no setting 'seed.x'", "nnexp configs lists what there is"),
    (
        "norm._target_=os.system",
        "no setting 'norm._target_'",
        "names stand for code in nnexp, not for paths",
    ),
    (
        "hydra.launcher._target_=os.system",
        "no setting 'hydra.launcher._target_'",
        "names stand for code in nnexp, not for paths",
    ),
    # values
    ("seed=1.5", "seed cannot be 1.5", "it needs a whole number of at least 0"),
    ("batch_size=null", "batch_size cannot be null", WHOLE),
    ("threads=two", "threads cannot be 'two'", f"{WHOLE}, or null"),
    ("norm.affine=maybe", "norm.affine cannot be 'maybe'", "it needs one of true, false"),
    ("precision=bf61", "precision cannot be 'bf61'", "it needs one of fp32, bf16"),
    ("tags=a", "tags cannot be 'a'", "it needs a list: tags=[a,b]"),
    (
        "schedule.milestones=[a]",
        "schedule.milestones cannot be '[a]'",
        "it needs a list: schedule.milestones=[0.5,0.75]",
    ),
    ("model.name=vgg", "no model 'vgg'", f"did you mean model.name=vgg16 ({MODELS})"),
    ("norm.at.conv1=btach", "no norm 'btach'", f"did you mean norm.at.conv1=batch ({NORMS})"),
    (
        "norm.at.a=(",
        "cannot read 'norm.at.a=('",
        "quote the value: 'norm.at.a=\"(\"'",
    ),
    ("norm.at.a.b=batch", "no block 'a.b'", "a block's name has no dots: norm.at.BLOCK=NORM"),
    ("norm=null", "no norm 'null'", f"did you mean norm=none ({NORMS})"),
    ("norm=[batch,goup]", "no norm 'goup'", f"did you mean norm=group ({NORMS})"),
    ("trace=3", "trace is several settings", "write one of them: trace.KEY=VALUE"),
    (
        "norm.num_groups=2 norm.channels_per_group=2",
        "norm.num_groups and norm.channels_per_group are both set",
        "each decides the other: leave one out",
    ),
    ("optimizer.beta1=1", "optimizer.beta1 cannot be 1.0", "it needs a number from 0 to below 1"),
    ("threads=100000000", "threads cannot be 100000000", "it needs a whole number of at most 1024"),
    (
        "trace.points=1000000000000",
        "trace.points cannot be 1000000000000",
        "it needs a whole number of at most 10000000",
    ),
    (
        "seed=${oc.env:NNEXP_NOT_SET}",
        "seed needs the environment variable NNEXP_NOT_SET, which is not set",
        "set it, or write seed=${oc.env:NNEXP_NOT_SET,VALUE}",
    ),
    ("batch_size=${oc.env:PWD}", "batch_size cannot be '/'", WHOLE),
    ("tags=${oc.env:PWD}", "tags cannot be '/'", "it needs a list: tags=[a,b]"),
    # form
    ("batch_size=", "'batch_size=' has no value", "settings are written batch_size=VALUE"),
    ("norm= batch", "'norm=' has no value", "settings are written norm=batch"),
    ("norm = batch", "'norm' has no '='", "settings are written norm=batch"),
    ("batch_size=???", "'batch_size=???' has no value", "settings are written batch_size=VALUE"),
    ("epochs 3", "'epochs' has no '='", "settings are written epochs=3"),
    ("epochs:3", "'epochs:3' has no '='", "settings are written epochs=3"),
    ("=3", "'=3' names no setting", "settings are written KEY=VALUE"),
    ("norm=none,", "'norm=none,' ends with a comma", "did you mean norm=none"),
    ("-m batch_size=8, 16", "'batch_size=8,' ends with a comma", "did you mean batch_size=8,16"),
    (
        "data.root=/x/(1)",
        "cannot read 'data.root=/x/(1)'",
        "quote the value: 'data.root=\"/x/(1)\"'",
    ),
    (
        "norm.at.conv*=group",
        "'norm.at.conv*' cannot be a setting",
        "settings are written KEY=VALUE, with letters, digits, _ and . in KEY",
    ),
    ("tags=[ä,b]", "cannot read 'tags=[ä,b]'", 'quote the value: \'tags=["ä","b"]\''),
    (
        "tags=a,b",
        "tags names several values",
        "a list is written tags=[a,b]; to run each, use nnexp sweep, or add -m",
    ),
    # adding, taking away
    ("+norm=batch", "norm is there already", "write norm=batch, without +"),
    ("++norm=batch", "norm is there already", "write norm=batch, without +"),
    ("+batch_size=3", "batch_size is there already", "write batch_size=3, without +"),
    ("~norm", "norm cannot be taken away", "norm=none trains without one"),
    ("~batch_size", "batch_size cannot be taken away", "write batch_size=VALUE"),
    # sweeps: every value is looked at before the first job
    ("-m norm=none,btach", "no norm 'btach'", f"did you mean norm=batch ({NORMS})"),
    ("-m batch_size=8,abc", "batch_size cannot be 'abc'", WHOLE),
    ("-m batch_size=range(0,3)", "batch_size cannot be 0", WHOLE),
    ("-m norm.at.a=layer,x seed=0,1", "no norm 'x'", NORMS),
    (
        "-m norm.num_groups=null,2 norm.channels_per_group=null,2",
        "norm.num_groups and norm.channels_per_group are both set",
        "each decides the other: leave one out",
    ),
    ("norm=[batch,none]", "norm takes one name", "to run each: nnexp sweep norm=batch,none"),
    ("-m norm=[batch,none]", "norm takes one name", "to run each: nnexp sweep norm=batch,none"),
    # studies
    ("study=disable_bn", "study=disable_bn is a grid", "use nnexp sweep study=disable_bn"),
    (
        "study=disable_bn norm=batch seed=0",
        "study=disable_bn is a grid",
        "use nnexp sweep study=disable_bn",
    ),
    ("study=disable_nb", "no study 'disable_nb'", f"did you mean study=disable_bn ({STUDIES})"),
    (
        "+study=disable_bn",
        "study is there already",
        "write study=disable_bn, without +",
    ),
    ("-m study=disable_bn,claims", "study names several grids", "sweep one at a time"),
    # flags
    ("--epoch=3", "no option --epoch", "settings are written epochs=3"),
    ("--batch-size 8", "no option --batch-size", "settings are written batch_size=8"),
    ("--xyzzy", "no option --xyzzy", "-h lists the options"),
    ("--cfg jbo", "--cfg cannot be 'jbo'", "it needs one of job, hydra, all"),
    ("--package", "--package has no value", "write --package VALUE"),
    ("--resolve", "--resolve shows nothing by itself", "add --cfg job to --resolve"),
    ("-m --cfg job", "--multirun and --cfg do not go together", "give one of them"),
    ("--config-name foo", "no config 'foo'", "nnexp configs lists what there is"),
    (
        "--config-dir nowhere",
        "no folder 'nowhere'",
        "--config-dir needs a folder with configs in it",
    ),
    ("hydra/launcher=foo", "no hydra/launcher 'foo'", "hydra/launcher: basic, process"),
    (
        "hydra.mode=MULTIRUN",
        "hydra.mode cannot be set",
        "nnexp train runs once, nnexp sweep a grid",
    ),
    ("hydra.mode=RUN -m", "hydra.mode cannot be set", "nnexp train runs once, nnexp sweep a grid"),
    # what falls through
    ("batch_size=${foo}", "batch_size: Interpolation key 'foo' not found", WHOLE),
    (
        "~norm.at.conv1",
        "Could not delete from config. 'norm.at.conv1' does not exist.",
        "nnexp configs lists what there is",
    ),
]

IN_A_FILE = [  # an option's text, what is wrong, what would do
    ("epz: 1", "norm/mine.yaml: no setting 'norm.epz'", "did you mean norm.eps"),
    ("eps: abc", "norm/mine.yaml: norm.eps cannot be 'abc'", "it needs a number above 0"),
    ("eps: -1", "norm.eps cannot be -1.0", "it needs a number above 0"),
    ("name: btach", "no norm 'btach'", f"did you mean norm.name=batch ({NORMS})"),
    ("at: {conv1: xyzzy}", "no norm 'xyzzy'", NORMS),
    ("at:\n  conv1: ???", "norm.at.conv1 has no value", "write norm.at.conv1=VALUE"),
    (
        "_target_: os.system",
        "norm/mine.yaml: no setting 'norm._target_'",
        "norm has name, eps, momentum, scale_momentum, affine, num_groups, channels_per_group, "
        "batch_size, alpha, r_max, d_max, renorm_steps, conv_bias, implementation, at",
    ),
    (
        "# @package _global_\nfoo: 1",
        "norm/mine.yaml: no setting 'foo'",
        "nnexp configs lists what there is",
    ),
    ("eps: [1\nx: 2", "{file} is not YAML in line 2", "expected ',' or ']'"),
]


@pytest.fixture(autouse=True)
def _empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PWD", "/")


def said(capsys: pytest.CaptureFixture[str], *argv: str) -> list[str]:
    """Run nnexp, which has to end with exit code 2 and nothing on standard output."""
    with pytest.raises(SystemExit) as end:
        main(argv)
    out, err = capsys.readouterr()
    assert end.value.code == 2
    assert out == ""
    return err.splitlines()


def split(typed: str) -> list[str]:
    """Split as a shell does, but leave braces with blanks alone."""
    return [typed] if "{" in typed else typed.split()


@pytest.mark.parametrize(("typed", "problem", "remedy"), ANSWERS)
def test_wrong_words_are_answered_in_two_lines(
    typed: str, problem: str, remedy: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert said(capsys, "train", *split(typed)) == [f"nnexp: {problem}", f"       {remedy}"]
    assert list(tmp_path.iterdir()) == []  # no run folder was begun


@pytest.mark.parametrize(("text", "problem", "remedy"), IN_A_FILE)
def test_a_wrong_config_file_is_answered_in_two_lines(
    text: str, problem: str, remedy: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    file = tmp_path / "it's mine/norm/mine.yaml"
    file.parent.mkdir(parents=True)
    file.write_text(text)
    lines = said(capsys, "train", "--config-dir", str(file.parent.parent), "norm=mine")
    assert lines[0] == f"nnexp: {problem.format(file=file)}"
    assert remedy in lines[1]  # what is wrong inside YAML is worded by its parser
    assert len(lines) == 2


@pytest.mark.parametrize("names", [("mine", "mine"), ("mine", "yours"), ("mine", "yours", "ours")])
def test_configs_that_name_each_other_are_answered_in_two_lines(
    names: tuple[str, ...], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    (tmp_path / "own/norm").mkdir(parents=True)
    for name, other in zip(names, [*names[1:], names[0]], strict=True):
        (tmp_path / f"own/norm/{name}.yaml").write_text(f"defaults:\n  - {other}@_here_\n")
    assert said(capsys, "train", "--config-dir", "own", "norm=mine") == [
        "nnexp: the defaults of the configs go round in a circle",
        "       look for a config whose defaults name itself, or name one that names it",
    ]


def test_a_value_that_only_hydras_sweeper_knows_is_checked_too(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    (tmp_path / "mine/paper").mkdir(parents=True)
    (tmp_path / "mine/paper/sizes.yaml").write_text(
        "# @package _global_\nhydra: {sweeper: {params: {batch_size: '0,8'}}}\n"
    )
    lines = said(capsys, "train", "-m", "--config-dir", "mine", "+paper=sizes")
    assert lines == ["nnexp: batch_size cannot be 0", f"       {WHOLE}"]


@pytest.mark.parametrize("command", ["sweep", "sweep -n"])
def test_a_sweep_answers_as_train_does(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    lines = said(capsys, *command.split(), "norm=none,batch", "modle=vgg16")
    assert lines == ["nnexp: no setting 'modle'", "       did you mean model=vgg16"]


@pytest.mark.parametrize(
    ("typed", "problem", "remedy"),
    [
        ("trian", "no such command 'trian'", "did you mean train"),
        ("configs nrom", "no group 'nrom'", "did you mean norm"),
        ("configs norm=xyzzy", "no norm 'xyzzy'", NORMS),
        ("configs --epochs 3", "no option --epochs", "-h lists the options"),
        ("show --epochs=3", "no option --epochs", "settings are written epochs=3"),
        ("compare --seed 3", "no option --seed", "conditions are written --where seed=3"),
        ("report -z", "no option -z", "-h lists the options"),
        ("logs -fz run", "no option -z", "-h lists the options"),
        ("compare --row norm", "no option --row", "did you mean --rows"),
        ("runs --where norm=batch", "no option --where", "-h lists the options"),
    ],
)
def test_wrong_commands_are_answered_in_two_lines(
    typed: str, problem: str, remedy: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert said(capsys, *typed.split()) == [f"nnexp: {problem}", f"       {remedy}"]


@pytest.mark.parametrize(
    "typed",
    [
        "norm@model=group",
        "hydra/job_logging=xyzzy",
        "hydra.mode=x",
        "runs_dir=/dev/null/runs",
        "norm=glob(x*)",
        "batch_size=interval(1,3) -m",
        "seed=${oc.env:NNEXP_NOT_SET}",
        "norm=batch norm@foo=x",
        "x@y:z=1",
        "[]=1",
        "norm.=1",
        ".=1",
        "~",
        "+",
        "norm=batch\n",
        "--info=xyzzy",
        "-",
        "--",
        "schedule.milestones.0=0.5",
        "hydra.run.dir=",
    ],
)
def test_whatever_is_typed_ends_without_a_traceback(
    typed: str, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = said(capsys, "train", *typed.split(" "), "data=folder", "data.root=nowhere")
    assert len(lines) == 2
    assert lines[0].startswith("nnexp: ")
    assert lines[1].strip()


@pytest.mark.parametrize(
    ("typed", "answer"),
    [
        ("train batch_size=0", f"nnexp: batch_size cannot be 0\n       {WHOLE}\n"),
        ("train data=folder data.root=/nowhere", NO_FOLDER),
        ("data data=folder data.root=/nowhere", NO_FOLDER),
    ],
)
def test_wrong_words_are_answered_before_torch_is_imported(
    typed: str, answer: str, tmp_path: Path
) -> None:
    for name in ("torch", "torchvision", "pandas", "matplotlib"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit('imported too early')\n")
    environment = {**os.environ, "PYTHONPATH": f"{tmp_path}:{os.environ.get('PYTHONPATH', '')}"}
    command = [sys.executable, "-m", "nnexp", *typed.split()]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.stderr == answer
    assert done.returncode == 2
