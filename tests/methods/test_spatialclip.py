"""SpatialCLIP: its loss from the parts by hand, what teaches what, missing modalities, two passes, two ranks."""

import copy
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from nearfar.config import Stage, TextConfig, ViewsConfig
from nearfar.errors import ConfigError, DataError
from nearfar.losses import Relations, binary_loss, clip_loss
from nearfar.methods.spatialclip import SpatialCLIP
from nearfar.methods.spatialclip_parts import caption_ids, dropped

sys.path.insert(0, str(Path(__file__).parent))
from loops import assert_ranks_equal_one, assert_two_passes_equal_one, in_double
from studies import STILL, make, study

PAIRS = (("image", "text", 0.06), ("image", "boxes", 0.04), ("text", "boxes", 0.04))


def gradients(method: SpatialCLIP) -> set[str]:
    """Names of parameters with a gradient that is not zero."""
    return {name for name, p in method.named_parameters() if p.grad is not None and bool(p.grad.abs().max() > 0)}


def under(names: set[str]) -> set[str]:
    return {name.split(".")[0] for name in names}


def features(method: SpatialCLIP, batch: dict[str, Any]) -> dict[str, Tensor]:
    ids, mask = method.tokenizer(batch["text"])
    return {
        "image": method.encoder(batch["image"]),
        "text": method.text_encoder(ids, mask),
        "boxes": method.box_encoder(batch["objects"], batch["object_labels"]),
    }


def test_the_loss_is_its_formula() -> None:
    method, batch = make(), study()
    f = features(method, batch)
    z = [F.normalize(method.projections[name](f[name]), dim=1) * 16**0.5 for name in f]
    logit = method.classifier.linear(torch.cat(z, 1))[:, 0]
    heads = {"image": method.head, **method.heads}
    a = {name: heads[name](f[name]) for name in f}
    expected = F.binary_cross_entropy_with_logits(logit, batch["label"].float())
    ids = torch.arange(10) % 4
    for one, two, weight in PAIRS:
        known = Relations(ids, use="target") if "text" in (one, two) else None
        part = clip_loss(a[one], a[two], scale=1 / 0.07, relations=known)
        torch.testing.assert_close(method.step(batch).parts[f"{one}-{two}"], part, atol=1e-5, rtol=1e-5)
        expected = expected + weight * part
    torch.testing.assert_close(method.step(batch).loss, expected, atol=1e-5, rtol=1e-5)
    assert float(method.step(batch).parts["scale"]) == pytest.approx(1 / 0.07)


@pytest.mark.parametrize("fusion", ["softmax", "sigmoid", "concat"])
def test_the_logit_is_that_of_the_fused_embeddings(fusion: str) -> None:
    method, batch = make(fusion=fusion), study()
    out = method.predict(batch)
    z = torch.stack([out[f"z/{name}"] for name in ("image", "text", "boxes")], 1) * 16**0.5
    vector = z.flatten(1)
    if fusion != "concat":
        score = method.classifier.fusion.score
        raw = z.flatten(1) @ score.weight.T + score.bias
        gates = raw.softmax(1) if fusion == "softmax" else raw.sigmoid()
        torch.testing.assert_close(out["gates"], gates)
        vector = (gates[..., None] * z).sum(1)
    assert ("gates" in out) == (fusion != "concat")
    torch.testing.assert_close(out["logit"], method.classifier.linear(vector)[:, 0])
    method.eval()
    torch.testing.assert_close(method.project(method.views(batch))["logit"], out["logit"])


@pytest.mark.parametrize(
    ("options", "taught"),
    [
        ({}, {"encoder", "text_encoder", "box_encoder", "head", "heads", "head_scale"}),
        ({"detach": True}, {"head", "heads", "head_scale"}),
        ({"shared_heads": True}, {"encoder", "text_encoder", "box_encoder", "projections", "head_scale"}),
        ({"learn_temperature": False, "detach": True}, {"head", "heads"}),
    ],
)
def test_what_the_alignment_teaches(options: dict[str, Any], taught: set[str]) -> None:
    """With heads of its own neither the classifier nor the embeddings that it sees are pulled."""
    method = make(**options)
    method.set_stage(Stage("only", 1, losses={"classify": 0.0}))
    method.step(study()).loss.backward()
    assert under(gradients(method)) == taught


def test_what_the_classifier_teaches() -> None:
    method = make(fusion="softmax")
    method.set_stage(Stage("only", 1, losses={"image-text": 0.0, "image-boxes": 0.0, "text-boxes": 0.0}))
    out = method.step(study())
    out.loss.backward()
    assert under(gradients(method)) == {"encoder", "text_encoder", "box_encoder", "projections", "classifier"}
    assert set(out.parts) == {"classify", "scale"}
    assert all(p.grad is not None for p in method.parameters())


def test_what_counts_as_positive() -> None:
    """Equal captions have equal embeddings, so it takes other groups than those of the captions to see the groups."""
    method = make(positives="captions")
    batch = method.views(study())
    batch["text_group"] = group = torch.arange(10) // 3
    a = {name: value for name, value in method.project(batch).items() if name.startswith("a/")}
    for kind, ids in (("captions", group), ("labels", batch["label"]), ("own", None)):
        parts = make(positives=kind).criterion(method.project(batch), batch).parts
        for one, two, _ in PAIRS:
            used = None if kind == "captions" and "text" not in (one, two) else ids
            known = None if used is None else Relations(used, use="target")
            expected = clip_loss(a[f"a/{one}"], a[f"a/{two}"], scale=1 / 0.07, relations=known)
            torch.testing.assert_close(parts[f"{one}-{two}"], expected.detach(), atol=1e-5, rtol=1e-5)
    groups = method.views(study())["text_group"]
    assert (groups[:, None] == groups).equal(torch.arange(10)[:, None] % 4 == torch.arange(10) % 4)
    assert caption_ids(["a", "b", " a", ""]).tolist() == [*caption_ids(["a", "b", "a"]).tolist(), -1]


@pytest.mark.parametrize("fusion", ["softmax", "concat"])
@pytest.mark.parametrize("name", ["image", "text", "boxes"])
def test_nothing_of_a_missing_modality_is_seen(fusion: str, name: str) -> None:
    method, batch = make(fusion=fusion), study()
    column = ("image", "text", "boxes").index(name)
    keys = {"image": ("image",), "text": ("text",), "boxes": ("objects", "object_labels")}[name]
    other = {key: value if key not in keys else study(20)[key][10:] for key, value in batch.items()}
    present = torch.ones(10, 3, dtype=torch.bool)
    present[:, column] = False
    marked = method.predict(batch | {"present": present})
    for found in (
        method.predict(other | {"present": present}),
        method.predict(batch, drop=(name,)),
        method.predict({key: value for key, value in batch.items() if key not in keys}),
    ):
        torch.testing.assert_close(found["logit"], marked["logit"])
    assert not torch.allclose(marked["logit"], method.predict(batch)["logit"])
    if fusion == "softmax":
        assert not marked["gates"][:, column].any()
        torch.testing.assert_close(marked["gates"].sum(1), torch.ones(10))


def test_samples_that_lack_different_things_share_a_batch() -> None:
    method, batch = make(fusion="softmax"), study()
    present = torch.ones(10, 3, dtype=torch.bool)
    present[0, 0] = present[1, 1] = present[2, 2] = False
    mixed = method.predict(batch | {"present": present})
    whole = method.predict(batch)
    torch.testing.assert_close(mixed["logit"][3:], whole["logit"][3:])
    for row, name in enumerate(("image", "text", "boxes")):
        torch.testing.assert_close(mixed["logit"][row], method.predict(batch, drop=(name,))["logit"][row])
        assert not mixed[f"z/{name}"][row].any() and not mixed[f"a/{name}"][row].any()
        torch.testing.assert_close(mixed[f"a/{name}"][3:].norm(dim=1), torch.ones(7))
    loss = method.step(batch | {"present": present}).loss
    assert loss.isfinite()
    assert not torch.allclose(loss, method.step(batch).loss)


def test_predict_restores_modes_and_has_no_gradient() -> None:
    method = make(dropout=0.5)
    method.encoder.eval()
    modes = [part.training for part in method.modules()]
    out = method.predict(study())
    assert modes == [part.training for part in method.modules()]
    assert not any(value.requires_grad for value in out.values())
    assert {key: tuple(value.shape) for key, value in out.items()} == {
        "logit": (10,),
        **{f"z/{name}": (10, 16) for name in ("image", "text", "boxes")},
        **{f"a/{name}": (10, 12) for name in ("image", "text", "boxes")},
    }
    with pytest.raises(ConfigError, match=r"no modality 'imge'.*Did you mean 'image'"):
        method.predict(study(), drop=("imge",))
    with pytest.raises(DataError, match="nothing is left"):
        method.predict(study(), drop=("image", "text", "boxes"))
    with pytest.raises(DataError, match=r"row 3.*every modality"):
        method.predict(
            study() | {"present": torch.ones(10, 3, dtype=torch.bool).index_fill(0, torch.tensor([3]), False)}
        )


def test_modality_dropout_takes_its_share_and_never_all() -> None:
    seeds, present = torch.arange(20000), torch.ones(20000, 3, dtype=torch.bool)
    left = dropped(present, seeds, 0.3)
    assert left.any(1).all()
    # Each is dropped by itself, but for the 0.3^3 of all cases in which one of three is kept after all.
    assert (1 - left.double().mean(0)).tolist() == pytest.approx([0.3 - 0.027 / 3] * 3, abs=0.01)
    assert torch.equal(dropped(present[7:9], seeds[7:9], 0.3), left[7:9])
    lacking = present.clone()
    lacking[:, 0] = False
    both = dropped(lacking, seeds, 0.9)
    assert both.any(1).all() and not both[:, 0].any()


def test_modality_dropout_is_of_training_alone() -> None:
    method = make(dropout=0.6)
    shown = method.views(study())["shown"]
    assert not shown.all() and shown.any(1).all()
    assert torch.equal(method.views(study())["shown"], shown)
    assert method.eval().views(study())["shown"].all()
    assert make().views(study())["shown"].all()


@pytest.mark.parametrize("modalities", [("text",), ("image", "boxes"), ("boxes", "text")])
def test_modalities_that_are_left_out_are_not_looked_at(modalities: tuple[str, ...]) -> None:
    method, batch = make(modalities=modalities, fusion="softmax"), study()
    keys = {"image": ("image",), "text": ("text",), "boxes": ("objects", "object_labels")}
    needed = {key for name in modalities for key in keys[name]} | {"image", "label", "seed"}
    out = method.step({key: value for key, value in batch.items() if key in needed})
    out.loss.backward()
    assert {name for name in out.parts if "-" in name} == {f"{a}-{b}" for a, b, _ in PAIRS if {a, b} <= set(modalities)}
    gates = method.predict(batch)["gates"]
    assert (gates > 0).all(0).tolist() == [name in modalities for name in ("image", "text", "boxes")]
    with pytest.raises(DataError, match=f"learns from {modalities[0]}"):
        method.step({key: value for key, value in batch.items() if key not in keys[modalities[0]]})


def test_what_is_preserved() -> None:
    """Nothing has changed at first; what changes later is measured sample by sample, and the copies do not learn."""
    method, batch = make(preservation=1.0), study()
    assert float(method.step(batch).parts["preservation"]) == pytest.approx(0.0, abs=1e-6)
    assert not any(name.startswith("anchors") for name, _ in method.named_parameters())
    before = features(method, batch)
    with torch.no_grad():
        for p in [*method.encoder.parameters(), *method.text_encoder.parameters()]:
            p.add_(0.1 * torch.randn(p.shape))
    out, after = method.step(batch), features(method, batch)
    change = sum((1 - F.cosine_similarity(after[n], before[n])).mean() for n in ("image", "text"))
    torch.testing.assert_close(out.parts["preservation"], torch.as_tensor(change).detach(), atol=1e-5, rtol=1e-4)
    out.loss.backward()
    frozen = copy.deepcopy(method)
    frozen.set_stage(Stage("classifier", 1, train=("classifier.*",)))
    assert float(frozen.step(batch).parts["preservation"]) > 0.01
    method.set_stage(Stage("encoders", 1, train=("*",)))
    assert float(method.step(batch).parts["preservation"]) == pytest.approx(0.0, abs=1e-6)
    again = make(preservation=1.0)
    again.set_stage(Stage("encoders", 1, train=("*",)))
    again.load_state_dict(method.state_dict())
    again.set_stage(Stage("encoders", 1, train=("*",)))
    torch.testing.assert_close(again.step(batch).loss, method.step(batch).loss)


def test_the_shared_encoder_tells_label_and_structures_from_the_image() -> None:
    views = replace(STILL, strength=0.1)
    method, batch = make("shared_encoder", views, modality_dropout=0.0), study()
    assert method.config.modalities == ("image",)
    there = torch.zeros(10, 14)
    for row, labels in enumerate(batch["object_labels"]):
        there[row, labels[labels >= 0]] = 1
    seen = method.views(batch)
    out = method.criterion(z := method.project(seen), seen)
    torch.testing.assert_close(out.parts["structures"], binary_loss(z["structures"], there.long()).detach())
    torch.testing.assert_close(out.loss.detach(), out.parts["classify"] + out.parts["structures"])
    present = torch.tensor([[True, True, False]]).expand(10, 3)
    assert float(method.step(batch | {"present": present}).parts["structures"]) == 0.0
    told = method.predict(batch | {"text": ["other"] * 10, "objects": batch["objects"] * 0})
    assert torch.equal(told["logit"], method.predict(batch)["logit"])


@pytest.mark.parametrize("rows", [1, 4, 10])
@pytest.mark.parametrize("options", [{}, {"fusion": "softmax", "preservation": 0.3, "structures": 0.5, "dropout": 0.4}])
def test_two_passes_equal_one(rows: int, options: dict[str, Any]) -> None:
    method = make(**options).double()
    assert_two_passes_equal_one(method, method.views(in_double(study())), rows)


def test_the_published_head_and_weights() -> None:
    """One linear gate and one linear classifier: 7,684 weights are all that its training changes."""
    method = make("spatialclip_reference", dim=768, box_dim=768, box_drop=0.1)
    assert sum(p.numel() for p in method.box_encoder.parameters()) == 12_222_208
    assert sum(p.numel() for p in method.classifier.parameters()) == 7684
    assert method.classifier.log_gain is None and not list(method.heads.parameters())
    out = method.predict(study())
    assert torch.equal(out["a/image"], out["z/image"])
    weights = method.config.weights()
    assert [weights[f"{a}-{b}"] for a, b, _ in PAIRS] == [0.06, 0.04, 0.04]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"modalities": ("image", "txt")}, "method.modalities.*Did you mean 'text'"),
        ({"modalities": ()}, "method.modalities"),
        ({"views": replace(STILL, count=2)}, "views.count.*found 2"),
        ({"views": ViewsConfig(recipe="standard", count=1)}, "views.recipe.*expected study"),
        ({"align_image_text": -0.1}, "method.align_image_text"),
        ({"dropout": 1.0}, "method.modality_dropout"),
        ({"positives": "all"}, "method.positives"),
        ({"largest_scale": 10.0}, "method.largest_scale.*14.29"),
        ({"detach": True, "shared_heads": True}, "method.detach.*shared_heads"),
        ({"projection": ()}, "method.projection.*image 32, text 16, boxes 16"),
        ({"fusion": "sum"}, "fusion"),
        ({"text": TextConfig("wrd")}, "Did you mean 'word'"),  # type: ignore[arg-type]
    ],
)
def test_bad_settings(options: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        make(**options)


@pytest.mark.slow
def test_ranks_equal_the_joined_batch() -> None:
    """Real DDP over two ranks with 6 and 4 samples, in one pass and in two; also where two modalities are left out."""
    sys.path.insert(0, str(Path(__file__).parents[1] / "distributed"))
    import spatialclip_ranks
    from gloo_pool import GlooPool

    pool = GlooPool(2)
    try:
        for kind, chunk in (("all", 0), ("all", 2), ("text", 0), ("text", 2)):
            assert_ranks_equal_one(pool.run(spatialclip_ranks.gradients, kind, chunk), *spatialclip_ranks.build(kind))
    finally:
        pool.close()
