"""Critics: networks that read a log and give values, V_i before every decision."""

from marl.critic.critic import HEARD, MARKS, TALK, Critic, Reading, Scope, inside, table

__all__ = ["HEARD", "MARKS", "TALK", "Critic", "Reading", "Scope", "inside", "table"]
