import numpy as np
import pytest
import torch

from nnexp.data import (
    EpochPlan,
    Split,
    batch_sizes,
    epoch_plan,
    normalized,
    train_batches,
)

MEAN, STD = (0.49, 0.48, 0.44), (0.25, 0.24, 0.26)


@pytest.fixture
def split() -> Split:
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (70, 3, 32, 32), generator=generator, dtype=torch.uint8)
    return Split(images, torch.arange(70))


def test_a_plan_can_be_drawn_again_from_the_recipe_in_its_docstring() -> None:
    plan = epoch_plan(seed=3, epoch=5, num_images=1000)
    words = [int(word) for word in np.random.Philox(key=[3, 5]).random_raw(2000)]
    assert plan.order.tolist() == sorted(range(1000), key=lambda i: words[i])
    assert plan.top.tolist() == [word % 9 for word in words[1000:]]
    assert plan.left.tolist() == [word // 9 % 9 for word in words[1000:]]
    assert plan.flip.tolist() == [word // 81 % 2 == 1 for word in words[1000:]]


def test_a_plan_is_the_same_on_every_machine_and_version() -> None:
    plan = epoch_plan(seed=0, epoch=0, num_images=8)
    assert plan.order.tolist() == [0, 2, 1, 5, 4, 3, 6, 7]
    assert plan.top.tolist() == [0, 7, 1, 8, 4, 1, 5, 1]
    assert plan.left.tolist() == [3, 0, 6, 4, 0, 7, 0, 2]
    assert plan.flip.int().tolist() == [0, 1, 1, 0, 0, 1, 0, 0]


def test_a_plan_depends_on_seed_and_epoch_and_on_nothing_drawn_before() -> None:
    first = epoch_plan(2**63 - 1, 4, 100)
    torch.rand(3)
    np.random.default_rng().random()
    again = epoch_plan(2**63 - 1, 4, 100)
    for name in ("order", "top", "left", "flip"):
        assert torch.equal(getattr(first, name), getattr(again, name))
        for other in (epoch_plan(2**63 - 1, 5, 100), epoch_plan(1, 4, 100)):
            assert not torch.equal(getattr(first, name), getattr(other, name))


def test_every_crop_is_as_likely_as_any_other_and_half_of_them_are_flipped() -> None:
    plan = epoch_plan(seed=0, epoch=0, num_images=81_000)
    assert sorted(plan.order.tolist()) == list(range(81_000))
    places = torch.bincount(plan.top * 9 + plan.left, minlength=81)
    assert len(places) == 81
    assert places.min() > 850  # 1000 each, give or take five standard deviations
    assert places.max() < 1150
    assert abs(plan.flip.double().mean().item() - 0.5) < 0.01


@pytest.mark.parametrize(
    ("num_images", "batch_size", "sizes"),
    [
        (256, 128, [128, 128]),
        (300, 128, [128, 128, 44]),
        (257, 128, [128, 129]),
        (129, 128, [129]),
        (5, 2, [2, 3]),
        (100, 128, [100]),
        (1, 128, [1]),
        (3, 1, [1, 1, 1]),
    ],
)
def test_the_last_short_batch_is_used_but_never_a_single_image(
    num_images: int, batch_size: int, sizes: list[int]
) -> None:
    assert batch_sizes(num_images, batch_size) == sizes


def naive(image: np.ndarray, top: int, left: int, flip: bool) -> np.ndarray:
    """One image the slow way: a black 40×40 canvas, a window, a mirror, a formula."""
    canvas = np.zeros((3, 40, 40))
    canvas[:, 4:36, 4:36] = image
    window = canvas[:, top : top + 32, left : left + 32]
    if flip:
        window = window[:, :, ::-1]
    return (window / 255 - np.reshape(MEAN, (3, 1, 1))) / np.reshape(STD, (3, 1, 1))


def test_batches_hold_what_a_naive_loop_over_images_gives(split: Split) -> None:
    plan = epoch_plan(seed=1, epoch=2, num_images=70)
    order = plan.order.tolist()
    expected = np.stack(
        [
            naive(
                split.images[i].numpy(),
                int(plan.top[i]),
                int(plan.left[i]),
                bool(plan.flip[i]),
            )
            for i in order
        ]
    )
    batches = list(train_batches(split, plan, 32, MEAN, STD))
    assert [len(labels) for _, labels in batches] == [32, 32, 6]
    assert torch.cat([labels for _, labels in batches]).tolist() == order
    images = torch.cat([images for images, _ in batches])
    assert images.dtype == torch.float32
    np.testing.assert_allclose(images.numpy(), expected, rtol=0, atol=1e-6)


def test_without_augmentation_images_are_whole_and_only_their_order_changes(split: Split) -> None:
    plan = epoch_plan(seed=1, epoch=2, num_images=70)
    images = torch.cat([x for x, _ in train_batches(split, plan, 32, MEAN, STD, augment=False)])
    assert torch.equal(images, normalized(split.images[plan.order], MEAN, STD))


@pytest.mark.parametrize("start", range(5))
def test_an_epoch_goes_on_in_its_middle_as_if_it_had_not_stopped(split: Split, start: int) -> None:
    plan = epoch_plan(seed=1, epoch=2, num_images=70)
    whole = list(train_batches(split, plan, 20, MEAN, STD))
    rest = list(train_batches(split, plan, 20, MEAN, STD, start=start))
    assert len(rest) == len(whole) - start == 4 - start
    for (images, labels), (expected_images, expected_labels) in zip(
        rest, whole[start:], strict=True
    ):
        assert torch.equal(images, expected_images)
        assert torch.equal(labels, expected_labels)


def test_batches_leave_the_split_as_it_was(split: Split) -> None:
    before = split.images.clone()
    for images, _ in train_batches(split, epoch_plan(0, 0, 70), 20, MEAN, STD):
        images.zero_()
    assert torch.equal(split.images, before)


def test_evaluation_images_follow_the_written_formula() -> None:
    ramp = torch.arange(256, dtype=torch.uint8).repeat(12).view(1, 3, 32, 32)
    mean = np.reshape(MEAN, (3, 1, 1))
    expected = (ramp.numpy() / 255.0 - mean) / np.reshape(STD, (3, 1, 1))
    np.testing.assert_allclose(normalized(ramp, MEAN, STD).numpy(), expected, rtol=0, atol=1e-6)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_gpu_sees_the_images_that_the_host_sees_and_is_never_waited_for(split: Split) -> None:
    plan = epoch_plan(seed=1, epoch=2, num_images=70)
    list(train_batches(split.to("cuda"), plan, 20, MEAN, STD))  # tables are sent once
    batches = train_batches(split.to("cuda"), plan, 20, MEAN, STD)
    found = [next(batches)]
    torch.cuda.set_sync_debug_mode("error")
    try:
        found += list(batches)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    for (images, labels), (expected, expected_labels) in zip(
        found, train_batches(split, plan, 20, MEAN, STD), strict=True
    ):
        torch.testing.assert_close(images.cpu(), expected, rtol=0, atol=1e-6)
        assert torch.equal(labels.cpu(), expected_labels)


def test_a_plan_is_what_its_type_says() -> None:
    plan = epoch_plan(0, 0, 10)
    assert isinstance(plan, EpochPlan)
    assert plan.order.dtype == plan.top.dtype == plan.left.dtype == torch.int64
    assert plan.flip.dtype == torch.bool
