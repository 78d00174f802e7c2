"""`marl play`: watch episodes, or take a seat."""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from marl.commands.console import ERR, answer, note, show
from marl.errors import UserError

if TYPE_CHECKING:
    from arenas.spec import ReplySpec
    from marl.episode import Episode
    from marl.policy import Policy
    from marl.rollout import Plan
    from marl.scenario import World
    from protocols.clock import ClockName
    from protocols.envelope import Envelope
    from protocols.log import Log

POLICIES = (
    "random, human, scripted:NAME, trained or trained:RUN, hf:MODEL, openai:URL#MODEL, "
    "critique:POLICY or reflexion:POLICY"
)


def play(
    source: Annotated[
        str, typer.Argument(metavar="ARENA_OR_RUN", help="An arena's name or file, a run's folder, a TOML file.")
    ],
    settings: Annotated[
        list[str] | None,
        typer.Argument(metavar="KEY=VALUE", help="Change the scenario, such as arena.n=6.", show_default=False),
    ] = None,
    seat: Annotated[
        list[str] | None,
        typer.Option(metavar="SEAT=POLICY", help=f"Who sits where: {POLICIES}.", show_default=False),
    ] = None,
    episodes: Annotated[int, typer.Option(min=1, help="How many.")] = 1,
    seed: Annotated[int, typer.Option(help="Seed of every draw.")] = 0,
    log: Annotated[Path | None, typer.Option(metavar="FILE", help="Keep the episodes (.jsonl or .jsonl.gz).")] = None,
    greedy: Annotated[bool, typer.Option("--greedy", help="Trained policies give their most probable reply.")] = False,
) -> None:
    """Play episodes and print what was shown, said, heard and paid.

    In a run's folder the trained policies play, in an arena random ones; --seat puts someone else on a seat. A human
    reads what the seat sees and types its replies. openai: seats the model of an OpenAI-compatible endpoint, in real
    time; its key is in the environment variable OPENAI_API_KEY, and ?spend=0.5&price_in=...&price_out=... limits costs.

    critique:POLICY lets a policy that chats criticise its draft before it replies, reflexion:POLICY lets it write a
    lesson after each episode and read the last ones in the next; in a run's folder lessons are kept in RUN/lessons.
    """
    from marl.rollout import Plan

    world, run = world_and_run(source, settings or [])
    seats = _seats(world, run, seat or [])
    if log is not None:
        _keep(log, [])  # a file that cannot be written is found before anyone plays

    def shown(episode: Episode) -> None:
        if log is not None:
            _keep(log, [episode.log])
        if episode.error:
            raise UserError(f"episode {episode.log.episode} failed: {episode.error}")

    played = _played(world, [Plan(f"play-{i}", seats, seed, greedy=greedy) for i in range(episodes)], shown)
    if episodes > 1:
        mean = sum(episode.score for episode in played) / episodes
        answer(f"mean score of {episodes} episodes: {mean:.3f}")
    if log is not None:
        note(f"written: {log} (play it again with `marl replay {log}`)")


def _played(world: World, plans: Sequence[Plan], shown: Callable[[Episode], None]) -> list[Episode]:
    """Play episodes and print them; one after the other where a person plays, or who learns from one for the next.

    Where a large model replies they are printed while they are played, but not to a person who plays: the log holds
    what no seat sees.
    """
    from marl.commands.live import Live
    from marl.rollout import collect
    from marl.verbal import Reflexion
    from protocols.clock import run as run_on

    seats = plans[0].seats
    learners = {name: policy for name, policy in seats.items() if isinstance(policy, Reflexion)}
    person = any(policy.name == "human" for policy in seats.values())
    clock: ClockName = "wall" if any("openai:" in policy.name for policy in seats.values()) else "virtual"
    live = Live(shown) if not person and any(map(_slow, seats.values())) else None

    def whole(episode: Episode) -> None:
        show(episode.log)
        shown(episode)

    if live is None and not person:
        played = collect(world, plans, clock=clock)
        for episode in played:
            whole(episode)
        return played

    def done(episode: Episode) -> None:
        (whole if live is None else live.end)(episode)
        for name, policy in learners.items():
            policy.learn(name, episode)

    at_once = 1 if person or learners else 256
    begun = None if live is None else live.begin
    played = collect(world, plans, concurrency=at_once, clock=clock, done=done, begun=begun)
    for policy in learners.values():
        run_on(policy.reflect(), clock)
    return played


def _slow(policy: Policy) -> bool:
    """Say whether a policy takes seconds to reply: a chat model, here or at an endpoint."""
    return "openai:" in policy.name or "hf:" in policy.name or hasattr(policy, "engine")


def _keep(path: Path, logs: Sequence[Log]) -> None:
    """Add to the log file; begin it if there are none to add."""
    from protocols.log import save

    try:
        save(path, logs, append=bool(logs))
    except OSError as error:
        raise UserError(f"{path}: {error.strerror or error}") from None


def world_and_run(source: str, settings: Sequence[str]) -> tuple[World, Path | None]:
    """Return the world to play in, and the run's folder if the source is one."""
    import arenas
    from marl import arena_file, build
    from marl.config import override, read_toml
    from marl.rundir import RunDir

    path = Path(source)
    # A folder that only happens to be called like an arena does not hide it.
    run = path if RunDir(path).exists or (path.is_dir() and source not in arenas.ARENAS) else None
    if run is not None or path.suffix == ".toml":
        config = build.run_dir(path).config if run is not None else path
        scenario = read_toml(config).get("scenario")
        if not isinstance(scenario, dict):
            raise UserError(f"{config} has no [scenario]")
        wanted = override(arena_file.anchored(scenario, config.parent), settings)
        return build.world(arena_file.admit(wanted), str(config)), run
    if arena_file.is_file(source):
        return build.world(arena_file.admit(override({"arena": {"name": source}}, settings)), source), None
    if source not in arenas.ARENAS:
        if "/" in source and ":" not in source:
            raise UserError(f"there is neither a run's folder nor an arena {source!r}; `marl arenas` lists the arenas")
        arenas.find(source)  # raises ArenaError, with a likely name
    return build.world(override({"arena": {"name": source}}, settings), source), None


def _seats(world: World, run: Path | None, wanted: Sequence[str]) -> dict[str, Policy]:
    """Fill the seats: as asked, and else with the run's policies, or random ones."""
    chosen = dict.fromkeys(world.agents, "random" if run is None else "trained")
    for text in wanted:
        name, equals, policy = text.partition("=")
        if not equals:
            raise UserError(f"--seat looks like {world.agents[0]}=human, not {text!r}")
        if name not in chosen:
            raise UserError(f"--seat {text}: no seat {name!r}; the seats are {', '.join(world.agents)}")
        if sum(other.partition("=")[0] == name for other in wanted) > 1:
            raise UserError(f"--seat {text}: {name} is given twice, and a seat has one agent: give it once")
        chosen[name] = policy
    loaded: dict[Path, dict[str, Policy]] = {}
    return {name: policy_of(name, policy, world, run, loaded) for name, policy in chosen.items()}


def policy_of(seat: str, policy: str, world: World, run: Path | None, loaded: dict[Path, dict[str, Policy]]) -> Policy:
    """Return the policy that a word of --seat names; raises UserError. Runs are loaded once."""
    from marl import build
    from marl.policy import Human, Random

    kind, _, folder = policy.partition(":")
    if policy == "random":
        return Random()
    if policy == "human":
        return Human(lambda heard, spec: ask_person(seat, heard, spec))
    if kind == "scripted":
        return script_of(world, folder)
    if kind in ("critique", "reflexion"):
        return verbal(kind, policy_of(seat, folder, world, run, loaded), run)
    if kind == "openai":
        return endpoint_of(world, seat, policy)
    if kind == "hf":
        return chat_of(world, folder, loaded)
    if kind != "trained":
        raise UserError(f"--seat {seat}={policy}: a policy is one of {POLICIES}")
    path = Path(folder) if folder else run
    if path is None:
        raise UserError(f"--seat {seat}={policy}: say which run, as in {seat}=trained:runs/mine")
    if path not in loaded:
        with ERR.status("loading the policies"):
            loaded[path] = dict(build.trained(path).seats)
    if seat not in loaded[path]:
        raise UserError(f"--seat {seat}={policy}: that run has no seat {seat!r} but {', '.join(loaded[path])}")
    return loaded[path][seat]


def verbal(kind: str, inner: Policy, run: Path | None) -> Policy:
    """Return a policy that learns in words; raises UserError for one inside that does not chat."""
    from marl.verbal import Reflexion, SelfCritique

    if not inner.name.startswith(("openai:", "hf:", "critique:")):
        raise UserError(f"{kind}:{inner.name}: only who chats can learn in words: put openai: or hf: behind {kind}:")
    return SelfCritique(inner) if kind == "critique" else Reflexion(inner, run / "lessons" if run else None)


def endpoint_of(world: World, seat: str, address: str) -> Policy:
    """Return the model of an endpoint as a policy; raises UserError."""
    from marl.endpoint import Remote, connect

    return Remote(connect(address), world.about(seat))


def chat_of(world: World, source: str, loaded: dict[Path, dict[str, Policy]]) -> Policy:
    """Return a pretrained model as a policy; all seats it plays share its weights. Raises UserError."""
    if not source:
        raise UserError("hf: needs a model, as in hf:smollm2: a folder, a GGUF file, a hub id, an installed package")
    known = loaded.setdefault(Path(f"hf:{source}"), {})
    if not known:
        with ERR.status(f"loading {source}"):  # the libraries too: they take seconds
            try:
                from marl.pretrained import seat
                from marl.server import serve
            except ImportError as error:
                raise UserError(f"hf:{source} needs {error.name}: pip install 'sabir[lm,hf]'") from None
            known[""] = serve(seat(source, world.about), f"hf:{source}")
    return known[""]


def script_of(world: World, name: str) -> Policy:
    """Return a script of the arena, by name; the best that there is unless one is named. Raises UserError."""
    from arenas.measure import best
    from marl.policy import Script

    scripts = world.arena.scripts()
    if not scripts:
        raise UserError(f"{world.arena.name} has no scripts: seat random, human or trained:RUN")
    name = name or best(scripts)
    if name not in scripts:
        raise UserError(f"{world.arena.name} has no script {name!r}; it has {', '.join(scripts)}")
    return Script(scripts[name], f"scripted:{name}")


def ask_person(seat: str, heard: Sequence[Envelope], spec: ReplySpec) -> str:
    """Show a person what is new and return the line typed."""
    from protocols.envelope import Kind

    with _interruptible():
        if not heard:
            note("  not a legal reply")
        for envelope in heard:
            told = "you are shown" if envelope.kind is Kind.VIEW else f"{envelope.sender} says"
            note(f"  {told}: {envelope.body}")
        note(f"{seat} {spec.describe()}", "bold")
        ERR.print("> ", end="")
        line = sys.stdin.readline()
    if not line:
        raise UserError("the input ended before the episode did")
    return line.strip()


@contextmanager
def _interruptible() -> Iterator[None]:
    """Let Ctrl-C end a prompt at once; the event loop's own handler would wait for the line."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
