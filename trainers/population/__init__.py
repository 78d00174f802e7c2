"""Populations in training: self-play, leagues, turnover, curricula."""
