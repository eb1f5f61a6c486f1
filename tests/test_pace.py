"The pace of the notebooks: definitions at work where they stand, short cells, chapters that end where a reader would turn the page."

import functools
import json
import statistics

import pytest

from book.pace import count, notebooks

pace_of = functools.cache(count)
every = pytest.mark.parametrize("path", notebooks(), ids=lambda path: path.stem)


def paces():
    return [pace_of(path) for path in notebooks()]


@every
def test_a_page_ends_where_a_reader_would_turn_it(path):
    assert pace_of(path).cells <= 60


@every
def test_no_long_row_of_definitions_without_one_at_work(path):
    pace = pace_of(path)
    assert pace.longest <= 4, max(pace.runs, key=len)


@every
def test_a_demo_has_ten_lines_at_most(path):
    long = pace_of(path).long
    assert not long, f"cells and their lines: {long}"


def test_public_definitions_are_at_work_where_they_stand():
    shown = sum(len(pace.shown) for pace in paces())
    hidden = [(p.name, *where) for p in paces() for where in p.hidden]
    assert shown >= 0.9 * (shown + len(hidden)), f"page, cell, definition: {hidden}"


def test_the_median_cell_has_six_lines_at_most():
    assert statistics.median(n for pace in paces() for n in pace.lines) <= 6


def test_what_is_counted(tmp_path):
    "A definition three code cells before its use counts, one whose use prints nothing does not, and folded cells are not seen."
    cells = [
        "#| export\ndef near(): ...",
        "#| exporti\ndef helper(): ...",
        "near()",
        "#| export\ndef silent(): ...",
        "x = silent()",
        "#| export\n#| code-fold: true\ndef folded(): ...",
        "#| export\ndef far(): ...",
        *["1 + 1"] * 3,
        "far()",
    ]
    notebook = {
        "cells": [
            {"cell_type": "code", "metadata": {}, "source": text} for text in cells
        ]
    }
    path = tmp_path / "x.ipynb"
    path.write_text(json.dumps(notebook))
    pace = count(path)
    assert [name for _, name in pace.shown] == ["near"]
    assert [name for _, name in pace.hidden] == ["silent", "folded", "far"]
    assert pace.longest == 2 and not pace.long
