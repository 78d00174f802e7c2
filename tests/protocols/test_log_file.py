"""Logs on disk: what is written comes back, what is not a log is refused in a sentence, a full disk harms nothing."""

from __future__ import annotations

import errno
import gzip
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocols.draws import below, key, uniform
from protocols.envelope import EVERYONE, NOBODY, REFEREE, Envelope, Kind
from protocols.errors import ProtocolError
from protocols.log import Entry, Heard, Log, dump, load, save

SUFFIXES = ["log.jsonl", "log.jsonl.gz"]
TEXT = st.text(max_size=8) | st.sampled_from(["\n", "\r", "\u2028\u0085", '"\\', "🐟", EVERYONE, NOBODY])
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=4,
)
DATA = st.dictionaries(TEXT, JSON, max_size=2)
TIME = st.floats(0, 1e6).map(abs)  # 0.0 and -0.0 are one time
HEARD = st.builds(Heard, to=TEXT, time=TIME, body=st.none() | TEXT, sender=st.just("") | TEXT)


@st.composite
def entries(draw: st.DrawFn, episode: str, seq: int) -> Entry:
    envelope = Envelope(
        episode=episode,
        seq=seq,
        sender=draw(TEXT),
        n=draw(st.integers(0, 99)),
        kind=draw(st.sampled_from(Kind)),
        to=draw(TEXT),
        time=draw(TIME),
        body=draw(TEXT),
        data=draw(DATA),
        reply_to=draw(st.none() | st.integers(-1, 99)),
    )
    as_sent = st.builds(Heard, to=TEXT, time=st.just(envelope.time), body=st.just(envelope.body))
    return Entry(envelope, tuple(draw(st.lists(as_sent, max_size=2) | st.lists(HEARD | as_sent, max_size=3))))


@st.composite
def logs(draw: st.DrawFn) -> Log:
    episode = draw(TEXT)
    return Log(
        episode=episode,
        seed=draw(st.integers()),
        scenario={"arena": draw(st.sampled_from(["lewis", "matrix"]))},
        seats=draw(st.dictionaries(TEXT, TEXT, max_size=2)),
        deal=draw(DATA),
        greedy=draw(st.booleans()),
        do=draw(st.lists(DATA, max_size=2)),
        entries=[draw(entries(episode, seq)) for seq in range(draw(st.integers(0, 4)))],
    )


def game(episode: int, states: int = 8) -> Log:
    """One episode of a signalling game as a referee logs it: thinking takes time, every fourth message is disturbed."""
    k = key(7, episode)
    state, other = below(states, k), below(states, k, 1)
    word = f"m{state} m{other}"
    spoke = round(0.2 + 0.3 * uniform(k, 2), 9)
    arrived = round(spoke + 0.1, 9)
    acted = round(arrived + 0.2 + 0.3 * uniform(k, 3), 9)
    log = Log(str(episode), 7, {"arena": {"type": "lewis", "n": states}}, {"sender": "talker", "receiver": "guesser"})
    says = {"words": [f"m{i}" for i in range(states)], "places": 2, "kind": "say"}
    moves = {"words": [f"s{i}" for i in range(states)], "places": 1, "kind": "move"}
    said = {"seen": 1, "tokens": [state + 5, other + 5, 1], "version": 12}
    moved = {"seen": 2, "tokens": [state + 13, 1], "version": 12}
    lines: list[tuple[Kind, str, int, str, str, float, dict[str, Any], int | None]] = [
        (Kind.WORLD, REFEREE, 0, NOBODY, f"state s{state}", 0.0, {}, None),
        (Kind.VIEW, REFEREE, 1, "sender", f"state s{state}", 0.0, {"reply": says}, None),
        (Kind.SAY, "sender", 0, EVERYONE, word, spoke, said, 1),
        (Kind.VIEW, REFEREE, 2, "receiver", "which state", arrived, {"reply": moves}, None),
        (Kind.MOVE, "receiver", 0, EVERYONE, f"s{state}", acted, moved, 3),
        (Kind.REWARD, REFEREE, 3, NOBODY, "", acted, {"sender": 1.0, "receiver": 1.0}, None),
        (Kind.END, REFEREE, 4, EVERYONE, "terminated", acted, {}, None),
    ]
    for seq, (kind, sender, n, to, body, time, data, reply_to) in enumerate(lines):
        envelope = Envelope(
            episode=log.episode,
            sender=sender,
            n=n,
            kind=kind,
            to=to,
            seq=seq,
            time=time,
            body=body,
            data=data,
            reply_to=reply_to,
        )
        heard = Heard("receiver", arrived, word if episode % 4 else "m0 m0")
        log.entries.append(Entry(envelope, (heard,) if kind is Kind.SAY else ()))
    return log


@pytest.mark.parametrize("name", SUFFIXES)
@given(sample=st.lists(logs(), max_size=3), more=st.lists(logs(), max_size=2))
def test_random_logs_survive_byte_for_byte(
    tmp_path_factory: pytest.TempPathFactory, name: str, sample: list[Log], more: list[Log]
) -> None:
    path = tmp_path_factory.mktemp("logs") / name
    save(path, sample)
    save(path, more, append=True)
    loaded = list(load(path))
    assert loaded == sample + more
    assert [log.to_bytes() for log in loaded] == [log.to_bytes() for log in sample + more]
    assert dump(loaded) == dump(sample + more)


def test_numbers_that_are_not_finite_survive(tmp_path: Path) -> None:
    log = game(0)
    data = {"x": [float("nan"), float("-inf")]}
    log.entries[0] = Entry(log.entries[0].envelope._replace(data=data))
    save(tmp_path / "log.jsonl", [log])
    assert next(load(tmp_path / "log.jsonl")).to_bytes() == log.to_bytes()


def test_to_bytes_is_deterministic_and_says_all() -> None:
    assert game(3).to_bytes() == game(3).to_bytes() != game(4).to_bytes()
    header, *rest = game(3).to_bytes().decode().splitlines()
    assert header == '{"episode":"3","seed":7,"seats":{"sender":"talker","receiver":"guesser"}}'
    assert [json.loads(line)["kind"] for line in rest] == ["world", "view", "say", "view", "move", "reward", "end"]
    said = json.loads(rest[2])
    assert said["heard"] == [["receiver", round(said["time"] + 0.1, 9), said["body"]]]


def test_text_is_written_as_it_is(tmp_path: Path) -> None:
    log = Log("naïve", 1, {}, {"🐟": "Γειά"})
    assert log.to_bytes().decode() == '{"episode":"naïve","seed":1,"seats":{"🐟":"Γειά"}}\n'
    save(tmp_path / "log.jsonl", [log])
    assert list(load(tmp_path / "log.jsonl")) == [log]


def test_listeners_who_heard_what_was_sent_are_written_by_name() -> None:
    log = game(1)
    envelope = log.entries[2].envelope
    log.entries[2] = Entry(envelope, tuple(Heard(to, envelope.time, envelope.body) for to in ("receiver", "c")))
    assert b'"heard":["receiver","c"]' in log.to_bytes()


def test_a_scenario_is_written_where_it_changes(tmp_path: Path) -> None:
    sample = [game(0), game(1), game(2, states=4), game(3, states=4), game(4)]
    path = tmp_path / "log.jsonl"
    save(path, sample)
    assert [line.startswith(b'{"sabir":1,') for line in path.read_bytes().splitlines()].count(True) == 3
    assert list(load(path)) == sample


def test_appending_to_gzip_adds_a_member(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl.gz"
    save(path, [game(0)], append=True)
    first = path.read_bytes()
    save(path, [game(1)], append=True)
    both = path.read_bytes()
    assert both.startswith(first)
    assert both[len(first) : len(first) + 2] == b"\x1f\x8b"
    assert list(load(path)) == [game(0), game(1)]
    save(path, [game(0)])  # not appended: written anew, and the same bytes as before
    assert path.read_bytes() == first


def test_episodes_are_read_one_by_one(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    save(path, [game(0), game(1)])
    with path.open("ab") as file:
        file.write(b"garbage\n")
    reading = load(path)
    assert next(reading) == game(0)
    with pytest.raises(ProtocolError, match=r"line 18: not a log entry"):
        list(reading)


SCENARIO = b'{"sabir":1,"scenario":{}}\n'
HEADER = b'{"episode":"0","seed":1,"seats":{}}\n'
ENTRY = b'{"kind":"say","from":"a","n":0}\n'
NOT_LOGS = {
    "another schema": (b'{"sabir":2,"scenario":{}}\n', ": a log of schema 2, this program reads schema 1: use the"),
    "no schema": (HEADER, " is not a log file: its first line names no schema"),
    "no scenario": (b'{"sabir":1}\n', ", line 1: not a log entry"),
    "garbage": (b"\x00\x01\xff\n", ", line 1: not a log entry"),
    "prose": (b"Dear diary\n", ", line 1: not a log entry"),
    "entry first": (SCENARIO + ENTRY, ", line 2: an entry before any episode header"),
    "header short": (SCENARIO + b'{"episode":"0"}\n', ", line 2: not a log entry"),
    "no utf-8": (SCENARIO + HEADER + ENTRY * 3 + b'{"kind":"\xff"}\n', ", line 6: not a log entry"),
    "a list": (SCENARIO + b"[]\n", ", line 2: not a log entry"),
    "a number": (SCENARIO + HEADER + b"5\n", ", line 3: not a log entry"),
    "a text": (SCENARIO + HEADER + b'"kind"\n', ", line 3: not a log entry"),
    "cut off": (SCENARIO + HEADER + ENTRY + ENTRY[:-9], ", line 4: not a log entry"),
    "too deep": (SCENARIO + b"[" * 100_000 + b"\n", ", line 2: not a log entry"),
    "unknown kind": (SCENARIO + HEADER + b'{"kind":"shout","from":"a","n":0}\n', ", line 3: not a log entry"),
    "unknown field": (SCENARIO + HEADER + b'{"kind":"say","from":"a","n":0,"x":1}\n', ", line 3: not a log entry"),
    "no sender": (SCENARIO + HEADER + b'{"kind":"say","n":0}\n', ", line 3: not a log entry"),
    "heard short": (SCENARIO + HEADER + ENTRY[:-2] + b',"heard":[["b"]]}\n', ", line 3: not a log entry"),
    "heard late": (SCENARIO + HEADER + ENTRY[:-2] + b',"heard":[["b","soon","x"]]}\n', ", line 3: not a log entry"),
}


@pytest.mark.parametrize("case", NOT_LOGS)
@pytest.mark.parametrize("name", SUFFIXES)
def test_what_is_no_log_is_refused_in_one_sentence(tmp_path: Path, name: str, case: str) -> None:
    raw, sentence = NOT_LOGS[case]
    path = tmp_path / name
    path.write_bytes(gzip.compress(raw) if name.endswith(".gz") else raw)
    with pytest.raises(ProtocolError) as caught:
        list(load(path))
    assert str(caught.value).startswith(f"{path}{sentence}")
    assert "\n" not in str(caught.value)


def test_damaged_gzip(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl.gz"
    save(path, [game(i) for i in range(300)])
    whole = path.read_bytes()
    middle = len(whole) // 2
    damages = {
        "cut off": whole[:middle],
        "no gzip": b"plain text",
        "overwritten": whole[:middle] + b"\xff" * 64 + whole[middle + 64 :],
        "overwritten at its start": whole[:10] + b"\xff" * 64 + whole[74:],
        "wrong sum": whole[:-8] + b"\x00" * 8,
        "a torn append": whole + whole[:20],
    }
    for damage, raw in damages.items():
        path.write_bytes(raw)
        with pytest.raises(ProtocolError) as caught:
            list(load(path))
        assert str(caught.value).startswith(str(path)), damage
        assert "damaged or cut off after line" in str(caught.value) or "not a log entry" in str(caught.value), damage


@given(st.binary(max_size=80) | st.text(max_size=80).map(str.encode) | JSON.map(lambda x: json.dumps(x).encode()))
def test_garbage_raises_nothing_else(tmp_path_factory: pytest.TempPathFactory, raw: bytes) -> None:
    folder = tmp_path_factory.mktemp("garbage")
    for name, content in ((SUFFIXES[0], raw), (SUFFIXES[1], raw), (SUFFIXES[0], SCENARIO + HEADER + ENTRY + raw)):
        (folder / name).write_bytes(content)
        try:
            loaded = list(load(folder / name))
        except ProtocolError:
            continue
        assert loaded or not raw


def test_an_empty_file_holds_no_episodes(tmp_path: Path) -> None:
    save(tmp_path / "log.jsonl", [])
    assert list(load(tmp_path / "log.jsonl")) == []


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        list(load(tmp_path / "none.jsonl"))


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no device that is always full")
@pytest.mark.parametrize("append", [False, True])
@pytest.mark.parametrize("name", SUFFIXES)
def test_a_full_disk_is_an_error(tmp_path: Path, name: str, append: bool) -> None:
    path = tmp_path / name
    path.symlink_to("/dev/full")
    with pytest.raises(OSError, match=r"No space left") as caught:
        save(path, [game(0)], append=append)
    assert caught.value.errno == errno.ENOSPC


FILLED = """
import resource, signal, sys
from pathlib import Path
from protocols.log import load, save

signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # so that the limit is an error of the write, as on a full disk
path = Path(sys.argv[1])
before = path.read_bytes()
episodes = list(load(path))
limit = len(before) + 100
resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
try:
    save(path, episodes, append=True)
except OSError as error:
    print(type(error).__name__, error.errno, path.read_bytes() == before)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="needs limits on the size of a file")
@pytest.mark.parametrize("name", SUFFIXES)
def test_a_disk_that_fills_up_leaves_what_stood_there(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    sample = [game(i) for i in range(20)]
    save(path, sample)
    program = [sys.executable, "-c", FILLED, str(path)]
    done = subprocess.run(program, capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.split() == ["OSError", str(errno.EFBIG), "True"]
    assert list(load(path)) == sample


def test_a_logged_message_costs_under_150_bytes(tmp_path: Path) -> None:
    sample = [game(i) for i in range(100)]
    entries_written = sum(len(log.entries) for log in sample)
    sizes = {}
    for name in SUFFIXES:
        save(tmp_path / name, sample)
        sizes[name] = (tmp_path / name).stat().st_size / entries_written
    assert sizes[SUFFIXES[0]] < 150, sizes
    assert sizes[SUFFIXES[1]] < 15, sizes
