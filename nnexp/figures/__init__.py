"""Rows → figures: PLOTS has one record for each kind."""

from nnexp.figures.colours import style_of
from nnexp.figures.drawing import save_figure, write_figure
from nnexp.figures.plots import PLOTS, Plot, PlotRequest, draw, find_plot

__all__ = [
    "PLOTS",
    "Plot",
    "PlotRequest",
    "draw",
    "find_plot",
    "save_figure",
    "style_of",
    "write_figure",
]
