"""Credit assignment: returns, advantages and baselines as pure functions of arrays, and a table of methods."""

from marl.credit.arrays import Array, Credit, EpisodeArrays, Unit, decided, episode_arrays
from marl.credit.estimators import individual, lambda_advantage, monte_carlo, normalise, sequential, team
from marl.credit.methods import CREDIT_METHODS, CreditMethod, Evidence

__all__ = [
    "CREDIT_METHODS",
    "Array",
    "Credit",
    "CreditMethod",
    "EpisodeArrays",
    "Evidence",
    "Unit",
    "decided",
    "episode_arrays",
    "individual",
    "lambda_advantage",
    "monte_carlo",
    "normalise",
    "sequential",
    "team",
]
