"""Train two agents from scratch to signal, and print the code they agree on: `python examples/02_train_lewis.py`.

The sender sees one of four states and says one of four symbols; the receiver names the state.
"""

from __future__ import annotations

from pathlib import Path

from marl.rundir import RunDir
from marl.study.data import lexicon
from protocols.log import load
from trainers.run import Progress, RunConfig, run


def report(progress: Progress) -> None:
    """Print a line after each evaluation."""
    if progress.success is not None:
        print(f"update {progress.update:3}: score {progress.score:.2f}, success {progress.success:.0%}")


def main(out: Path = Path("runs/02_train_lewis"), updates: int = 200) -> None:
    """Train until every state is named right, for at most so many updates."""
    config = RunConfig.model_validate(
        {
            "scenario": {"arena": {"name": "lewis", "n": 4, "k": 4}},
            "out": out,
            "updates": updates,
            "stop_at": 1.0,
            "algorithm": {"entropy": {"settled": 0.7}},  # four symbols for four states: a code is easily stuck half-way
        }
    )
    folder = RunDir(config.out)
    folder.clear()  # of an earlier run
    summary = run(config, report)
    figures = summary["evaluation"]["train"]
    print(f"score {figures['score']:.2f}, communication gain {figures['communication_gain']:.2f}")
    print("the code:")
    for row in lexicon.rows(lexicon.utterances(load(folder.eval_log))):
        message, answer = row.messages.most_common(1)[0][0], row.answers.most_common(1)[0][0]
        print(f"  {row.meaning} -> {' '.join(message)} -> {answer}")


if __name__ == "__main__":
    main()
