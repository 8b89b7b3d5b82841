"""Run folders and results of other machines → rows → grouped tables and paired statistics."""

from nnexp.compare.load import find_run as find_run
from nnexp.compare.load import load_runs as load_runs
from nnexp.compare.load import read_rows as read_rows
from nnexp.compare.load import read_runs as read_runs
