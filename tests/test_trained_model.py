import json
import shutil
from dataclasses import replace

import pytest
import torch

from nnexp import experiment
from nnexp.data import load_images
from nnexp.rundir import RunDir, write_json
from nnexp.settings import ConfigError


@pytest.fixture(scope="module")
def trained(tmp_path_factory, module_tiny) -> experiment.Outcome:
    return experiment.run(module_tiny)


@pytest.fixture
def run(trained, tmp_path) -> RunDir:
    """A finished run that a test may damage."""
    shutil.copytree(trained.run.path, tmp_path / trained.run.path.name)
    return RunDir(tmp_path / trained.run.path.name)


@pytest.mark.parametrize("split", ["val", "test"])
def test_predictions_of_a_loaded_model_give_the_accuracies_of_the_result(
    trained, module_tiny, split
):
    loaded = experiment.load_model(trained.run.path)
    images = load_images(module_tiny.data).splits[split]
    probabilities = loaded.predict(images.images)
    assert not loaded.model.training
    assert torch.allclose(probabilities.sum(dim=1), torch.ones(len(images)))
    right = (probabilities.argmax(dim=1) == images.labels).sum().item()
    assert right / len(images) == trained.result[f"{split}_accuracy"]
    assert loaded.classes[int(images.labels[0])] in loaded.classes


def test_model_trained_in_bf16_predicts_as_it_was_tested(module_tiny, tmp_path):
    config = replace(module_tiny, precision="bf16", epochs=1, runs_dir=str(tmp_path))
    outcome = experiment.run(config)
    test = load_images(config.data).test
    found = experiment.load_model(outcome.run).predict(test.images).argmax(dim=1)
    assert (found == test.labels).float().mean().item() == pytest.approx(
        outcome.result["test_accuracy"]
    )


def test_run_folder_without_images_is_completed_from_the_same_images(run, trained):
    run.images.unlink()
    old, new = experiment.load_model(run), experiment.load_model(trained.run)
    assert (old.classes, old.mean, old.std) == (new.classes, new.mean, new.std)


def test_run_folder_without_images_that_cannot_be_had_is_refused(run, module_tiny):
    run.images.unlink()
    text = run.config.read_text()
    run.config.write_text(
        text.replace("name: synthetic", "name: folder").replace("root: null", "root: /nowhere")
    )
    with pytest.raises(ConfigError, match=r"has no images\.json, and its images cannot be loaded"):
        experiment.load_model(run)


@pytest.mark.parametrize(
    ("damage", "problem"),
    [
        (lambda run: shutil.rmtree(run.checkpoint), "holds no trained network"),
        (lambda run: run.config.unlink(), "is not the folder of a run"),
        (lambda run: write_json(run.images, {"classes": ["a"]}), "does not hold classes"),
        (
            lambda run: (run.checkpoint / "weights.safetensors").write_bytes(b"torn"),
            r"weights\.safetensors cannot be read",
        ),
    ],
)
def test_folder_without_a_whole_network_is_refused_in_two_lines(run, damage, problem):
    damage(run)
    with pytest.raises(ConfigError, match=problem) as refused:
        experiment.load_model(run.path)
    assert refused.value.remedy


def test_images_are_described_before_the_first_step(module_tiny, tmp_path):
    class Reader(experiment.Listener):
        def started(self, info):
            self.images = json.loads(RunDir(info.run).images.read_text())

    reader = Reader()
    experiment.run(replace(module_tiny, epochs=1, runs_dir=str(tmp_path)), [reader])
    assert len(reader.images["classes"]) == 10
    assert reader.images["size"] == [3, 32, 32]
    assert reader.images["counts"] == {"train": 120, "val": 40, "test": 40}


@pytest.mark.parametrize("function", ["predict", "normalize"])
def test_images_that_are_no_bytes_are_refused(trained, module_tiny, function):
    loaded = experiment.load_model(trained.run.path)
    images = load_images(module_tiny.data).test.images
    with pytest.raises(ConfigError, match="cannot be of type torch") as refused:
        getattr(loaded, function)(images.float() / 255)
    assert "torch.uint8" in refused.value.remedy


@pytest.mark.parametrize("function", ["predict", "normalize"])
@pytest.mark.parametrize(
    ("change", "problem", "remedy"),
    [
        (lambda images: images[0], "of shape (3, 32, 32)", "give (N, 3, 32, 32)"),
        (lambda images: images.movedim(1, 3), "of shape (40, 32, 32, 3)", "give (N, 3, 32, 32)"),
        (lambda images: images.numpy(), "of type ndarray", "give a tensor"),
    ],
)
def test_images_of_another_shape_or_no_tensor_are_refused(
    trained, module_tiny, function, change, problem, remedy
):
    loaded = experiment.load_model(trained.run.path)
    images = change(load_images(module_tiny.data).test.images)
    with pytest.raises(ConfigError) as refused:
        getattr(loaded, function)(images)
    assert refused.value.problem == f"images cannot be {problem}"
    assert refused.value.remedy.startswith(remedy)
