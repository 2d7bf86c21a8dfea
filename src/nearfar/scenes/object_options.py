"""The options of a conditional field of objects, and the published sizes. Plain data: no torch is imported."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from nearfar.errors import ConfigError, did_you_mean

Conditioning = Literal["global", "pixel"]
Frame = Literal["canonical", "camera"]


@dataclass(frozen=True)
class ObjectOptions:
    """A conditional field and how it learns; the defaults are the small sizes that a CPU trains in minutes.

    Raises ConfigError for values that cannot be.
    """

    conditioning: Conditioning = "global"
    """global: one vector a source view (SMCL's published code); pixel: what the source view shows where the point
    projects to (pixelNeRF; what SMCL's figure draws)"""
    frame: Frame = "canonical"
    """axes of coordinates and directions. canonical: the world's, where all objects stand alike; camera: those of the
    source view, turned about the world's origin"""
    latent: int = 64
    """numbers that describe a source view, or one of its pixels"""
    width: int = 64
    """of the network"""
    blocks: int = 3
    """residual blocks of two layers"""
    conditioned: int = 3
    """the first so many read the latent, source view by source view; behind them the mean over the views goes on"""
    octaves: int = 5
    """frequencies of the coordinate code, base 2^0 to base 2^(octaves - 1)"""
    base: float = 1.5
    """lowest frequency, radians a world unit"""
    density: Literal["softplus", "relu"] = "softplus"
    """how the network's output becomes density; relu is published, and learns nothing where it starts at 0"""
    coarse: int = 24
    """samples of a ray, one in each of as many strata"""
    fine: int = 0
    """further samples where the coarse ones found something, for a second network; 0 with fine_depth 0: one network"""
    fine_depth: int = 0
    """further samples around the depth that the coarse ones found"""
    depth_std: float = 0.01
    """their standard deviation, world units"""
    near: float = 0.0
    """between these distances along the viewing axis rays are sampled; 0: the camera's own"""
    far: float = 0.0
    """the other end; 0: the camera's own"""
    background: tuple[float, float, float] = (1.0, 1.0, 1.0)
    """what rays show that nothing stops"""

    encoder_width: int = 8
    """of cnn_ffc"""
    encoder_size: int = 32
    """side in pixels that source images are brought to, at least 16"""
    encoder_pool: int = 2
    """cells a side of the pooled map behind a global latent; published: 4 at 64 pixels, the whole map"""
    branches: Literal["both", "cnn", "ffc"] = "both"
    """of cnn_ffc: convolutions, fast Fourier convolutions, or both"""
    activation: Literal["relu", "identity"] = "relu"
    """after a Fourier convolution; identity is published"""
    squeeze: bool = True
    """channel attention of the encoder; published: drawn anew at every forward, so none is trained"""
    freeze_encoder: bool = False
    """learn the field alone"""

    objects: int = 8
    """of a training step, drawn with replacement"""
    sources: int = 1
    """source views of an object in training; rendering takes any number"""
    targets: int = 1
    """views of an object that the rays of a step are drawn from"""
    rays: int = 96
    """of an object in a step"""
    focus: Literal["mask", "box"] = "mask"
    """what counts as the object when rays are drawn: its mask, dilated, or the box around it"""
    focus_share: float = 0.5
    """share of rays drawn from the object, the rest anywhere"""
    focus_steps: int = 0
    """after so many steps all rays are drawn anywhere; 0: never"""
    rate: float = 4e-3
    """of Adam"""
    schedule: Literal["cosine", "constant"] = "cosine"
    """cosine: down to `floor` of the rate"""
    floor: float = 0.05
    """share of the rate that is left at the end"""
    warmup: int = 100
    """steps of linear warm-up"""
    clip: float = 0.25
    """longest gradient of a step, 0: any. A field that has become transparent everywhere hardly learns again"""
    memory_bytes: int = 1 << 28
    """activations that rendering may hold"""

    def __post_init__(self) -> None:
        for name in _POSITIVE:
            if not getattr(self, name) > 0:
                raise ConfigError("must be positive", where=f"objects.{name}", found=getattr(self, name))
        for name, allowed in _CHOICES.items():
            if getattr(self, name) not in allowed:
                raise ConfigError(
                    "no such choice",
                    where=f"objects.{name}",
                    found=getattr(self, name),
                    expected=" or ".join(allowed),
                    fix=did_you_mean(str(getattr(self, name)), allowed),
                )
        self._check_sampling()

    def _check_sampling(self) -> None:
        if min(self.fine, self.fine_depth, self.near, self.focus_steps, self.warmup, self.clip) < 0:
            raise ConfigError(
                "must not be negative",
                where="objects",
                expected="fine, fine_depth, near, focus_steps, warmup, clip >= 0",
            )
        if self.far and not self.near < self.far:
            raise ConfigError("distances must increase", where="objects.far", found=f"{self.near:g} to {self.far:g}")
        if not 1 <= self.conditioned <= self.blocks:
            raise ConfigError(
                "the latent is read by some of the blocks",
                where="objects.conditioned",
                found=f"{self.conditioned} of {self.blocks}",
            )
        if not 0 <= self.focus_share <= 1:
            raise ConfigError("a share lies between 0 and 1", where="objects.focus_share", found=self.focus_share)


_POSITIVE = (
    "latent", "width", "blocks", "octaves", "base", "coarse", "depth_std", "encoder_width", "encoder_size",
    "encoder_pool", "objects", "sources", "targets", "rays", "rate", "memory_bytes",
)  # fmt: skip
_CHOICES: dict[str, tuple[str, ...]] = {
    "conditioning": get_args(Conditioning),
    "frame": get_args(Frame),
    "density": ("softplus", "relu"),
    "branches": ("both", "cnn", "ffc"),
    "activation": ("relu", "identity"),
    "focus": ("mask", "box"),
    "schedule": ("cosine", "constant"),
}

DEMO = ObjectOptions(near=1.9, far=3.5)
"""For the procedural objects: tighter than NMR's 1.2 and 4.0, because they lie within 0.8 of the origin."""

PAPER = ObjectOptions(
    frame="camera",
    latent=128,
    width=512,
    blocks=5,
    octaves=6,
    density="relu",
    coarse=64,
    fine=112,
    fine_depth=16,
    encoder_size=64,
    encoder_pool=4,
    activation="identity",
    squeeze=False,
    objects=4,
    targets=24,
    rays=128,
    focus="box",
    focus_share=1.0,
    focus_steps=100_000,
    rate=1e-4,
    schedule="constant",
    warmup=0,
    clip=0.0,
    memory_bytes=4 << 30,
)
"""The published sizes and schedule: 6,221,664 parameters, 2,848,772 in each of the two networks. SMCL's code, from
pixelNeRF (Yu et al., CVPR 2021)."""
