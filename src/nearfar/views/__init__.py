"""Turning one sample into several: any number of channels, aware of masks and boxes, seeded, batched on CPU or GPU."""

from nearfar.views.recipe import Views, build_views

__all__ = ["Views", "build_views"]
