"""One pretrained model in Sabir and in its peers: tokens a second of rollouts and of whole steps of RL, in one run.

- rows: 32 different prompts of 128 random tokens, sampled by `collect`, by llama.cpp (weights in bf16) and by
  openvino-genai (it reads the file as it is: SmolLM2 in 4 bits; its prefixes are not kept).
- grpo: a step of GRPO beside TRL's: 8 replies to one prompt of chat, rewards, gradient, Adam, the next 8 replies.
- magrpo: a step of MAGRPO beside CoMLRL's: two agents with weights of their own, 4 joint episodes.

All have the same prompts, draw 32 new tokens at temperature 1 without top-k or top-p, and never end before; Sabir's
replies are text of one line, the others' any tokens. The processes take turns, round by round; a first round warms up.
Printed are medians over rounds, of tokens a second and of ratios, and each process's peak of memory. The ratio of
processor time tells more where the machine has other work, with `--threads 1`: threads that wait for each other spin.
In full training Sabir keeps fp32 weights and computes in bf16; TRL and CoMLRL keep weights in `--weights`: in bf16 they
are quickest; with float32 TRL computes in bf16. `_lora`: rank 8 on all matrices of a base in bf16, which agents of
Sabir share and those of CoMLRL do not.

`make bench-llm-peers` installs what this compares with.

    python benchmarks/llm_peers.py --peers .venv-peers/bin/python
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from llm_foreign import comlrl_step, llama_rows, openvino_rows, trl_step
from llm_task import NEW, ROWS, SHAPES, Rollout, configured, essays, prepare
from lockstep import Lane, Pace

if TYPE_CHECKING:  # the peers' environment has no Sabir
    from marl.episode import Episode

RACES: Final[dict[str, tuple[str, ...]]] = {
    "rows": ("llama", "openvino"),
    "grpo": ("trl",),
    "grpo_lora": ("trl",),
    "magrpo": ("comlrl",),
    "magrpo_lora": ("comlrl",),
}
TARGETS: Final = {("rows", "llama"): 1.3, ("grpo", "trl"): 3.0, ("magrpo", "comlrl"): 2.5}


def lay_out(lm: Any, spec: Any) -> None:
    """Lay out the masks of a reply's places, in which it may not end before the last."""
    from llm import unending

    lm.rows(spec, lm.base.template.encode(" a") * NEW)
    unending(lm)


def sabir_rows(task: Mapping[str, Any], folder: Path, threads: int) -> Rollout:
    """Sample by `collect`; the transcripts begin with the prompts, and hear nothing."""
    import torch

    from marl.context.transcript import Transcript
    from marl.inference.server import ChatServer
    from marl.models.chat_model import ChatModel
    from marl.models.pretrained import load_base
    from marl.policy.config import HfPolicy, LoraSettings
    from marl.rollout import Plan, collect
    from marl.scenario import Scenario, World
    from protocols.envelope import Envelope

    class FixedTranscript(Transcript):
        def __init__(self, ids: list[int]) -> None:
            super().__init__()
            self.ids = list(ids)

        def hear(self, envelope: Envelope) -> None: ...

    torch.set_num_threads(threads)
    essays()
    world = World(Scenario.model_validate({"arena": {"name": "essays"}}))
    settings = HfPolicy(hf=task["model"], lora=LoraSettings(), talk=NEW, rows=ROWS)
    lm = ChatModel(load_base(settings.hf, settings), None, lambda seat: "", settings)
    lay_out(lm, world.arena.replies["writer_0"][0])
    server = ChatServer(lm, "writer_0")

    def roll(prompts: Sequence[list[int]]) -> int:
        left = iter(prompts)
        server.open = lambda: FixedTranscript(next(left))  # type: ignore[method-assign]
        plans = [Plan(f"{prompts[0]}-{i}", {"writer_0": server}, seed=1) for i in range(len(prompts))]
        episodes = collect(world, plans)
        return sum(len(episode.turns[0].sample.tokens) - 1 for episode in episodes)  # the end was forced

    return roll


def sabir_step(race: str, task: Mapping[str, Any], folder: Path, threads: int, pace: Pace) -> None:
    """Train by a `Run`."""
    from marl.context.traces import traces
    from trainers.run import Run, RunConfig

    essays()
    run = Run(RunConfig.model_validate(configured(race, task["model"], folder, threads)))
    for seat, policy in run.trainer.seats.items():
        lay_out(run.trainer.policies[policy], run.world.arena.replies[seat][0])
    learn, planned = run.trainer.update, iter(task[race])

    def update(played: Sequence[Episode]) -> dict[str, float]:
        opened = run.trainer.policies["writer_0"].open
        for trace, prompt in zip(traces(played[0], run.world.agents, opened), next(planned), strict=True):
            assert list(trace.ids[: trace.spans[0][0]]) == prompt["ids"], "the peers got other prompts"
        pace.wait(sum(len(turn.sample.tokens) - 1 for episode in played for turn in episode.turns))
        return learn(played)

    run.trainer.update = update  # type: ignore[assignment, method-assign]
    run.train()


def take_part(race: str, who: str, folder: Path, threads: int, weights: str) -> None:
    """Run one side of a race in this process."""
    task, pace = json.loads((folder / "given.json").read_text()), Pace()
    if who in ("trl", "comlrl"):
        {"trl": trl_step, "comlrl": comlrl_step}[who](race, task, folder, weights, pace)
        return
    if race != "rows":
        sabir_step(race, task, folder, threads, pace)
        return
    rollouts = {"sabir": sabir_rows, "llama": llama_rows, "openvino": openvino_rows}
    roll = rollouts[who](task, folder, threads)
    pace.wait(0)
    for prompts in task["rows"]:
        pace.wait(roll(prompts))


def measure(race: str, commands: Mapping[str, Sequence[str]], rounds: int, environment: Mapping[str, str]) -> None:
    """Let all take turns, and print a line."""
    lanes = []
    for who, command in commands.items():
        lanes.append(Lane(f"{race} of {who}", command, environment))
        lanes[-1].row()  # loaded; who trains has also sampled once
    turns = [[lane.turn() for lane in lanes] for _ in range(rounds + 1)][1:]
    for lane in lanes:
        lane.close()
    tokens = ROWS * NEW if race == "rows" else SHAPES[race][0] * SHAPES[race][1] * NEW
    assert all(row["tokens"] == tokens for turn in turns for row in turn), "replies of other lengths than asked for"
    line: dict[str, Any] = {"benchmark": f"llm_peers {race}", "rounds": rounds}
    for place, who in enumerate(commands):
        seconds = statistics.median(turn[place]["seconds"] for turn in turns)
        line[who] = {"tokens_per_s": round(tokens / seconds, 1), "peak_gib": turns[-1][place]["peak_gib"]}
        if who != "sabir":
            ratios = [turn[place]["seconds"] / turn[0]["seconds"] for turn in turns]
            line[who] |= {"ratio": round(statistics.median(ratios), 2), "target": TARGETS.get((race, who))}
            spent = statistics.median(turn[place]["cpu_seconds"] / turn[0]["cpu_seconds"] for turn in turns)
            line[who] |= {"ratios": [round(ratio, 2) for ratio in sorted(ratios)], "cpu_ratio": round(spent, 2)}
    print(json.dumps(line), flush=True)


def arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peers", default=".venv-peers/bin/python", help="a Python with what is compared with")
    parser.add_argument("--model", default="smollm2", help="as policy.hf; rows needs one that comes as a GGUF file")
    parser.add_argument("--only", nargs="+", choices=RACES, default=list(RACES))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--weights", choices=("bfloat16", "float32"), default="bfloat16", help="how TRL and CoMLRL do")
    parser.add_argument("--side", nargs=2, metavar=("RACE", "WHO"), help="take part in this process")
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    return parser.parse_args()


def main() -> None:
    """Run the races and print one JSON line for each."""
    options = arguments()
    if options.side == ["all", "prepare"]:
        prepare(options.model, options.rounds + 3, options.folder)
        return
    if options.side:
        race, who = options.side
        take_part(race, who, options.folder, options.threads, options.weights)
        return
    if not Path(options.peers).exists():
        sys.exit(f"--peers {options.peers}: there is no such Python; `make bench-llm-peers` installs one")
    environment = os.environ | {
        "HF_HUB_OFFLINE": "1",
        "WANDB_MODE": "disabled",
        "TOKENIZERS_PARALLELISM": "false",
        "OMP_NUM_THREADS": str(options.threads),
    }
    with tempfile.TemporaryDirectory() as folder:

        def command(race: str, who: str) -> list[str]:
            python = sys.executable if who in ("sabir", "prepare") else options.peers
            settings = {"model": options.model, "rounds": options.rounds, "threads": options.threads}
            settings |= {"weights": options.weights, "folder": folder}
            return [python, __file__, "--side", race, who, *(f"--{key}={value}" for key, value in settings.items())]

        # In processes of their own: the peak of a child's memory is never below its parent's.
        if subprocess.run(command("all", "prepare"), env=environment, check=False).returncode:
            sys.exit(f"{options.model} could not be prepared")
        for race in options.only:
            measure(race, {who: command(race, who) for who in ("sabir", *RACES[race])}, options.rounds, environment)


if __name__ == "__main__":
    main()
