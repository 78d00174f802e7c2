"""Play one episode of Lewis signalling with scripted agents, then use its log: `python examples/01_play.py`.

An agent's view, a replay and a fork all come from the log. No model is involved, so torch need not be installed.
"""

from __future__ import annotations

from collections.abc import Sequence

from arenas import ReplySpec
from marl.evaluation import log_lines
from marl.intervention import Replace
from marl.policy import Scripted
from marl.rollout import Plan, collect, fork, replay
from marl.scenario import Scenario, World
from protocols import Envelope, Log


def speak(heard: Sequence[Envelope], spec: ReplySpec) -> str:
    """Say m2 for "state s2"."""
    return "m" + heard[-1].body.removeprefix("state s")


def guess(heard: Sequence[Envelope], spec: ReplySpec) -> str:
    """Answer s2 to m2; the last envelope is the question, the one before it the message, if it arrived."""
    return "s" + heard[0].body[1:] if len(heard) > 1 else "s0"


def show(title: str, log: Log) -> None:
    print(title)
    for line in log_lines.lines(log):
        print(f"  {line.seq}  {line.who} {line.act} {line.text}".rstrip())


def main() -> None:
    world = World(Scenario.model_validate({"arena": {"name": "lewis", "n": 4, "k": 4}}))
    seats = {"sender_0": Scripted(speak), "receiver_0": Scripted(guess)}

    (episode,) = collect(world, [Plan("first", seats, seed=1, deal={"case": 2})])
    show("One episode, as it stands in its log:", episode.log)

    print("What the receiver perceived:")
    for envelope in episode.log.view("receiver_0"):
        print(f"  {envelope.sender} {envelope.kind}s {envelope.body!r}")

    (again,) = collect(world, [replay(episode.log)])
    print("Replayed from the log alone, byte for byte the same:", again.log.to_bytes() == episode.log.to_bytes())

    message = next(reply for reply in episode.log.replies("sender_0"))
    (other,) = collect(world, [fork(episode.log, message.seq, seats, do=Replace(seq=message.seq, body="m0"))])
    show("The same episode, but the receiver hears m0:", other.log)
    print(f"score {episode.score:g} -> {other.score:g}")


if __name__ == "__main__":
    main()
