"""C-SIP: banners of the views, the loss against its formula, false negatives, the scale, two passes, two ranks."""

import math
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

import nearfar
from nearfar import configio
from nearfar.config import DataConfig, EncoderConfig, ViewsConfig
from nearfar.data import collate
from nearfar.data.open import open_dataset
from nearfar.data.pairs import pair_channels
from nearfar.data.sample import Channels
from nearfar.errors import ConfigError, DataError
from nearfar.losses import Relations, clip_loss
from nearfar.methods.base import Batch
from nearfar.methods.csip import CSIP
from nearfar.presets import DEMOS
from nearfar.spatial import force_banner

sys.path.insert(0, str(Path(__file__).parent))
from loops import assert_ranks_equal_one, assert_two_passes_equal_one, in_double, plain_loop

RGB = Channels.of({"rgb": ["r", "g", "b"]})
MASKED = Channels.of({"rgb": ["r", "g", "b"], "masks": ["subject", "object"]})
ENCODER = EncoderConfig("nano_cnn", {"width": 8, "depth": 1}, size=16)


def make(channels: Channels = MASKED, preset: str = "csip", views: ViewsConfig | None = None, **options: Any) -> CSIP:
    torch.manual_seed(0)
    small = {"rows": 5, "directions": 36, "banner_width": 8, "banner_dim": 24, "projection": (32, 16), **options}
    method = nearfar.create(preset, channels=channels, encoder=ENCODER, views=views, **small)
    assert isinstance(method, CSIP)
    return method.train()


def pairs(count: int = 10, channels: int = 5) -> Batch:
    """Two discs in other places of every picture; neighbours in the batch share an image, four share their masks."""
    random = torch.Generator().manual_seed(3)
    grid = torch.stack(torch.meshgrid(torch.arange(16), torch.arange(16), indexing="ij")) + 0.5
    centre = torch.rand(count, 2, 2, 1, 1, generator=random) * 10 + 3
    centre[-4:] = centre[-4:-3]
    masks = ((grid - centre).square().sum(2) < 9).float()
    image = torch.cat([torch.rand(count, 3, 16, 16, generator=random), masks], 1)[:, :channels]
    ids = torch.arange(count)
    return {"image": image, "masks": masks, "image_index": ids // 2, "label": ids % 3, "index": ids, "seed": ids}


def logits(method: CSIP, batch: Batch) -> Tensor:
    z = method.project(batch)
    image, banner = (F.normalize(z[name], dim=1) for name in ("image", "banner"))
    return image @ banner.T * method.log_scale.exp()


def test_banners_are_those_of_the_views() -> None:
    method = make(views=ViewsConfig(recipe="pairs", count=1, flip_horizontal=1.0))
    batch = method.views(pairs())
    masks = pairs()["masks"]
    plain = force_banner(masks[:, 0], masks[:, 1], method.forces, 36)
    across = (18 - torch.arange(36)) % 36  # theta becomes pi - theta
    assert batch["banners"].shape == (10, 1, 5, 36)
    torch.testing.assert_close(batch["banners"][:, 0], plain[..., across], atol=1e-5, rtol=1e-4)
    assert torch.equal(batch["views"][:, 0, 3:], masks.flip(-1))
    single = method.views({key: value[2] for key, value in pairs().items()})
    torch.testing.assert_close(single["banners"], batch["banners"][2])


def test_the_plain_loss_is_cross_entropy_of_both_sides() -> None:
    method = make(false_negatives="none", label_smoothing=0.2)
    batch = method.views(pairs())
    s, target = logits(method, batch), torch.arange(10)
    expected = sum(F.cross_entropy(x, target, label_smoothing=0.2) for x in (s, s.T)) / 2
    out = method.criterion(method.project(batch), batch)
    torch.testing.assert_close(out.loss, torch.as_tensor(expected), atol=1e-5, rtol=1e-5)
    assert float(out.parts["scale"]) == pytest.approx(1 / 0.07)


@pytest.mark.parametrize(
    ("channels", "options", "ids"),
    [
        (MASKED, {"false_negatives": "none"}, False),
        (RGB, {"false_negatives": "none"}, True),
        (MASKED, {"false_negatives": "none", "same_image": "mask"}, True),
        (RGB, {"false_negatives": "none", "same_image": "contrast"}, False),
    ],
)
def test_pairs_of_one_image(channels: Channels, options: dict[str, Any], ids: bool) -> None:
    """Only an encoder that sees which pair is meant can tell them apart."""
    method = make(channels, **options)
    batch = method.views(pairs(channels=len(channels)))
    s, group = logits(method, batch), batch["image_index"]
    if ids:
        s = s.masked_fill((group[:, None] == group[None]) & ~torch.eye(10, dtype=torch.bool), -torch.inf)
    target = torch.arange(10)
    expected = (F.cross_entropy(s, target) + F.cross_entropy(s.T, target)) / 2
    torch.testing.assert_close(method.step(batch).loss, expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(("name", "use"), [("mask", "ignore"), ("soft", "weigh"), ("target", "target")])
def test_pairs_with_nearly_the_same_banner(name: str, use: Any) -> None:
    method = make(false_negatives=name, threshold=0.8)
    batch = method.views(pairs())
    z, flat = method.project(batch), batch["banners"].flatten(1)
    known = Relations(None, (flat, flat), use, 0.8)
    expected = clip_loss(z["image"], z["banner"], scale=1 / 0.07, relations=known)
    torch.testing.assert_close(method.step(batch).loss, expected, atol=1e-5, rtol=1e-5)
    assert abs(float(expected.detach()) - float(make(false_negatives="none").step(batch).loss.detach())) > 1e-4


def test_twins_are_masked() -> None:
    """The last four pairs have one and the same banner, so nothing pushes them apart."""
    method = make()
    batch = method.views(pairs() | {"seed": torch.zeros(10, dtype=torch.int64)})
    twins = {key: value[-4:] for key, value in batch.items()}
    assert float(method.step(twins).loss.detach()) == pytest.approx(0.0, abs=1e-6)
    assert float(make(false_negatives="none").step(twins).loss.detach()) > 1.0


def test_the_scale_learns_and_stays_below_a_hundred() -> None:
    method = make(temperature=0.0101)
    before = float(method.log_scale)
    method.step(pairs()).loss.backward()
    assert method.log_scale.grad is not None and float(method.log_scale.grad) != 0
    with torch.no_grad():
        method.log_scale += 1.0
    method.after_step()
    assert before < float(method.log_scale) <= math.log(100) + 1e-6
    fixed = make(learn_temperature=False)
    fixed.step(pairs()).loss.backward()
    assert not fixed.log_scale.requires_grad and fixed.log_scale.grad is None
    assert "log_scale" in fixed.state_dict()


def test_features_before_the_heads_and_embeddings_after() -> None:
    method, batch = make(), pairs()
    assert method.encode(batch["image"]).shape == (10, method.encoder.feature_dim)
    assert method.encode_masks(batch["masks"]).shape == (10, 24)
    image, banner = method.embed_images(batch["image"]), method.embed_masks(batch["masks"])
    assert image.shape == banner.shape == (10, method.embedding_dim)
    torch.testing.assert_close(torch.cat([image, banner]).norm(dim=1), torch.ones(20))
    assert method.training and method.banner_encoder.training and method.head.training
    assert not any(x.requires_grad for x in (image, banner))
    still = make(views=ViewsConfig(recipe="pairs", count=1, flip_horizontal=0.0, strength=0.0, erase=0.0))
    z = still.project(still.views(batch))
    torch.testing.assert_close(F.normalize(z["image"], dim=1), still.embed_images(batch["image"]), atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(F.normalize(z["banner"], dim=1), still.embed_masks(batch["masks"]), atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("rows", [1, 4, 10])
@pytest.mark.parametrize("options", [{}, {"false_negatives": "soft", "label_smoothing": 0.1, "same_image": "mask"}])
def test_two_passes_equal_one(rows: int, options: dict[str, Any]) -> None:
    method = make(**options).double()
    assert_two_passes_equal_one(method, in_double(method.views(pairs())), rows)


def test_forces_and_banners_by_configuration() -> None:
    assert make(rows=5, force_range=(-2.0, 2.0)).forces == (-2.0, -1.0, 0.0, 1.0, 2.0)
    assert make(forces=(0.0, 2.0)).forces == (0.0, 2.0)
    assert make(rows=1, force_range=(0.0, 2.0)).forces == (0.0,)
    masks = pairs()["masks"]
    both = make(symmetric=True, directions=72)
    assert both.banner(masks).shape == (10, 5, 36)
    torch.testing.assert_close(both.banner(masks), both.banner(masks.flip(1)), atol=1e-5, rtol=1e-4)
    far = make(banner_norm="scale").banner(masks)
    expected = force_banner(masks[:, 0], masks[:, 1], make().forces, 36, normalize="scale")
    torch.testing.assert_close(far, expected)


def test_the_published_loss() -> None:
    """exp(0.07) times the raw products, smoothed by 0.2; nothing masked, nothing learned."""
    method = make(RGB, "csip_reference", rows=7, projection=(16,)).eval()
    batch = method.views(pairs(channels=3))
    assert torch.equal(batch["views"][:, 0], batch["image"])
    z, target = method.project(batch), torch.arange(10)
    s = z["image"] @ z["banner"].T * math.exp(0.07)
    expected = (F.cross_entropy(s, target, label_smoothing=0.2) + F.cross_entropy(s.T, target, label_smoothing=0.2)) / 2
    torch.testing.assert_close(method.step(batch).loss, expected, atol=1e-5, rtol=1e-5)
    assert not method.log_scale.requires_grad


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"views": ViewsConfig(recipe="pairs", count=2)}, "views.count.*found 2"),
        ({"views": ViewsConfig(recipe="standard", count=1)}, "views.recipe.*expected pairs"),
        ({"projection": ()}, "banner_dim to 32"),
        ({"false_negatives": "masked"}, "method.false_negatives"),
        ({"same_image": "no"}, "method.same_image"),
        ({"rows": 0}, "method.rows"),
        ({"directions": 30}, "multiple of 4"),
    ],
)
def test_bad_settings(options: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        make(**options)


def test_bad_batches() -> None:
    method, batch = make(), pairs()
    with pytest.raises(DataError, match=r"masks of subject and object.*manifest of pairs"):
        method.step({"image": batch["image"]})
    with pytest.raises(DataError, match="views but no banners"):
        method.step({"views": batch["image"][:, None]})
    with pytest.raises(DataError, match="empty"):
        method.step(batch | {"masks": batch["masks"] * 0})
    with pytest.raises(ConfigError, match="share"):
        make(label_smoothing=2.0).step(batch)


def test_the_demonstration_trains_both_presets_on_the_same_views() -> None:
    demo = DEMOS["csip"]
    for preset in demo.presets:
        config = configio.load(preset, None, {**demo.overrides, **demo.own.get(preset, {})})
        assert config.views.recipe == "pairs" and config.data.modalities == ("rgb", "masks")
    channels = pair_channels(("rgb", "masks"))
    assert nearfar.create("csip", channels=channels, encoder=ENCODER).masks_same_image is False


def test_real_pictures(shared_data: Path) -> None:
    """Sixteen pairs of COCO: a few steps bring each picture to its own banner."""
    config = DataConfig(root=shared_data / "coco_tiny", modalities=("rgb", "masks"), size=32, mask_size=32)
    dataset = open_dataset(config, "all")
    batch = collate([dataset[i] for i in range(0, len(dataset), len(dataset) // 16)][:16])
    encoder = EncoderConfig("nano_cnn", {"width": 16, "depth": 1}, size=32)
    torch.manual_seed(0)
    method = nearfar.create("csip", channels=dataset.channels, encoder=encoder, rows=9, head_norm="batch")
    losses = plain_loop(method, [batch] * 12)
    assert sum(losses[-3:]) < 0.5 * sum(losses[:3])
    assert isinstance(method, CSIP)
    near = logits(method, method.views(batch)).detach()
    assert (near.diag() > near.mean(1)).float().mean() > 0.9
    assert method.embed_images(batch["image"]).isfinite().all() and method.embed_masks(batch["masks"]).isfinite().all()


@pytest.mark.slow
@pytest.mark.parametrize("chunk", [0, 2])
def test_ranks_equal_the_joined_batch(chunk: int) -> None:
    """Real DDP over two ranks with 6 and 4 pairs, in one pass and in two; the learned scale included."""
    sys.path.insert(0, str(Path(__file__).parents[1] / "distributed"))
    import csip_ranks
    from gloo_pool import GlooPool

    pool = GlooPool(2)
    try:
        assert_ranks_equal_one(pool.run(csip_ranks.gradients, chunk), *csip_ranks.build())
    finally:
        pool.close()
