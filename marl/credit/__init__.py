"""Credit: returns, advantages and baselines, as pure functions of arrays."""

from marl.credit.arrays import Array, Credit, Ledger, Unit, decided, ledger
from marl.credit.estimators import CREDITS, individual, lambda_advantage, monte_carlo, normalise, sequential, team

__all__ = [
    "CREDITS",
    "Array",
    "Credit",
    "Ledger",
    "Unit",
    "decided",
    "individual",
    "lambda_advantage",
    "ledger",
    "monte_carlo",
    "normalise",
    "sequential",
    "team",
]
