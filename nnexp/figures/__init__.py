"""Rows → figures: PLOTS has one record for each kind."""

from nnexp.figures.colours import style_of
from nnexp.figures.drawing import save_figure, write_figure
from nnexp.figures.numbers import numbers_path, write_numbers
from nnexp.figures.plan import draw, prepare
from nnexp.figures.plots import PLOTS, Plot, PlotRequest, find_plot

__all__ = [
    "PLOTS",
    "Plot",
    "PlotRequest",
    "draw",
    "find_plot",
    "numbers_path",
    "prepare",
    "save_figure",
    "style_of",
    "write_figure",
    "write_numbers",
]
