"""Critics: read a log as tokens and give values, V_i before every decision."""

from marl.critic.critic import Critic
from marl.critic.log_reader import LogReader, Scope
from marl.critic.reading import Reading, inside, table
from marl.critic.tiny import tiny_critic

__all__ = ["Critic", "LogReader", "Reading", "Scope", "inside", "table", "tiny_critic"]
