"""Cameras: the one `Camera`, its making from every format, and paths of cameras."""

from nearfar.spatial.camera_conventions import (
    from_colmap,
    from_dvr,
    from_nsvf,
    from_opencv,
    from_srn,
    quaternion,
    rotation,
    to_dvr,
)
from nearfar.spatial.camera_paths import focus_point, look_at, orbit, spiral, sway
from nearfar.spatial.pinhole import Camera

__all__ = [
    "Camera",
    "focus_point",
    "from_colmap",
    "from_dvr",
    "from_nsvf",
    "from_opencv",
    "from_srn",
    "look_at",
    "orbit",
    "quaternion",
    "rotation",
    "spiral",
    "sway",
    "to_dvr",
]
