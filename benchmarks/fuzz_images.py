"""Damaged pictures and odd folders, through the loader and the command, in process: each gives a result or a refusal of one line.

A case fails if an exception escapes, if the command calls it a fault of its own, if it takes longer than ten seconds, or if a file is not afterwards what it was.
"""

import io
import os
import random
import signal
import tempfile
import time
import warnings
from collections import Counter
from pathlib import Path

import numpy as np
from PIL import Image
from typer.testing import CliRunner

from .record import write

CASES, SEED, LIMIT = 1000, 7, 10.0  # seconds
SUFFIXES = (".png", ".jpg", ".gif", ".bmp", ".tif", ".webp", ".pgm", ".jpeg", ".PNG")
NAMES = (
    "a",
    "b c",
    "-rf",
    "…",
    "naïve",
    "line\nbreak",
    "\udcff",
    "%s",
    "x" * 200,
    "'",
    '"; rm',
    "faces:3",
    ".hidden",
    "0",
)


class TooSlow(BaseException):
    "Not an Exception: nothing may swallow it."


def originals(grey):
    "Whole pictures in many formats, as bytes."
    pixels = (
        np.random.RandomState(0)
        .randint(0, 256, (40, 36) if grey else (40, 36, 3))
        .astype(np.uint8)
    )
    image, made = Image.fromarray(pixels), []
    exif = Image.Exif()
    exif[0x0112] = 6  # a camera held sideways
    for kind, options in {
        "PNG": {},
        "JPEG": {"exif": exif},
        "GIF": {},
        "BMP": {},
        "TIFF": {"compression": "tiff_lzw"},
        "WEBP": {},
        "PPM": {},
    }.items():
        image.save(buffer := io.BytesIO(), kind, **options)
        made.append(buffer.getvalue())
    for mode in ("P", "LA", "1", "I;16"):
        if mode == "I;16":
            Image.fromarray(
                (np.arange(1440).reshape(40, 36) * 45).astype(np.uint16)
            ).save(buffer := io.BytesIO(), "PNG")
        else:
            image.convert("L").convert(mode).save(buffer := io.BytesIO(), "PNG")
        made.append(buffer.getvalue())
    return made


def mutated(data, others, r):
    "One damage."
    b = bytearray(data)
    kind = r.randrange(9)
    if kind == 0:
        return bytes(b[: r.randrange(len(b))])
    if kind == 1:
        return bytes(b) + r.randbytes(r.randrange(1, 50))
    if kind == 2:
        at = r.randrange(len(b))
        return bytes(b[:at] + r.randbytes(r.randrange(1, 20)) + b[at:])
    if kind == 3:
        return bytes(b[: r.randrange(len(b))]) + r.choice(others)
    if kind == 4:
        return r.choice(
            (
                b"",
                b"<html>404 not found</html>",
                b"\0" * 300,
                r.randbytes(400),
                b"\x89PNG\r\n\x1a\n",
                b"\xff\xd8\xff",
                "Bild".encode("utf-16"),
            )
        )
    if kind == 5:
        at = r.randrange(len(b))
        return bytes(b[:at] + b[at + r.randrange(1, 40) :])
    span = len(b) if kind < 8 else min(len(b), 64)  # 8: in the header
    for _ in range(r.choice((1, 3, 10))):
        b[r.randrange(span)] ^= 1 << r.randrange(8)
    return bytes(b)


def picture_case(folder, wholes, r):
    "A damaged picture, or something that is no file at all."
    path = folder / (r.choice(NAMES[:-2]).replace("/", "") + r.choice(SUFFIXES))
    odd = r.random()
    if odd < 0.03:
        path.mkdir()
    elif odd < 0.06:
        os.mkfifo(path)
    elif odd < 0.09:
        path.symlink_to(r.choice((path, folder / "nowhere", "/dev/zero")))
    else:
        path.write_bytes(mutated(r.choice(wholes), wholes, r))
    return path


def folder_case(folder, wholes, r):
    "Pictures whole and damaged, odd names, class folders, links."
    for i in range(r.randrange(0, 12)):
        below = folder / r.choice(
            (".", ".", "one", "two", "train", "valid", "one/deep")
        )
        below.mkdir(parents=True, exist_ok=True)
        path = below / f"{i}{r.choice(NAMES)}{r.choice(SUFFIXES)}"
        odd = r.random()
        if odd < 0.03:
            path.mkdir()
        elif odd < 0.06:
            os.mkfifo(path)
        elif odd < 0.1:
            path.symlink_to(r.choice((folder, path, "/dev/zero")))
        else:
            whole = r.choice(wholes)
            path.write_bytes(whole if r.random() < 0.6 else mutated(whole, wholes, r))
    return folder


def content(folder):
    "Everything in a folder: names, links, bytes."
    found = {}
    for parent, folders, names in os.walk(folder):
        for name in folders + names:
            path = os.path.join(parent, name)
            plain = os.path.isfile(path) and not os.path.islink(path)
            found[path] = (
                Path(path).read_bytes()
                if plain
                else os.readlink(path)
                if os.path.islink(path)
                else "other"
            )
    return found


def answer(words):
    "Run the command: 'result', 'refused', or what is wrong."
    from vae_nb.cli.answer import app

    done = CliRunner().invoke(app, list(map(str, words)))
    lines = [
        line for line in done.stderr.splitlines() if not line.startswith("warning: ")
    ]
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        return f"{type(done.exception).__name__} escaped: {done.exception}"
    if done.exit_code == 0:
        return "result"
    refused = done.exit_code == 1 and len(lines) == 1 and lines[0].startswith("error: ")
    return "refused" if refused else f"exit {done.exit_code}: {done.stderr[-300:]}"


def loaded(folder):
    "The loader alone."
    from vae_nb.data import load

    try:
        with warnings.catch_warnings(action="ignore"):
            load(folder, size=28)
    except (ValueError, OSError, RuntimeError) as error:
        return "refused" if str(error) else f"{type(error).__name__} without a word"
    return "result"


def late(signum, frame):
    raise TooSlow(f"longer than {LIMIT:.0f} s")


def trial(number, models, scratch):
    "One case: what was tried, its answers, seconds."
    r = random.Random(SEED * 100_000 + number)
    grey, kind = r.random() < 0.5, "picture" if number % 2 else "folder"
    wholes, folder = originals(grey), Path(scratch, str(number))
    (folder / "in").mkdir(parents=True)
    made = (picture_case if kind == "picture" else folder_case)(
        folder / "in", wholes, r
    )
    out, model, before = (
        folder / "out.png",
        models["grey" if grey else "colour"],
        content(folder / "in"),
    )
    words = (
        ["reconstruct", "--model", model, "--out", out, "--", made]
        if kind == "picture"
        else ["diagnose", model, "--data", f"{made}/"]
    )
    for _ in range(2):  # a busy machine may stall once; what hangs, hangs again
        start, was = time.perf_counter(), signal.signal(signal.SIGALRM, late)
        signal.setitimer(signal.ITIMER_REAL, LIMIT)
        try:
            answers = [answer(words)] + ([loaded(made)] if kind == "folder" else [])
            break
        except TooSlow as error:
            answers = [str(error)]
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, was)
    seconds = time.perf_counter() - start
    if content(folder / "in") != before:
        answers.append("a file was lost or changed")
    if set(os.listdir(folder)) - (
        {"in", "out.png"} if answers[0] == "result" else {"in"}
    ):
        answers.append("something half-made was left behind")
    return kind, answers, seconds


def small_models(folder):
    "Untrained models that the commands take."
    from vae_nb.conv import conv_vae
    from vae_nb.vae import mlp_vae

    return {
        "grey": mlp_vae((1, 28, 28), 3, (16,)).save(Path(folder, "grey")),
        "colour": conv_vae((3, 32, 32), 4, (8, 8)).save(Path(folder, "colour")),
    }


def fuzz(numbers):
    "Those cases; [(number, kind, answers, seconds)]."
    with tempfile.TemporaryDirectory() as scratch:
        before, os.environ["VAE_NB_CACHE"] = (
            os.environ.get("VAE_NB_CACHE"),
            str(Path(scratch, "cache")),
        )
        try:
            models = small_models(scratch)
            assert (
                answer(["sample", models["grey"], "--out", Path(scratch, "first.png")])
                == "result"
            )  # imports what draws, before anything is timed
            return [(number, *trial(number, models, scratch)) for number in numbers]
        finally:
            os.environ.pop("VAE_NB_CACHE") if before is None else os.environ.update(
                VAE_NB_CACHE=before
            )


def faulty(trials):
    "The cases that went wrong."
    return [
        (number, kind, answers)
        for number, kind, answers, _ in trials
        if set(answers) - {"result", "refused"}
    ]


def main():
    os.environ.setdefault("MPLBACKEND", "agg")
    os.environ.setdefault("TQDM_DISABLE", "1")
    trials, rows = fuzz(range(CASES)), []
    for number, kind, answers in faulty(trials):
        print(number, kind, answers)
    for kind, what in {
        "picture": "damaged pictures, by `vae_nb reconstruct`",
        "folder": "odd folders, by `vae_nb diagnose --data` and `load`",
    }.items():
        own = [(answers, seconds) for _, k, answers, seconds in trials if k == kind]
        counts = Counter(answers[0] for answers, _ in own)
        wrong = sum(bool(set(answers) - {"result", "refused"}) for answers, _ in own)
        rows.append(
            {
                "cases": what,
                "how many": f"{len(own):,}",
                "a result": counts["result"],
                "refused in one line": counts["refused"],
                "went wrong": wrong,
                "slowest, s": f"{max(seconds for _, seconds in own):.1f}",
            }
        )
    print(rows)
    write(
        "fuzz_images",
        "Damaged pictures and odd folders",
        rows,
        "Bit flips, cuts, splices, foreign content, wrong suffixes, odd names, links in circles, pipes, devices and folders where files should be. Wrong would be: an exception "
        "that escapes, an error that is not one line with exit status 1, more than 10 seconds, a file that is not what it was, something half-made left behind.",
    )
