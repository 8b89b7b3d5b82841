"""Runs → tables and figures → one self-contained page."""

from nnexp.report.page import PageHead, make_page, write_report

__all__ = ["PageHead", "make_page", "write_report"]
