"The pace of the notebooks: definitions at work where they stand, short cells, chapters that end where a reader would turn the page."

import json
import statistics

import pytest

from book.pace import count, notebooks

PACES = {path.stem: count(path) for path in notebooks()}


@pytest.mark.parametrize("pace", PACES.values(), ids=PACES)
def test_a_page_ends_where_a_reader_would_turn_it(pace):
    assert pace.cells <= 60


@pytest.mark.parametrize("pace", PACES.values(), ids=PACES)
def test_no_long_row_of_definitions_without_one_at_work(pace):
    assert pace.longest <= 4, max(pace.runs, key=len)


@pytest.mark.parametrize("pace", PACES.values(), ids=PACES)
def test_a_demo_has_ten_lines_at_most(pace):
    assert not pace.long, f"cells and their lines: {pace.long}"


def test_public_definitions_are_at_work_where_they_stand():
    shown = sum(len(pace.shown) for pace in PACES.values())
    hidden = [(p.name, *where) for p in PACES.values() for where in p.hidden]
    assert shown >= 0.9 * (shown + len(hidden)), f"page, cell, definition: {hidden}"


def test_the_median_cell_has_six_lines_at_most():
    assert statistics.median(n for pace in PACES.values() for n in pace.lines) <= 6


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
