"""Trained tokens per second, end to end, and seconds to the same return: Sabir, CoMLRL and TRL on one task and model.

The task: each agent reads 31 words and writes 16. The first is paid for words of the lower half of the vocabulary, the
second for words of the upper half, and the team gets the mean share: 0.5 at random, 1 at best. The model: a GPT-2 of 4
layers, 128 wide, 384 words, made by Sabir and saved as an ordinary folder from which the others load it. An update
is 64 joint episodes, 8 of each of 8 prompts, for everybody; Adam with one step size; sampling at temperature 1. Sabir
and TRL compute updates in bfloat16; CoMLRL, which has no setting for that, in float32.

CoMLRL and TRL live in an environment of their own: `make bench-peers` installs it and runs this.

    python benchmarks/peers.py --peers .venv-peers/bin/python
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

WORDS = [f"w{i}" for i in range(380)]
READ, WRITTEN, GROUP, PROMPTS = 31, 16, 8, 8
LR = 5e-4
SIDES = {"magrpo": 2, "maac": 2, "grpo": 1}
"""What is compared: the number of agents of CoMLRL's MAGRPO and MAAC, and of TRL's GRPO."""


def share(words: Sequence[str], agent: int) -> float:
    """Return which part of the words (at least 16 are wanted) lies in the agent's half of the vocabulary."""
    mine = [word for word in words if word[1:].isdigit() and (int(word[1:]) >= len(WORDS) // 2) == bool(agent)]
    return len(mine) / max(len(words), WRITTEN)


class Watch:
    """Notes when rewards were known, of how many joint episodes, and how many tokens these drew.

    It starts when training does: importing libraries and making models is not counted for anybody.
    """

    def __init__(self) -> None:
        self.began = 0.0
        self.updates: list[tuple[float, int, float]] = []  # when the last reward was known, tokens, mean return
        self._now = (0, 0, 0.0)

    def start(self) -> None:
        """Count seconds from now on."""
        self.began = time.perf_counter()

    def note(self, tokens: int, scores: Sequence[float]) -> None:
        """Note the rewards of some episodes; an update is full with 64."""
        episodes, drawn, total = self._now
        episodes, drawn, total = episodes + len(scores), drawn + tokens, total + sum(scores)
        if episodes >= PROMPTS * GROUP:
            self.updates.append((time.perf_counter() - self.began, drawn, total / episodes))
            episodes, drawn, total = 0, 0, 0.0
        self._now = (episodes, drawn, total)

    def row(self, goal: float) -> dict[str, Any]:
        """Return tokens per second from the first update's rewards to the last's, and seconds to the goal."""
        (start, _, first), *rest = self.updates
        reached = next((at for at, _, mean in self.updates if mean >= goal), None)
        return {
            "updates": len(self.updates),
            "tokens_per_second": round(sum(drawn for _, drawn, _ in rest) / (rest[-1][0] - start)),
            "seconds_to_goal": reached and round(reached, 1),
            "first": round(first, 3),
            "last": round(rest[-1][2], 3),
        }


def configured(side: str, folder: Path, updates: int) -> dict[str, Any]:
    """Return a run of Sabir: a critic against MAAC, groups against MAGRPO and GRPO."""
    return {
        "scenario": {"arena": {"name": "halves"}},
        "out": str(folder / f"run-{side}"),
        "updates": updates,
        "episodes": PROMPTS * GROUP,
        "evaluate_every": 10**6,
        "threads": 0 if SIDES[side] == 1 else 1,  # models of several seats learn side by side, a thread each
        "checkpoint_every": 10**6,
        "policy": {"width": 128, "layers": 4, "heads": 4, "context": 128},
        "algorithm": {
            "type": "mappo" if side == "maac" else "magrpo",
            "group": GROUP,
            "entropy": {"settled": 0.0},
            "critic_lr": LR,
            "critic_width": 128,
            "critic_layers": 4,
            "lr": LR,
            "autocast": True,
        },
    }


def halves(seats: Sequence[str]) -> Any:
    """Return the task as an arena with these seats."""
    from arenas import Anchors, Arena, Outcome
    from arenas.spec import Words, say

    class Halves(Arena):
        metadata = Arena.metadata | {"name": "halves_v0"}
        tags = ("cooperative",)

        def __init__(self) -> None:
            super().__init__(dict.fromkeys(seats, say(tuple(WORDS), WRITTEN, least=WRITTEN)), WORDS)

        def deal(self, rng: Any, split: str) -> None:
            self.read = rng.integers(len(WORDS), size=READ)

        def acting(self) -> tuple[str, ...]:
            return tuple(seats)

        def view(self, agent: str) -> str:
            return " ".join(WORDS[i] for i in self.read)

        def resolve(self, replies: Mapping[str, Words]) -> Outcome:
            score = sum(share(replies[seat], i) for i, seat in enumerate(seats)) / len(seats)
            return Outcome(dict.fromkeys(seats, score), done=True)

        def hidden(self) -> str:
            return ""

        def anchors(self) -> Anchors:
            return Anchors(random=0.5, silent=0.5, full=1.0)

    return Halves


def ours(side: str, folder: Path, updates: int, goal: float) -> dict[str, Any]:
    """Train with Sabir."""
    import arenas
    from marl.models.tiny import tiny
    from marl.policy.config import TinyPolicy
    from protocols.draws import key
    from trainers.run import Run, RunConfig

    seats = [f"writer_{i}" for i in range(SIDES[side])]
    arenas.ARENAS["halves"] = halves(seats)
    config = RunConfig.model_validate(configured(side, folder, updates))
    run = Run(config)
    size = config.policy
    assert isinstance(size, TinyPolicy)
    assert size.context is not None
    for seat in seats:  # what the peers start from
        seed = key(config.seed, "policy", run.trainer.seats[seat]) >> 1
        lm = tiny(
            run.world.vocabulary,
            width=size.width,
            layers=size.layers,
            heads=size.heads,
            context=size.context,
            init=size.init,
            seed=seed,
        )
        lm.save(folder / seat)
    watch = Watch()
    learn = run.trainer.update

    def noted(episodes: Any) -> Any:
        tokens = sum(len(turn.sample.tokens) for episode in episodes for turn in episode.turns)
        watch.note(tokens, [episode.score for episode in episodes])
        return learn(episodes)

    run.trainer.update = noted  # type: ignore[method-assign]
    watch.start()
    run.train()
    return watch.row(goal)


def prompts(updates: int) -> Any:
    """Return a dataset of random prompts, as the peers want it."""
    import random

    from datasets import Dataset

    draw = random.Random(1)
    rows = [" ".join(draw.choice(WORDS) for _ in range(READ)) for _ in range(updates * PROMPTS)]
    return Dataset.from_list([{"prompt": f"<bos> {row} >"} for row in rows])


def models(folder: Path, count: int) -> tuple[list[Any], Any]:
    """Return the models that Sabir saved, and their tokenizer; only words are drawn."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder / "writer_0", padding_side="left")
    models = [AutoModelForCausalLM.from_pretrained(folder / f"writer_{i}") for i in range(count)]
    for model in models:
        model.generation_config.suppress_tokens = tokenizer.convert_tokens_to_ids(
            ["<pad>", "<bos>", "<eos>", "<unk>", ">"]
        )
        model.generation_config.top_k = 0
    return models, tokenizer


def comlrl(side: str, folder: Path, updates: int, goal: float) -> dict[str, Any]:
    """Train with CoMLRL's MAGRPO or MAAC."""
    watch = Watch()

    def reward(*completions: Sequence[str]) -> list[float]:
        split = [[text.split() for text in texts] for texts in completions]
        scores = [
            sum(share(words, i) for i, words in enumerate(joint)) / len(split) for joint in zip(*split, strict=True)
        ]
        watch.note(sum(len(words) for texts in split for words in texts), scores)
        return scores

    agents, tokenizer = models(folder, 2)
    common: dict[str, Any] = {
        "num_train_epochs": 1,
        "agent_learning_rate": LR,
        "num_turns": 1,
        "num_generations": GROUP,
        "max_new_tokens": WRITTEN,
        "temperature": 1.0,
        "top_p": 1.0,
        "top_k": 0,
        "agent_devices": "cpu",
        "rollout_buffer_size": PROMPTS if side == "magrpo" else PROMPTS * GROUP,
        "eval_interval": 0,
    }
    inputs: dict[str, Any] = {
        "agents": agents,
        "num_agents": 2,
        "tokenizer": tokenizer,
        "reward_func": reward,
        "formatters": [lambda item: item["prompt"]] * 2,
        "train_dataset": prompts(updates),
    }
    if side == "magrpo":
        from comlrl.trainers.reinforce import MAGRPOConfig, MAGRPOTrainer

        trainer = MAGRPOTrainer(args=MAGRPOConfig(**common), **inputs)
    else:
        from comlrl.trainers.actor_critic import MAACConfig, MAACTrainer

        critic, _ = models(folder, 1)
        extra = {"critic_learning_rate": LR, "critic_devices": "cpu"}
        del inputs["num_agents"]
        trainer = MAACTrainer(args=MAACConfig(num_agents=2, **common, **extra), critics=critic, **inputs)
    watch.start()
    trainer.train()
    return watch.row(goal)


def trl(side: str, folder: Path, updates: int, goal: float) -> dict[str, Any]:
    """Train with TRL's GRPO, one agent."""
    from trl import GRPOConfig, GRPOTrainer

    watch = Watch()

    def reward(completions: Sequence[str], **_: Any) -> list[float]:
        scores = [share(text.split(), 0) for text in completions]
        watch.note(sum(len(text.split()) for text in completions), scores)
        return scores

    agents, tokenizer = models(folder, 1)
    config = GRPOConfig(
        output_dir=str(folder / "trl"),
        per_device_train_batch_size=PROMPTS * GROUP,
        num_generations=GROUP,
        max_completion_length=WRITTEN,
        max_steps=updates,
        learning_rate=LR,
        lr_scheduler_type="constant",
        temperature=1.0,
        top_k=0,
        beta=0.0,
        bf16=True,
        gradient_checkpointing=False,
        use_cpu=True,
        report_to=[],
        save_strategy="no",
        logging_strategy="no",
        disable_tqdm=True,
        generation_kwargs={"suppress_tokens": agents[0].generation_config.suppress_tokens},
    )
    trainer = GRPOTrainer(
        model=agents[0], reward_funcs=reward, args=config, train_dataset=prompts(updates), processing_class=tokenizer
    )
    watch.start()
    trainer.train()
    return watch.row(goal)


def main() -> None:
    """Run both sides of each comparison in turn and print one JSON line for each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peers", default=".venv-peers/bin/python", help="a Python with comlrl and trl")
    parser.add_argument("--sides", nargs="+", choices=SIDES, default=list(SIDES))
    parser.add_argument("--updates", type=int, default=40, help="updates of Sabir; peers make as many")
    parser.add_argument("--goal", type=float, default=0.9, help="the mean return to reach")
    parser.add_argument("--one", nargs=2, metavar=("SIDE", "FOLDER"), help="run one side in this process")
    parser.add_argument("--theirs", action="store_true")
    options = parser.parse_args()
    if options.one:
        side, folder = options.one
        train: Callable[..., dict[str, Any]] = (trl if side == "grpo" else comlrl) if options.theirs else ours
        print(json.dumps(train(side, Path(folder), options.updates, options.goal)), flush=True)
        return
    if not Path(options.peers).exists():
        sys.exit(f"--peers {options.peers}: there is no such Python; `make bench-peers` installs one")
    for side in options.sides:
        with tempfile.TemporaryDirectory() as folder:
            sides = {}
            for who, python in (("sabir", sys.executable), ("peer", options.peers)):
                command = [python, __file__, "--one", side, folder, "--updates", str(options.updates)]
                command += ["--goal", str(options.goal)] + (["--theirs"] if who == "peer" else [])
                environment = os.environ | {
                    "HF_HUB_OFFLINE": "1",
                    "WANDB_MODE": "disabled",
                    "TOKENIZERS_PARALLELISM": "false",
                }
                done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
                if done.returncode:
                    sys.exit(f"{side} of {who} failed:\n{done.stderr[-2000:]}")
                sides[who] = json.loads(done.stdout.strip().splitlines()[-1])
            ratio = sides["sabir"]["tokens_per_second"] / sides["peer"]["tokens_per_second"]
            print(json.dumps({"benchmark": "peers", "side": side, "ratio": round(ratio, 2), **sides}), flush=True)


if __name__ == "__main__":
    main()
