"""Experiments on a run: causal effects, ablation, cross-play, conventions."""
