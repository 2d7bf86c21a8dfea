"""Training: `fit` from a configuration, `fit_method` with your own parts, `Run` for what they leave behind."""

from nearfar.train.loop import fit, fit_method
from nearfar.train.run import Run

__all__ = ["Run", "fit", "fit_method"]
