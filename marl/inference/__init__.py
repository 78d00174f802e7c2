"""Inference: batched sampling, KV caches, policy servers."""
