"""METHODS and ready-made configurations, as plain Python values: no torch here. One file a family of methods.

A new method needs one file in `methods/`, one `MethodSpec` and one `Preset` in a file of this folder, and one page in
`docs/methods/`.
"""

from __future__ import annotations

from nearfar.presets import images, mirrors, relations, satellite, studies, surfaces
from nearfar.presets.kinds import Demo, MethodSpec, Preset

__all__ = ["DEMOS", "METHODS", "PRESETS", "Demo", "MethodSpec", "Preset"]

METHODS: dict[str, MethodSpec] = {
    **images.METHODS,
    **satellite.METHODS,
    **relations.METHODS,
    **studies.METHODS,
    **mirrors.METHODS,
    **surfaces.METHODS,
}
PRESETS: dict[str, Preset] = {
    **images.PRESETS,
    **satellite.PRESETS,
    **relations.PRESETS,
    **studies.PRESETS,
    **mirrors.PRESETS,
    **surfaces.PRESETS,
}
DEMOS: dict[str, Demo] = {**images.DEMOS, **satellite.DEMOS, **relations.DEMOS, **studies.DEMOS, **mirrors.DEMOS}
