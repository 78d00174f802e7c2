"""Read a run's folder: its metrics, the code its agents use, and what a message does.

After `make train`: `python examples/04_read_a_run.py runs/quickstart`.
"""

from __future__ import annotations

import sys
from pathlib import Path

from marl.evaluation.log_lines import score
from marl.intervention import Replace
from marl.rollout import collect, fork, replay
from marl.rundir.load import trained
from marl.study.data import lexicon
from marl.study.experiments import causal
from protocols.log import load


def main(folder: Path = Path("runs/quickstart")) -> None:
    run = trained(folder)  # the world of its scenario, and the policies of its newest checkpoint
    logs = list(load(run.dir.eval_log))  # the last evaluation: greedy, every deal once

    print("update   score  success")
    for metrics in run.dir.read_metrics():
        if "eval/score" in metrics:
            print(f"{metrics['update']:6}   {metrics['eval/score']:.3f}  {metrics['eval/success']:7.0%}")

    found = lexicon.utterances(logs)
    print(f"\nthe code, {len(found)} messages:")
    for row in lexicon.rows(found)[:8]:
        (message, _), (answer, _) = row.messages.most_common(1)[0], row.answers.most_common(1)[0]
        print(f"  {row.meaning} -> {' '.join(message)} -> {answer}")

    again = collect(run.world, [replay(log) for log in logs])
    same = sum(episode.log.to_bytes() == log.to_bytes() for episode, log in zip(again, logs, strict=True))
    print(f"\nreplayed from the log alone: {same} of {len(logs)} episodes are the same to the byte")

    first, last = found[0], found[-1]
    swap = Replace(seq=first.seq, body=" ".join(last.message))
    (forked,) = collect(run.world, [fork(first.log, first.seq, run.seats, do=swap)])
    answers = {listener: lexicon.reply(forked.log, listener, 0) for listener in first.answers}
    print(f"{first.log.episode} with the message of {last.log.episode}: {first.answers} -> {answers}")
    print(f"score {score(first.log):g} -> {forked.score:g}")

    for effect in causal.influence(run.world, run.seats, logs, contexts=16):
        print(
            f"another message of {effect.speaker} changes what {effect.listener} does in {effect.flip_rate:.0%} of the "
            f"cases; the score is {effect.score:.3f} with the message, {effect.score_shuffled:.3f} with another one"
        )


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:2]))
