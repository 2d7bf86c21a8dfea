"""What other libraries hold, as samples or scenes: torchgeo data sets, STAC items, xarray arrays.

None of these libraries is imported: their objects are taken as they are.
"""

from nearfar.data.adapters.arrays import ArrayScene
from nearfar.data.adapters.stac import open_stac, stac_bands
from nearfar.data.adapters.torchgeo import TorchGeoDataset

__all__ = ["ArrayScene", "TorchGeoDataset", "open_stac", "stac_bands"]
