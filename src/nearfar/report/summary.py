"""The short table that a command prints: what was measured, one column a run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from nearfar.report.page import number

_VIEWS, _SEEN, _UNSEEN = (("views", "groups", name) for name in ("held_out_views", "seen_objects", "unseen_objects"))
ROWS = (
    ("kNN balanced accuracy", "classify", "knn", "balanced_accuracy"),
    ("kNN accuracy", "classify", "knn", "accuracy"),
    ("linear probe balanced accuracy", "classify", "linear", "balanced_accuracy"),
    ("linear probe accuracy", "classify", "linear", "accuracy"),
    ("linear probe macro F1", "classify", "linear", "macro", "f1"),
    ("anomaly image AUROC, one-class", "anomaly", "one_class", "image_auroc"),
    ("anomaly pixel AUROC", "anomaly", "one_class", "pixel_auroc"),
    ("anomaly AUPRO", "anomaly", "one_class", "aupro"),
    ("anomaly image AUROC, supervised", "anomaly", "supervised", "image_auroc"),
    ("wrong labels found, average precision", "noise", "average_precision"),
    ("attention on the object, pixel AUROC", "attention", "rollout", "pixel_auroc"),
    ("activation on the object, pixel AUROC", "attention", "activation", "pixel_auroc"),
    ("relations, linear probe accuracy", "relations", "linear", "accuracy"),
    ("relations, boxes alone, accuracy", "relations", "boxes", "accuracy"),
    ("retrieval by banners, NDCG@5", "banners", "features", "ndcg", "5"),
    ("retrieval by banners, NDCG@5 from chance 0 to oracle 1", "banners", "features", "ndcg", "5", "rescaled"),
    ("questions about pairs, accuracy", "vqa", "picture", "accuracy"),
    ("questions about pairs, question alone, accuracy", "vqa", "question_only", "accuracy"),
    ("mirrored view nearer than opposite one", "mirrors", "triplet_accuracy"),
    ("mirrored view found first", "mirrors", "mirror_top1"),
    ("mirrored view found first, by flipped pixels", "mirrors", "baselines", "flipped_pixels", "mirror_top1"),
    ("held-out views, PSNR in dB", *_VIEWS, "psnr"),
    ("held-out views, PSNR of the nearest view", *_VIEWS, "anchors", "nearest_view", "psnr"),
    ("held-out views, PSNR of the mean image", *_VIEWS, "anchors", "mean_image", "psnr"),
    ("held-out views, SSIM", *_VIEWS, "ssim"),
    ("new views of seen objects, PSNR in dB", *_SEEN, "psnr"),
    ("new views of seen objects, PSNR of the nearest view", *_SEEN, "anchors", "nearest_view", "psnr"),
    ("new views of seen objects, PSNR of the mean image", *_SEEN, "anchors", "mean_image", "psnr"),
    ("views of unseen objects, PSNR in dB", *_UNSEEN, "psnr"),
    ("views of unseen objects, PSNR of the mean image", *_UNSEEN, "anchors", "mean_image", "psnr"),
    ("diagnosis, ROC-AUC", "clinical", "cohorts", "test", "auc"),
    ("diagnosis, average precision", "clinical", "cohorts", "test", "average_precision"),
    ("diagnosis, accuracy", "clinical", "cohorts", "test", "accuracy"),
    ("diagnosis, calibration error", "clinical", "cohorts", "test", "calibration", "calibrated", "ece"),
    ("land cover balanced accuracy", "landcover", "balanced_accuracy"),
    ("land cover accuracy", "landcover", "accuracy"),
    ("segmentation mean IoU", "segment", "mean_iou"),
    ("segmentation mean IoU, without background", "segment", "without_background", "mean_iou"),
    ("segmentation overall accuracy", "segment", "overall_accuracy"),
    ("change precision", "change", "precision"),
    ("change recall", "change", "recall"),
    ("change F1", "change", "f1"),
    ("alignment", "health", "alignment"),
    ("uniformity", "health", "uniformity"),
    ("effective rank", "health", "effective_rank"),
)


def lookup(metrics: Mapping[str, Any], *keys: str) -> Any:
    """metrics[k0][k1]..., or None where a key is absent."""
    value: Any = metrics
    for key in keys:
        if not isinstance(value, Mapping) or key not in value:
            return None
        value = value[key]
    return value


def summary_rows(metrics: Mapping[str, Mapping[str, Any]]) -> list[list[str]]:
    """The heading and one row a quantity that at least one run has, with intervals; a column a run."""
    rows = [["", *metrics]]
    for name, *keys in ROWS:
        values = [lookup(m, *keys) for m in metrics.values()]
        if any(v is not None for v in values):
            rows.append([name, *(number(v) for v in values)])
    return rows


def summary_text(metrics: Mapping[str, Mapping[str, Any]]) -> str:
    """The same as aligned text."""
    return aligned(summary_rows(metrics))


def aligned(rows: Sequence[Sequence[str]]) -> str:
    """Rows of text with their columns aligned."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    return "\n".join("  ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)).rstrip() for row in rows)
