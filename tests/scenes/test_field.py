"""A field that source images describe: where they are read, in which frame, by how many views."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from nearfar.config import EncoderConfig
from nearfar.data.sample import Channels
from nearfar.encoders.image import ImageEncoder
from nearfar.errors import ConfigError, ShapeError
from nearfar.scenes.field import PAPER, ConditionalField, ObjectOptions, Sources, sample_maps
from nearfar.spatial.cameras import Camera, orbit

SMALL = ObjectOptions(width=16, latent=8, encoder_size=16, encoder_pool=1)
CAMERAS = orbit(4, 2.7, 30.0, width=16, height=16, fov=40.0)


def build(**changes: object) -> ConditionalField:
    field = ConditionalField(replace(SMALL, **changes)).eval()
    for part in field.coarse.blocks:
        torch.nn.init.normal_(part.second.weight, std=0.2)
    field.reduce.weight.data *= 50  # a new encoder says little in evaluation mode
    return field


def images(objects: int = 1, views: int = 1, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    colours = torch.rand(objects, views, 3, 1, 1, generator=generator)  # so that two images differ as wholes, too
    return colours * torch.rand(objects, views, 3, 16, 16, generator=generator)


def points(objects: int = 1, count: int = 20) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    places = torch.rand(objects, count, 3, generator=generator) - 0.5
    ways = torch.randn(objects, count, 3, generator=generator)
    return places, ways / ways.norm(dim=-1, keepdim=True)


def sources_of(maps: torch.Tensor, cameras: list[Camera]) -> Sources:
    w2c = torch.from_numpy(np.stack([c.w2c[:3] for c in cameras])).float()[None]
    lens = torch.tensor([[[c.fx / c.width, c.fy / c.height, c.cx / c.width, c.cy / c.height] for c in cameras]])
    return Sources(w2c, lens.float(), None, maps[None])


def test_published_sizes() -> None:
    field = ConditionalField(PAPER)
    assert field.fine is not None
    assert sum(p.numel() for p in field.coarse.parameters()) == 2_848_772
    assert sum(p.numel() for p in field.fine.parameters()) == 2_848_772
    assert sum(p.numel() for p in field.parameters()) == 6_221_664


def test_a_map_is_read_at_the_pixel_where_the_point_appears() -> None:
    camera = replace(CAMERAS[1], cx=7.0, cy=9.0, fy=20.0)  # neither centred nor square
    rows, columns = torch.meshgrid(torch.arange(16.0), torch.arange(16.0), indexing="ij")
    maps = torch.stack([columns + 0.5, rows + 0.5])[None]  # a map that says where it is read
    places, _ = points()
    uv, _ = camera.project(places[0].numpy())
    assert ((uv > 0.5) & (uv < 15.5)).all()
    read = sample_maps(sources_of(maps, [camera]), places)
    assert torch.allclose(read[0, 0], torch.from_numpy(uv).float(), atol=1e-3)


@pytest.mark.parametrize("cell", [2, 4])
def test_a_coarser_map_covers_the_same_image(cell: int) -> None:
    camera = CAMERAS[0]
    fine = torch.arange(16.0) + 0.5
    coarse = fine.reshape(-1, cell).mean(dim=1)  # what a cell's pixels say on average
    maps = coarse.expand(1, 1, 16 // cell, -1)
    places, _ = points()
    uv, _ = camera.project(places[0].numpy())
    read = sample_maps(sources_of(maps, [camera]), places)[0, 0, :, 0].numpy()
    inside = (uv[:, 0] > cell / 2) & (uv[:, 0] < 16 - cell / 2)
    assert inside.sum() > 10
    assert np.abs(read - uv[:, 0])[inside].max() < 1e-3


def test_a_shifted_map_shifts_what_is_read() -> None:
    camera = CAMERAS[0]
    maps = torch.rand(1, 5, 16, 16)
    shifted = torch.roll(maps, shifts=3, dims=-1)
    moved = replace(camera, cx=camera.cx + 3)  # the same points appear three pixels to the right
    places, _ = points()
    uv, _ = camera.project(places[0].numpy())
    inside = torch.from_numpy((uv[:, 0] > 1) & (uv[:, 0] < 12))
    assert inside.sum() > 10
    here = sample_maps(sources_of(maps, [camera]), places)[0, 0]
    there = sample_maps(sources_of(shifted, [moved]), places)[0, 0]
    assert torch.allclose(here[inside], there[inside], atol=1e-4)
    assert not torch.allclose(here[inside], sample_maps(sources_of(shifted, [camera]), places)[0, 0][inside], atol=0.05)


def test_points_behind_the_camera_read_nothing() -> None:
    camera = CAMERAS[0]
    behind = torch.from_numpy(camera.origin - camera.axis).float().reshape(1, 1, 3)
    assert torch.equal(sample_maps(sources_of(torch.ones(1, 2, 4, 4), [camera]), behind), torch.zeros(1, 1, 1, 2))


def test_pixel_conditioning_sees_where_the_image_differs_and_global_does_not() -> None:
    """A change in the left half of the source changes only points seen there, as far as the encoder looks locally."""
    here = images()
    there = here.clone()
    there[..., :4] = 1 - there[..., :4]
    places, _ = points(count=200)
    uv, _ = CAMERAS[0].project(places[0].numpy())
    left = torch.from_numpy(uv[:, 0] < 5)
    field = build(conditioning="pixel")
    read = [sample_maps(field.encode(one, [[CAMERAS[0]]]), places)[0, 0] for one in (here, there)]
    change = (read[0] - read[1]).abs().mean(dim=-1)
    assert change[left].mean() > 1.5 * change[~left].mean()
    spread = [one.std(dim=0).mean() for one in read]
    assert min(spread) > 1e-3  # points read different values, where one latent would give all the same
    assert build().encode(here, [[CAMERAS[0]]]).latent is not None


@pytest.mark.parametrize("conditioning", ["global", "pixel"])
@pytest.mark.parametrize("frame", ["canonical", "camera"])
def test_several_sources_are_averaged(conditioning: str, frame: str) -> None:
    field = build(conditioning=conditioning, frame=frame)
    places, ways = points()
    shown, cameras = images(1, 3), CAMERAS[:3]
    together = field(places, ways, field.encode(shown, [cameras]))
    order = [2, 0, 1]
    again = field(places, ways, field.encode(shown[:, order], [[cameras[i] for i in order]]))
    assert torch.allclose(together[0], again[0], atol=1e-5)
    copies = field(places, ways, field.encode(shown[:, [0, 0]], [[cameras[0]] * 2]))
    alone = field(places, ways, field.encode(shown[:, :1], [cameras[:1]]))
    assert torch.allclose(copies[0], alone[0], atol=1e-5)
    assert not torch.allclose(together[0], alone[0], atol=1e-4)


def test_canonical_frame_ignores_the_source_camera_and_the_cameras_frame_turns_with_it() -> None:
    places, ways = points()
    shown = images()
    canonical, turned = build(), build(frame="camera")
    colours = [canonical(places, ways, canonical.encode(shown, [[camera]]))[0] for camera in CAMERAS[:2]]
    assert torch.equal(*colours)
    # In the source's frame only the place relative to the source counts: turn the points with the camera.
    first, second = CAMERAS[0], CAMERAS[1]
    turn = torch.from_numpy(second.c2w[:, :3] @ first.c2w[:, :3].T).float()
    here = turned(places, ways, turned.encode(shown, [[first]]))
    there = turned(places @ turn.T, ways @ turn.T, turned.encode(shown, [[second]]))
    assert torch.allclose(here[0], there[0], atol=1e-5)
    assert torch.allclose(here[1], there[1], atol=1e-4)
    assert not torch.allclose(here[0], turned(places, ways, turned.encode(shown, [[second]]))[0], atol=1e-4)


@pytest.mark.parametrize("conditioning", ["global", "pixel"])
def test_gradients_reach_every_parameter(conditioning: str) -> None:
    field = build(conditioning=conditioning, fine=2).train()
    for block in field.fine.blocks:
        torch.nn.init.normal_(block.second.weight, std=0.2)
    places, ways = points(2)
    sources = field.encode(images(2), [[CAMERAS[0]], [CAMERAS[1]]])
    total = sum(part.sum() for fine in (False, True) for part in field(places, ways, sources, fine=fine))
    total.backward()
    missing = [name for name, p in field.named_parameters() if p.grad is None or not torch.isfinite(p.grad).all()]
    assert not missing
    silent = [
        name for name, p in field.named_parameters() if p.grad.abs().sum() == 0 and not name.startswith("encoder")
    ]
    assert not silent


def test_a_frozen_encoder_stays_as_it_is_also_in_training() -> None:
    field = build(freeze_encoder=True).train()
    before = {name: value.clone() for name, value in field.encoder.state_dict().items()}
    sources = field.encode(images(2), [[CAMERAS[0]], [CAMERAS[1]]])
    field(*points(2), sources)[0].sum().backward()
    assert all(torch.equal(before[name], value) for name, value in field.encoder.state_dict().items())
    assert all(p.grad is None for p in field.encoder.parameters())
    assert field.reduce.weight.grad is not None
    assert field.encoder.training


def test_densities_are_never_negative() -> None:
    for density in ("softplus", "relu"):
        field = build(density=density)
        colours, found = field(*points(), field.encode(images(), [[CAMERAS[0]]]))
        assert (found >= 0).all() and ((colours >= 0) & (colours <= 1)).all()


def test_a_trained_encoder_takes_the_place_of_a_new_one() -> None:
    encoder = ImageEncoder(EncoderConfig(name="nano_cnn", size=16), Channels.of({"rgb": ["r", "g", "b"]}))
    for conditioning in ("global", "pixel"):
        field = ConditionalField(replace(SMALL, conditioning=conditioning), encoder).eval()
        assert field.encoder is encoder
        assert field(*points(), field.encode(images(), [[CAMERAS[0]]]))[0].shape == (1, 20, 3)


def test_wrong_use_is_named() -> None:
    thermal = ImageEncoder(EncoderConfig(name="nano_cnn", size=16), Channels.of({"thermal": [""]}))
    with pytest.raises(ConfigError, match="RGB"):
        ConditionalField(SMALL, thermal)
    field = build()
    with pytest.raises(ShapeError, match="images and cameras of objects do not fit"):
        field.encode(images(2), [[CAMERAS[0]]])
    sources = field.encode(images(), [[CAMERAS[0]]])
    with pytest.raises(ShapeError, match="no map"):
        sample_maps(sources, points()[0])
    with pytest.raises(ShapeError, match="points, directions and objects"):
        field(*points(2), sources)
    bent = replace(CAMERAS[0], distortion=(0.1, 0.0, 0.0, 0.0))
    with pytest.raises(ConfigError, match="lens distortion"):
        build(conditioning="pixel").encode(images(), [[bent]])
