"""Rows → figures."""
