"""A set of labelled boxes as one vector: tokens of geometry and label, attention among them, a learned token read out.

After SpatialCLIP (spatial_encoder.py of its published code), which is kept as `variant="reference"`. The default's
differences are what that code gets wrong: dropped objects are masked and not zero vectors that are still attended; the
token that is read stays in its place in training; padding changes nothing; low confidence is a feature and not a fate;
and pairs of boxes are related by more than the nearest neighbour.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from nearfar.errors import ConfigError, DataError, ShapeError
from nearfar.spatial.boxes import FEATURES, RELATIONS, Variant, check_variant, geometry, relations

_BIAS_WIDTH = 16


class BoxSetEncoder(nn.Module):
    """float objects [B, M, 5] and int64 labels [B, M] (-1: no object) -> [B, dim].

    `classes` is the number of object classes, `dim` the width of tokens and result (`feature_dim`), `feedforward` that
    of the perceptrons inside (default 2 dim). `relations` adds a learned bias from `nearfar.spatial.boxes.relations`
    to the attention between objects (it needs two layers: the last one only reads). `drop` is the share of objects
    left out in training, as if they had not been found.

    The result does not depend on the order of objects nor on padding (so batches may be cut to their largest set:
    `nearfar.spatial.boxes.trim`); an empty set gives the vector of the learned token alone. It is layer-normalised,
    and of unit length where `variant="reference"`, which has no relations.

    Raises ConfigError; when called ShapeError, and DataError for unknown labels and for NaN or infinite objects.
    """

    def __init__(
        self,
        classes: int,
        dim: int = 64,
        heads: int = 4,
        layers: int = 2,
        relations: bool = True,
        drop: float = 0.1,
        variant: Variant = "default",
        feedforward: int | None = None,
    ) -> None:
        super().__init__()
        check_variant(variant)
        feedforward = 2 * dim if feedforward is None else feedforward
        _check_sizes(classes, dim, heads, layers, feedforward, drop)
        if relations and layers < 2 and variant == "default":
            raise ConfigError("relations need two layers", where="BoxSetEncoder", found=layers, fix="Set layers to 2.")
        self.classes, self.feature_dim, self.variant = classes, dim, variant
        self.body = (
            _SetTransformer(classes, dim, heads, layers, feedforward, relations, drop)
            if variant == "default"
            else _Published(classes, dim, heads, layers, feedforward, drop)
        )

    def forward(self, objects: Tensor, labels: Tensor) -> Tensor:
        self._check(objects, labels)
        result: Tensor = self.body(objects, labels)
        return result

    @torch.no_grad()
    def standardise(self, objects: Tensor, labels: Tensor) -> None:
        """Bring each geometry feature to mean 0 and deviation 1 over the objects [n, M, 5] of the training data.

        Before that features enter as they are, whose deviations differ by a factor of about thirty. Both numbers are
        buffers. The reference stays as published.
        """
        self._check(objects, labels)
        if isinstance(self.body, _SetTransformer) and bool((labels >= 0).any()):
            self.body.standardise(objects, labels >= 0)

    def _check(self, objects: Tensor, labels: Tensor) -> None:
        if objects.ndim != 3 or objects.shape[-1] != 5 or labels.shape != objects.shape[:-1]:
            found = f"objects {tuple(objects.shape)}, labels {tuple(labels.shape)}"
            raise ShapeError("objects do not fit", where="BoxSetEncoder", found=found, expected="[B, M, 5] and [B, M]")
        if bool((labels < self.classes).all() & torch.isfinite(objects).all()):
            return
        if not bool(torch.isfinite(objects).all()):
            raise DataError("an object holds NaN or infinite numbers", where="BoxSetEncoder")
        found, expected = f"label {int(labels.max())}", f"under {self.classes}"
        raise DataError("a label is not one of the classes", where="BoxSetEncoder", found=found, expected=expected)


class _SetTransformer(nn.Module):
    feature_mean: Tensor
    feature_std: Tensor

    def __init__(
        self, classes: int, dim: int, heads: int, layers: int, feedforward: int, relate: bool, drop: float
    ) -> None:
        super().__init__()
        self.drop = drop
        self.cls = nn.Parameter(torch.randn(dim) * 0.02)
        self.label = nn.Embedding(classes, dim)
        self.register_buffer("feature_mean", torch.zeros(len(FEATURES)))
        self.register_buffer("feature_std", torch.ones(len(FEATURES)))
        self.geometry = nn.Linear(len(FEATURES), dim)
        self.mix = nn.Sequential(nn.GELU(), nn.Linear(dim, dim))
        self.relations = _RelationBias(heads, layers - 1) if relate else None
        self.blocks = nn.ModuleList(_Block(dim, heads, feedforward) for _ in range(layers))
        self.norm = nn.LayerNorm(dim)

    def standardise(self, objects: Tensor, valid: Tensor) -> None:
        features = geometry(objects.double(), valid)[valid]
        self.feature_mean.copy_(features.mean(0))
        # A feature that never changes, such as a confidence of 1 for all, stays 0 and is not blown up.
        self.feature_std.copy_(features.std(0, correction=0).clamp(min=1e-3))

    def forward(self, objects: Tensor, labels: Tensor) -> Tensor:
        valid = labels >= 0
        if self.training and self.drop > 0:
            valid = valid & (torch.rand(valid.shape, device=valid.device) >= self.drop)
        features = (geometry(objects, valid) - self.feature_mean) / self.feature_std
        tokens = self.mix(self.geometry(features) + self.label(labels.clamp(min=0)))
        # Not len(), which a traced graph takes for a constant.
        tokens = torch.cat([self.cls.to(tokens.dtype).expand(tokens.shape[0], 1, -1), tokens], 1)
        hidden = ~functional.pad(valid, (1, 0), value=True)[:, None, None]  # [B, 1, 1, 1 + M], of keys
        mask = torch.zeros(hidden.shape, dtype=tokens.dtype, device=tokens.device).masked_fill(hidden, -torch.inf)
        for bias, block in zip(self._biases(objects, valid, mask), self.blocks, strict=True):
            # Nothing after the last block reads the objects.
            queries = tokens[:, :1] if block is self.blocks[-1] else tokens
            tokens = block(queries, tokens, bias)
        result: Tensor = self.norm(tokens[:, 0])
        return result

    def _biases(self, objects: Tensor, valid: Tensor, mask: Tensor) -> list[Tensor]:
        """One [B, heads or 1, queries or 1, 1 + M] a block; the last one's only query is the learned token."""
        if self.relations is None:
            return [mask] * len(self.blocks)
        return [*(bias + mask for bias in self.relations(objects, valid)), mask]


class _RelationBias(nn.Module):
    """What each head of each block adds to the attention from object i to object j; 0 from and to the learned token."""

    def __init__(self, heads: int, blocks: int) -> None:
        super().__init__()
        self.shape = (blocks, heads)
        self.net = nn.Sequential(
            nn.Linear(len(RELATIONS), _BIAS_WIDTH), nn.GELU(), nn.Linear(_BIAS_WIDTH, blocks * heads)
        )

    def forward(self, objects: Tensor, valid: Tensor) -> tuple[Tensor, ...]:
        raw = relations(objects, valid)
        # Steps in sides of a thin box are large; their logarithm keeps the bias, and so the attention, moderate.
        compressed = raw.sign() * torch.log1p(raw.abs())
        bias = self.net(compressed).unflatten(-1, self.shape).permute(3, 0, 4, 1, 2)  # [blocks, B, heads, M, M]
        return functional.pad(bias, (1, 0, 1, 0)).unbind(0)


class _Block(nn.Module):
    """Pre-norm attention of queries to tokens with an additive bias, then a perceptron."""

    def __init__(self, dim: int, heads: int, feedforward: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm, self.query, self.key_value = nn.LayerNorm(dim), nn.Linear(dim, dim), nn.Linear(dim, 2 * dim)
        self.out = nn.Linear(dim, dim)
        self.mlp = nn.Sequential(nn.LayerNorm(dim), nn.Linear(dim, feedforward), nn.GELU(), nn.Linear(feedforward, dim))

    def forward(self, queries: Tensor, tokens: Tensor, bias: Tensor) -> Tensor:
        normed = self.norm(tokens)
        query = self._split(self.query(normed[:, : queries.shape[1]]))
        key, value = (self._split(x) for x in self.key_value(normed).chunk(2, -1))
        attended = functional.scaled_dot_product_attention(query, key, value, attn_mask=bias.to(query.dtype))
        hidden: Tensor = queries + self.out(attended.transpose(1, 2).flatten(-2))
        result: Tensor = hidden + self.mlp(hidden)
        return result

    def _split(self, x: Tensor) -> Tensor:
        return x.reshape(*x.shape[:2], self.heads, -1).transpose(1, 2)


class _Published(nn.Module):
    """The published encoder with its names of weights and all it does in training.

    Padding is label 0 at the origin and a neighbour there; a token is dropped to a zero vector, which is still
    attended, at chance `drop` and always under a confidence of 0.5; tokens are shuffled with the learned one among
    them and the first is read. (Attention has no order, so that is one place drawn per set.)
    """

    def __init__(self, classes: int, dim: int, heads: int, layers: int, feedforward: int, drop: float) -> None:
        super().__init__()
        if dim % 4:
            raise ConfigError("dim is not a multiple of 4", where="BoxSetEncoder, reference", found=dim)
        self.drop = drop
        self.cls_token = nn.Parameter(torch.randn(1, 1, dim))
        self.anatomy_embedding = nn.Embedding(classes, dim // 4)
        self.geometry_proj = nn.Linear(len(FEATURES), dim - dim // 4)
        self.feature_mlp = nn.Sequential(nn.Linear(dim, dim), nn.ReLU(), nn.Dropout(0.1), nn.Linear(dim, dim))
        layer = nn.TransformerEncoderLayer(dim, heads, feedforward, dropout=0.1, batch_first=True)
        self.transformer = nn.TransformerEncoder(layer, layers, enable_nested_tensor=False)
        self.output_norm = nn.LayerNorm(dim)
        self.apply(_published_weights)

    def forward(self, objects: Tensor, labels: Tensor) -> Tensor:
        valid, confidence = labels >= 0, objects[..., 4]
        features = self.geometry_proj(geometry(objects, valid, "reference"))
        tokens = self.feature_mlp(torch.cat([features, self.anatomy_embedding(labels.clamp(min=0))], -1))
        count = tokens.shape[0]  # not len(), which a traced graph takes for a constant
        place = torch.zeros(count, dtype=torch.int64, device=tokens.device)
        if self.training:
            dropped = (torch.rand_like(confidence) < self.drop) | (confidence < 0.5)
            tokens = tokens * (~dropped)[..., None]
            place = torch.randint(1 + tokens.shape[1], place.shape, device=place.device)
        tokens = torch.cat([self.cls_token.expand(count, 1, -1), tokens * confidence[..., None]], 1)
        padding = ~functional.pad(valid, (1, 0), value=True)
        read = self.transformer(tokens, src_key_padding_mask=padding)[torch.arange(count, device=place.device), place]
        return functional.normalize(self.output_norm(read), dim=-1)


def _published_weights(module: nn.Module) -> None:
    if isinstance(module, nn.Linear):
        nn.init.xavier_uniform_(module.weight)
        nn.init.zeros_(module.bias)
    elif isinstance(module, nn.Embedding):
        nn.init.normal_(module.weight, std=0.02)


def _check_sizes(classes: int, dim: int, heads: int, layers: int, feedforward: int, drop: float) -> None:
    named = {"classes": classes, "dim": dim, "heads": heads, "layers": layers, "feedforward": feedforward}
    for name, value in named.items():
        if value < 1:
            raise ConfigError(f"{name} is not positive", where="BoxSetEncoder", found=value)
    if dim % heads:
        raise ConfigError("heads do not divide dim", where="BoxSetEncoder", found=f"dim {dim}, heads {heads}")
    if not 0 <= drop < 1:
        raise ConfigError("drop is not a share", where="BoxSetEncoder", found=drop, expected="0 to under 1")
