"""Matplotlib's settings: one style for all figures, whatever a user's matplotlibrc says."""

from typing import Any

TEXT = 7.5  # points
FAINT = "#d9dde1"
INK = "#2b3036"
FADED = "#5b646d"
SETTINGS: dict[Any, Any] = {
    "font.family": ["DejaVu Sans", "sans-serif"],  # the first comes with matplotlib
    "font.size": TEXT,
    "text.parse_math": False,  # a dollar sign in a name is a dollar sign
    "axes.titlesize": TEXT,
    "axes.labelsize": TEXT,
    "xtick.labelsize": 7,
    "ytick.labelsize": 7,
    "legend.fontsize": TEXT,
    "axes.edgecolor": "#7b838c",
    "axes.linewidth": 0.6,
    "axes.titlecolor": INK,
    "axes.labelcolor": INK,
    "text.color": INK,
    "xtick.color": "#7b838c",
    "ytick.color": "#7b838c",
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "xtick.major.size": 2.5,
    "ytick.major.size": 2.5,
    "lines.linewidth": 1.4,
    "lines.markersize": 4.2,
    "grid.color": FAINT,
    "grid.linewidth": 0.5,
}
FILE_SETTINGS: dict[Any, Any] = {
    "svg.hashsalt": "nnexp",
    "svg.fonttype": "none",  # text that can be searched and copied
    "pdf.fonttype": 42,
    "font.sans-serif": [  # for letters that DejaVu Sans lacks: the first that is installed
        "Noto Sans CJK SC",
        "PingFang SC",
        "Microsoft YaHei",
        "Arial Unicode MS",
        "DejaVu Sans",
    ],
}
