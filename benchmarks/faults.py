"""Table of faults: outcomes of episodes when the broker, an agent, the host or the network fails.

Host, agents and broker are processes of their own, over a proxy where the network is what fails. Every trial plays the
same few episodes; what came out is compared with the episodes in memory, byte for byte:

- `same`: every episode has the log it would have had;
- `stopped`: an episode ended early and says why;
- `wrong`: another log, or none within the time limit. There must be none.

`refused` and `missed` are what the host counted. It prints JSON lines; all trials take about ten minutes:

    python benchmarks/faults.py [--only broker agent host partition lossy gone] [--trials 3]
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any, Final

from marl.policy import Random
from marl.rollout import Plan, collect
from marl.scenario import Scenario, World
from protocols import log
from protocols.mqtt.broker import Broker, free_port, local

ARENA: Final = "matrix"
ROUNDS: Final = 60
LOSSY_ROUNDS: Final = 12  # every other message is sent again after a while
EPISODES: Final = 6
LIMIT: Final = 60.0  # seconds for a trial
DELAY: Final = 0.1  # seconds within which the fault strikes after the third reply
TRIALS: Final = {"broker": 20, "agent": 20, "host": 10, "partition": 3, "lossy": 5, "gone": 3}


@cache
def whole(rounds: int) -> tuple[tuple[str, ...], dict[str, bytes]]:
    """Return the seats, and every episode as it is in memory."""
    world = World(Scenario.model_validate({"arena": {"name": ARENA, "rounds": rounds}}))
    plans = [Plan(f"f-{i}", {seat: Random() for seat in world.agents}, 0) for i in range(EPISODES)]
    return world.agents, {episode.log.episode: episode.log.to_bytes() for episode in collect(world, plans)}


class Proxy:
    """A network between clients and broker, on a thread of its own, that can be cut or made lossy.

    A lossy one takes MQTT apart into packets, and drops, doubles or holds back PUBLISH and PUBACK packets in both
    directions: `p` is the share that is dropped, the share that is doubled, and the share that changes places.
    """

    def __init__(self, port: int, p: float = 0.0, seed: int = 0) -> None:
        self.target, self.p, self.dice = port, p, random.Random(seed)
        self.port = free_port()
        self.cut = False
        self.counts = {"packets": 0, "dropped": 0, "doubled": 0, "reordered": 0}
        self.ready = threading.Event()
        threading.Thread(target=lambda: asyncio.run(self.serve()), daemon=True).start()
        self.ready.wait(5)

    async def serve(self) -> None:
        """Accept until the process ends."""
        server = await asyncio.start_server(self.meet, "127.0.0.1", self.port)
        self.ready.set()
        async with server:
            await server.serve_forever()

    async def meet(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Join a client to the broker."""
        try:
            if self.cut:
                return
            there, back = await asyncio.open_connection("127.0.0.1", self.target)
            await asyncio.gather(self.carry(reader, back), self.carry(there, writer))
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    async def carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Pass packets on, one way."""
        held = b""
        try:
            while packet := await self.packet(reader):
                while self.cut:  # noqa: ASYNC110 - set from another thread
                    await asyncio.sleep(0.05)
                self.counts["packets"] += 1
                if packet[0] >> 4 not in (3, 4) or self.p == 0:
                    writer.write(packet)
                else:
                    held = self.spoil(packet, held, writer)
                await writer.drain()
        finally:
            writer.close()

    def spoil(self, packet: bytes, held: bytes, writer: asyncio.StreamWriter) -> bytes:
        """Drop, double or hold back a packet; returns what is held back now."""
        if self.dice.random() < self.p:
            self.counts["dropped"] += 1
            return held
        if not held and self.dice.random() < self.p:
            self.counts["reordered"] += 1
            return packet  # it goes after the next one
        writer.write(packet)
        if self.dice.random() < self.p:
            self.counts["doubled"] += 1
            writer.write(packet)
        if held:
            writer.write(held)
        return b""

    async def packet(self, reader: asyncio.StreamReader) -> bytes:
        """Read one MQTT packet: a byte, its length in sevens of bits, the rest."""
        head = await reader.readexactly(1)
        length = shift = 0
        while True:
            byte = await reader.readexactly(1)
            head += byte
            length |= (byte[0] & 127) << shift
            shift += 7
            if byte[0] < 128:
                break
        return head + await reader.readexactly(length)


class Trial:
    """A broker, a host and an agent for each seat, as processes, and where their episodes are kept."""

    def __init__(self, seed: int, p: float | None = None, patience: float = 30.0, rounds: int = ROUNDS) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="sabir-faults-"))
        self.dice = random.Random(seed)
        self.broker: Broker = local()
        self.broker.start()
        self.proxy = None if p is None else Proxy(self.broker.port, p, seed)
        self.url = f"mqtt://127.0.0.1:{self.proxy.port if self.proxy else self.broker.port}"
        self.patience, self.rounds = patience, rounds
        self.seats, self.whole = whole(rounds)
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        for seat in self.seats:
            self.start(seat)
        self.start("host")

    def start(self, who: str) -> None:
        """Start the host, or the agent of a seat."""
        common = ["--run", "f"]
        if who == "host":
            near = f"mqtt://127.0.0.1:{self.broker.port}" if self.proxy and self.proxy.p else self.url
            words = ["host", near, ARENA, f"arena.rounds={self.rounds}", "--episodes", str(EPISODES), "--open"]
            words += ["--out", str(self.folder / "out"), "--patience", str(self.patience), "--at-once", "3"]
        else:
            words = ["agent", self.url, "--seat", who]
        with (self.folder / f"{who}.txt").open("ab") as file:
            self.processes[who] = subprocess.Popen(
                [sys.executable, "-m", "marl", *words, *common], stdout=file, stderr=file
            )

    def kill(self, who: str) -> None:
        """SIGKILL."""
        self.processes[who].send_signal(signal.SIGKILL)
        self.processes[who].wait()

    def replies(self) -> int:
        """How many replies the host has written down."""
        journal = self.folder / "out" / "journal.jsonl"
        return journal.read_bytes().count(b"\n") if journal.is_file() else 0

    def midway(self) -> bool:
        """Wait for the middle of an episode, differently in each trial; false if it never came."""
        until = time.monotonic() + LIMIT
        while self.replies() < 3 and time.monotonic() < until:
            time.sleep(0.002)
        time.sleep(self.dice.random() * DELAY)
        return self.processes["host"].poll() is None

    def outcome(self, struck: bool) -> dict[str, Any]:
        """Wait for the host, compare, and clear away."""
        with suppress(subprocess.TimeoutExpired):
            self.processes["host"].wait(LIMIT)
        path = self.folder / "out" / "episodes.jsonl"
        logs = {episode.episode: episode for episode in log.load(path)} if path.is_file() else {}
        output = (self.folder / "host.txt").read_text(errors="replace")
        same = sum(name in logs and logs[name].to_bytes() == whole for name, whole in self.whole.items())
        stopped = sum(episode.entries[-1].envelope.body == "error" for episode in logs.values())
        refused = re.findall(
            r"(\d+) (replayed id|not asked, or too late|[a-z ]+)(?=[,;])", output.rpartition("door: ")[2]
        )
        result = {
            "struck": struck,
            "same": same,
            "stopped": stopped,
            "wrong": len(self.whole) - same - stopped,
            "refused": {reason: int(count) for count, reason in refused},
        }
        if result["wrong"]:
            kept = Path(tempfile.mkdtemp(prefix="sabir-wrong-"))
            shutil.copytree(self.folder, kept, dirs_exist_ok=True)
            result["kept"] = str(kept)
        for process in self.processes.values():
            process.kill()
            process.wait()
        self.broker.stop()
        shutil.rmtree(self.folder)
        return result


def broker(seed: int) -> dict[str, Any]:
    """The broker is killed and comes back."""
    trial = Trial(seed)
    struck = trial.midway()
    trial.broker.kill()
    time.sleep(trial.dice.random())
    trial.broker.start()
    return trial.outcome(struck)


def agent(seed: int) -> dict[str, Any]:
    """An agent is killed and started again."""
    trial = Trial(seed)
    struck = trial.midway()
    seat = trial.dice.choice(trial.seats)
    trial.kill(seat)
    trial.start(seat)
    return trial.outcome(struck)


def host(seed: int) -> dict[str, Any]:
    """The host is killed and started again with the same words."""
    trial = Trial(seed)
    struck = trial.midway()
    trial.kill("host")
    trial.start("host")
    return trial.outcome(struck)


def partition(seed: int) -> dict[str, Any]:
    """For five seconds nothing passes, and then everything goes on."""
    trial = Trial(seed, p=0.0)
    assert trial.proxy is not None
    struck = trial.midway()
    trial.proxy.cut = True
    time.sleep(5)
    trial.proxy.cut = False
    return trial.outcome(struck)


def lossy(seed: int) -> dict[str, Any]:
    """Between agents and broker, of messages and acknowledgements 30 % are lost, 30 % doubled, 30 % change places."""
    trial = Trial(seed, p=0.3, rounds=LOSSY_ROUNDS)
    assert trial.proxy is not None
    return {**trial.outcome(True), **trial.proxy.counts}


def gone(seed: int) -> dict[str, Any]:
    """An agent is killed for good: its episodes must end, and say why."""
    trial = Trial(seed, patience=2.0)
    struck = trial.midway()
    trial.kill(trial.dice.choice(trial.seats))
    return trial.outcome(struck)


FAULTS: Final[dict[str, Callable[[int], dict[str, Any]]]] = {
    "broker": broker,
    "agent": agent,
    "host": host,
    "partition": partition,
    "lossy": lossy,
    "gone": gone,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=FAULTS, default=list(FAULTS))
    parser.add_argument("--trials", type=int, help="of each fault; else as many as the table says")
    options = parser.parse_args()
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [os.getcwd(), os.environ.get("PYTHONPATH")]))
    for name in options.only:
        began = time.perf_counter()
        trials = [FAULTS[name](seed) for seed in range(options.trials or TRIALS[name])]
        refused: dict[str, int] = {}
        for trial in trials:
            for reason, number in trial["refused"].items():
                refused[reason] = refused.get(reason, 0) + number
        line = {
            "benchmark": "faults",
            "fault": name,
            "trials": len(trials),
            "struck_midway": sum(trial["struck"] for trial in trials),
            "episodes": len(trials) * EPISODES,
            **{what: sum(trial[what] for trial in trials) for what in ("same", "stopped", "wrong")},
            "refused": refused,
            "seconds": round(time.perf_counter() - began, 1),
        }
        line |= {
            key: sum(t[key] for t in trials)
            for key in ("packets", "dropped", "doubled", "reordered")
            if key in trials[0]
        }
        line |= {"kept": [trial["kept"] for trial in trials if "kept" in trial]} if line["wrong"] else {}
        print(json.dumps(line), flush=True)


if __name__ == "__main__":
    main()
