"""Files of messages as other programs write them: cells, formats, names of columns."""

from __future__ import annotations

import codecs
import gzip
import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from marl.errors import UserError
from marl.study.data import foreign, source
from marl.study.data.cells import WordColumn, flag, number, place
from marl.study.data.corpus import MessageSample
from marl.study.pipeline import study

RIGHT = [("x0 y0", ("0", "1")), ("x1 y0", ("1", "1")), ("x0 y1", ())]


def samples(path: Path, how: foreign.Reading | None = None) -> list[MessageSample]:
    return source.read(path, how).samples


def said(path: Path, how: foreign.Reading | None = None) -> list[tuple[str, tuple[str, ...]]]:
    return [(sample.meaning, sample.message) for sample in samples(path, how)]


def words(*cells: Any) -> list[tuple[str, ...]]:
    column = WordColumn("message", cells)
    return [column.words(cell, "f, line 1") for cell in cells]


@pytest.mark.parametrize(
    "cell",
    [
        *("[0, 1]", "[0 1]", "(0, 1)", " [0,1] ", "['0', '1']", '["0", "1"]', "['0' '1']", "[0. 1.]", "[0.0, 1.0]"),
        *("array([0, 1])", "array(['0', '1'], dtype='<U1')", "tensor([0, 1])", "tensor([0, 1], device='cuda:0')"),
        *(
            "[np.int64(0), np.int64(1)]",
            "[np.str_('0'), np.str_('1')]",
            "[[0, 1]]",
            "[[0], [1]]",
            "[[0]\n [1]]",
            "(0, 1,)",
        ),
        *(["0", "1"], [0, 1.0], [[0], [1]], [[0, 1]]),
    ],
)
def test_a_list_is_read_however_it_was_written(cell: Any) -> None:
    assert words(cell) == [("0", "1")]


def test_words_in_brackets_are_a_list_where_all_cells_are() -> None:
    assert words("[red, ball]", "[box]", "[]") == [("red", "ball"), ("box",), ()]
    assert words("[MASK]", "cat [MASK]") == [("[MASK]",), ("cat", "[MASK]")]
    assert words("[CLS] a [SEP]", "it's") == [("[CLS]", "a", "[SEP]"), ("it's",)]


def test_commas_split_where_they_stand_between_all_words() -> None:
    assert words("x0,y0", "x1, y1", "x2") == [("x0", "y0"), ("x1", "y1"), ("x2",)]
    assert words("yes, the ball", "no") == [("yes,", "the", "ball"), ("no",)]
    assert words("a\tb\nc") == [("a", "b", "c")]


@pytest.mark.parametrize("space", ["\u00a0", "\u3000", "\t", "\n", "\r", "\x1f", "\x85", "\u2028", " "])
def test_white_space_inside_a_word_of_a_list_is_refused(space: str) -> None:
    for cell in ([f"New{space}York", "ball"], repr([f"New{space}York"])):
        with pytest.raises(UserError, match=r"f, line 1: a word of message is empty or has a space in it, .*New_York"):
            words(cell)


@pytest.mark.parametrize(
    ("cell", "sentence"),
    [
        ("[0 1 ... 8 9]", "where numpy cut a long list"),
        ("[[0, 1], [1, 0]]", "a list of lists"),
        ([[0, 1], [1, 0]], "a list of lists"),
        (["a\ud83d"], "half of a surrogate pair"),
        ("['\\ud83d']", "half of a surrogate pair"),
        (float("inf"), "beyond the largest"),
        (True, "message is true, not a word"),
    ],
)
def test_a_cell_that_is_no_list_of_words_is_refused(cell: Any, sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        words(cell)


def test_numbers_that_are_equal_are_one_word() -> None:
    assert words([1, 1.0, "1", "1.0", "1.00", "-0.0", "1.5", 10**30]) == [
        ("1", "1", "1", "1", "1", "0", "1.5", str(10**30))
    ]


TRUE = (True, 1, 1.0, "1", "1.0", "true", "True ", "TRUE", "t", "T", "yes", "y", "Y", "test", "held_out")
FALSE = (False, 0, 0.0, None, float("nan"), "", "0", "0.0", "false", "F", "no", "nan", "NaN", "None", "NA", "train")


def test_flags_of_every_type() -> None:
    assert all(flag(value, "f", "held_out") for value in TRUE)
    assert not any(flag(value, "f", "held_out") for value in FALSE)
    for value in ("maybe", 2, 0.5, "2"):
        with pytest.raises(UserError, match=r"f: held_out is .*, neither true nor false: write 1 or 0"):
            flag(value, "f", "held_out")


def test_numbers_that_are_too_large_are_named() -> None:
    assert (number("0.5", "f", "score"), number("nan", "f", "score"), number("True", "f", "score")) == (0.5, None, 1)
    with pytest.raises(UserError, match="f: score is a number beyond the largest"):
        number(10**400, "f", "score")
    assert (place("3.0", "f"), place(None, "f"), place(float("nan"), "f")) == (3, 0, 0)
    for wrong in (-1, 1.5, 10**400, 2**40, float("inf"), "inf"):
        with pytest.raises(UserError, match="place is "):
            place(wrong, "f")


ROWS = [{"meaning": meaning.split(), "message": list(message)} for meaning, message in RIGHT]
LINES = "".join(json.dumps(row) + "\n" for row in ROWS)
CSV = "meaning,message\n" + "".join(f"{meaning},{' '.join(message)}\n" for meaning, message in RIGHT)
SPLIT = {"columns": ["meaning", "message"], "index": [0, 1, 2], "data": [list(row.values()) for row in ROWS]}
COLUMNS = {name: [row[name] for row in ROWS] for name in ("meaning", "message")}


@pytest.mark.parametrize(
    ("name", "text"),
    [
        *(("m.csv", CSV), ("M.CSV", CSV), ("m.txt", CSV), ("M.Tsv", CSV.replace(",", "\t"))),
        *(("m.csv", CSV.replace(",", ";")), ("m.csv", CSV.replace("\n", "\r\n")), ("m.csv", f"\n\n{CSV}\n")),
        *(("m.jsonl", LINES), ("m.JSONL", LINES), ("m.json", LINES), ("m.txt", LINES), ("m.ndjson", f"\n{LINES}")),
        *(("m.json", json.dumps(ROWS)), ("m.jsonl", json.dumps(ROWS, indent=1)), ("m.txt", json.dumps(ROWS))),
        *(("m.json", json.dumps(COLUMNS)), ("m.json", json.dumps(SPLIT)), ("m.json", json.dumps({"data": ROWS}))),
        ("m.json", json.dumps({name: dict(enumerate(column)) for name, column in COLUMNS.items()})),
    ],
)
def test_a_file_is_read_whatever_its_ending_mark_or_packing(tmp_path: Path, name: str, text: str) -> None:
    path = tmp_path / name
    encodings = [b"", codecs.BOM_UTF8, codecs.BOM_UTF8 * 2]
    raws = [mark + text.encode() for mark in encodings] + [text.encode(wide) for wide in ("utf-16", "utf-32")]
    for raw in raws:
        path.write_bytes(raw)
        assert said(path) == RIGHT
        packed = tmp_path / f"{name}.gz"
        packed.write_bytes(gzip.compress(raw))
        assert said(packed) == RIGHT


def test_arrays_are_read_under_the_names_they_have(tmp_path: Path) -> None:
    np.savez(tmp_path / "m.npz", observations=[["x0", "y0"], ["x1", "y0"]], messages=[[3, 0], [4, 0]])
    with pytest.raises(UserError, match="or add --columns meaning=observations,message=messages"):
        said(tmp_path / "m.npz")
    how = foreign.reading(["meaning=observations,message=messages"], end="0")
    assert said(tmp_path / "m.npz", how) == [("x0 y0", ("3",)), ("x1 y0", ("4",))]
    np.savez(tmp_path / "o.npz", meaning=np.array([{}, []], dtype=object), message=[1, 2])
    with pytest.raises(UserError, match="holds no arrays that can be read"):
        said(tmp_path / "o.npz")


def test_parquet_is_read(tmp_path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow.parquet import write_table

    table = {**COLUMNS, "held_out": [True, False, None], "score": [1.0, None, 0.5]}
    write_table(pyarrow.table(table | {"message": [["0", "1"], ["1", "1"], []]}), tmp_path / "M.Parquet")
    assert said(tmp_path / "M.Parquet") == RIGHT
    assert [(sample.held_out, sample.score) for sample in samples(tmp_path / "M.Parquet")] == [
        (True, 1.0),
        (False, None),
        (False, 0.5),
    ]


def test_columns_have_the_names_of_the_file(tmp_path: Path) -> None:
    path = tmp_path / "m.csv"
    path.write_text("shape,color,msg,ok,split,who,n\nball,red,3 0 7,True,train,a,0\nbox,blue,0 5,False,test,b,1.0\n")
    names = ["meaning=shape,color,message=msg", "score=ok", "held_out=split,speaker=who", "place=n"]
    first, second = samples(path, foreign.reading(names, end="0"))
    assert (first.meaning, first.message, first.score, first.speaker, first.place) == ("ball red", ("3",), 1, "a", 0)
    assert (second.message, second.held_out, second.speaker, second.place) == ((), True, "b", 1)
    with pytest.raises(UserError, match="--columns act=out: there is no out; there is shape, color, msg"):
        samples(path, foreign.reading([*names, "act=out"]))
    for wrong in ("sense=x", "meaning", "meaning=", "x,meaning=y"):
        with pytest.raises(UserError, match="write OURS=THEIRS, such as meaning=sender_input"):
            foreign.reading([wrong])
    with pytest.raises(UserError, match="act is there twice"):
        foreign.reading(["act=x", "act=y"])


def test_a_long_cell_is_read_and_a_longer_one_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "m.csv"
    path.write_text("meaning,message\nred ball," + "m1 " * 60000 + "\n")
    assert len(said(path)[0][1]) == 60000
    monkeypatch.setattr("marl.study.data.tables.LONGEST", 2**16)
    with pytest.raises(UserError, match="has a line or cell of more than"):
        said(path)


def test_a_file_that_unpacks_into_far_more_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "bomb.jsonl.gz"
    path.write_bytes(gzip.compress(b'{"meaning": 1, "message": 1}\n' * 10**6))
    with pytest.raises(UserError, match="unpacks into more than 200 times its size"):
        said(path)


@pytest.mark.parametrize(
    "cell", ["9" * 10**6 + "x", " " * 10**6 + "x", "a" + " " * 10**6 + ",b", "[" * 10**6, "-" * 10**6]
)
def test_a_long_cell_takes_time_in_proportion(cell: str) -> None:
    start = time.process_time()
    for text in (cell, f"[{cell}]", f"[{cell}, 1]", f"['{cell}"):
        words(text, "x")
    assert time.process_time() - start < 5


def test_numbers_that_no_machine_holds_are_words(tmp_path: Path) -> None:
    path = tmp_path / "m.csv"
    path.write_text(f"meaning,message\nm\u00b2,{'9' * 5000}\nm3,{'9' * 4999}8\n")
    (run,) = study([path], permutations=2).runs
    assert {pair.meaning for pair in run.languages[0].pairs} == {"m\u00b2", "m3"}
