"""Rows and run folders → figures → one self-contained page."""
