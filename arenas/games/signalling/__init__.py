"""Signalling and reference games."""
