"""`marl agent` and `marl join`: connect to a host over a broker and play its seats."""

from __future__ import annotations

import asyncio
import secrets
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from marl.cli.commands.remote.tokens import TokenFile, of_seats
from marl.cli.console import ERR, note
from marl.cli.seats import ask_person
from marl.errors import UserError
from marl.policy.base import TextPolicy
from marl.policy.scripted import Random
from marl.remote.weights import FOLLOW

if TYPE_CHECKING:
    from arenas.spec import ReplySpec
    from marl.context.transcript import Transcript
    from marl.episode import Sample
    from marl.policy.base import Policy
    from marl.remote.seat_client import Renew
    from protocols.envelope import Envelope

Url = Annotated[str, typer.Argument(metavar="URL", help="The broker: mqtt:// or mqtts://USER:PASSWORD@HOST:PORT.")]
RunName = Annotated[str, typer.Option(help="Name of the host's run (its --run).")]


def agent(
    url: Url,
    seat: Annotated[list[str], typer.Option(metavar="SEAT", help="Seat to take (may be repeated).")],
    run: RunName = "game",
    policy: Annotated[
        str,
        typer.Option(
            help="Policy that replies: random, trained:RUN, or follow (the weights that a training host announces)."
        ),
    ] = "random",
    token: Annotated[
        list[str] | None,
        typer.Option(metavar="TOKEN", help="Token that the host printed for the seat, in the order of --seat."),
    ] = None,
    token_file: TokenFile = None,
) -> None:
    """Play one or more seats of a host on another machine or process, until its run is over.

    If the broker or the host goes away, the agent waits until it is back. An agent that was killed can be restarted
    with the same command: the host sends it the episode so far.
    """
    if twice := [name for place, name in enumerate(seat) if name in seat[:place]]:
        raise UserError(f"--seat {twice[0]} is given twice: name a seat once")
    tokens = of_seats(seat, token or [], token_file)
    policies, renew = _policies(seat, policy)
    played = _sit(url, run, policies, tokens, renew)
    note(f"the run {run} is over: {played} episodes")


def join(
    url: Url,
    seat: Annotated[str, typer.Option(metavar="SEAT", help="Seat to take.")],
    run: RunName = "game",
    token: Annotated[str, typer.Option(help="Token that the host printed for the seat.")] = "",
    token_file: TokenFile = None,
) -> None:
    """Play one seat of a host yourself: read what the seat sees and type its replies.

    Only the host's --patience limits how long you may think: the clock of the game stands still meanwhile.
    """
    played = _sit(url, run, {seat: Person(seat)}, of_seats([seat], [token] if token else [], token_file), None)
    note(f"the run {run} is over: {played} episodes")


class Person(TextPolicy):
    """A person at this terminal. The connection stays alive while they think."""

    name = "human"

    def __init__(self, seat: str) -> None:
        self.seat = seat
        self._shown: dict[int, int] = {}

    async def reply(self, transcript: Transcript, *, spec: ReplySpec, seed: int, greedy: bool) -> Sample:
        """Ask until the line fits the spec."""
        from marl.episode import Sample

        new = self._new(transcript)
        while True:
            line = await _elsewhere(lambda new=new: ask_person(self.seat, new, spec))  # type: ignore[misc]
            if spec.parse(line) is not None:
                return Sample(line)
            new = []

    def close(self, transcript: Transcript) -> None:
        """Show how it ended."""
        for envelope in self._new(transcript):
            note(f"  the episode is over: {envelope.body}" if envelope.kind == "end" else f"  {envelope.body}")
        self._shown.pop(id(transcript), None)

    def _new(self, transcript: Transcript) -> list[Envelope]:
        new = transcript.heard[self._shown.get(id(transcript), 0) :]
        self._shown[id(transcript)] = len(transcript.heard)
        return new


async def _elsewhere(ask: Callable[[], str]) -> str:
    """Read a line in a daemon thread, which does not hold up the exit of the program."""
    loop = asyncio.get_running_loop()
    future: asyncio.Future[str] = loop.create_future()

    def settle(line: str | None, error: BaseException | None) -> None:
        if not future.done():
            future.set_exception(error) if error else future.set_result(line or "")

    def wait() -> None:
        try:
            line, error = ask(), None
        except BaseException as raised:
            line, error = "", raised
        if not loop.is_closed():
            loop.call_soon_threadsafe(settle, line, error)

    threading.Thread(target=wait, daemon=True).start()
    return await future


def _policies(seats: Sequence[str], policy: str) -> tuple[dict[str, Policy], Renew | None]:
    """Return a policy for each seat, and the callback that loads new weights (None unless --policy follow)."""
    if policy == "random":
        return {seat: Random() for seat in seats}, None
    if policy == FOLLOW:
        from marl.remote.weights import WeightFollowers

        with ERR.status("loading PyTorch"):
            import marl.inference.server  # noqa: F401 - now: it takes longer than a broker waits for a sign of life

            followers = WeightFollowers(seats)
        return dict(followers.policies), followers.renew
    kind, _, folder = policy.partition(":")
    if kind != "trained" or not folder:
        raise UserError(f"--policy {policy}: a policy is random, follow or trained:RUN")
    from marl.rundir import load

    with ERR.status("loading the policies"):
        trained: Mapping[str, Policy] = load.trained(Path(folder)).seats
    for seat in seats:
        if seat not in trained:
            raise UserError(f"--seat {seat}: the run {folder} has no such seat but {', '.join(trained)}")
    return {seat: trained[seat] for seat in seats}, None


def _sit(url: str, run: str, policies: Mapping[str, Policy], tokens: Mapping[str, str], renew: Renew | None) -> int:
    """Play until the run is over; return how many episodes a seat played."""
    from marl.remote.seat_client import sit
    from protocols import clock

    if url.partition(":")[0] == "memory":
        raise UserError("memory:// does not leave its process: give the broker's mqtt:// address, or use marl play")
    try:
        options: dict[str, Any] = {"tokens": tokens, "notice": note, "renew": renew}
        return clock.run(sit(url, run, secrets.token_hex(8), policies, **options), "wall")
    except KeyboardInterrupt:
        raise typer.Exit(130) from None
