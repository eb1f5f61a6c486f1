"""Checkpoints and saved models, mutated: each gives a result or a one-line error, and no file is lost."""

import json
import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import random
import signal
import tempfile
from collections import Counter
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from vae_nb.conv import conv_vae
from vae_nb.data import load
from vae_nb.joint import joint_vae
from vae_nb.saving import WEIGHTS, load_model
from vae_nb.train import NotFinite, fit
from vae_nb.train.checkpoint import CHECKPOINT
from vae_nb.vae import mlp_vae

from .record import write

CASES, SECONDS = 1000, 10
ODD = (
    None,
    True,
    -1,
    0,
    1,
    3,
    10**6,
    10**18,
    1.5,
    1e308,
    float("nan"),
    "",
    "x",
    "../../etc",
    "os.system",
    [],
    {},
    [None],
    [[1]],
    {"a": 1},
)


def flipped(data, rng):
    "One flipped bit, or twenty, most of them in the header."
    data = bytearray(data)
    for _ in range(rng.choice((1, 20))):
        data[rng.randrange(min(len(data), rng.choice((4000, len(data)))))] ^= (
            1 << rng.randrange(8)
        )
    return bytes(data)


def truncated(data, rng):
    return data[: rng.randrange(len(data))]


def places(value, path=()):
    "Every place of a nested value, from the outside in."
    yield path
    items = (
        value.items()
        if isinstance(value, dict)
        else enumerate(value)
        if isinstance(value, list)
        else ()
    )
    for key, inner in items:
        yield from places(inner, (*path, key))


def with_odd_value(value, rng):
    "A copy of nested lists and dicts with one value replaced by something strange, or left out."
    copy = json.loads(json.dumps(value))
    *way, last = rng.choice([path for path in places(copy) if path] or [("",)])
    inner = copy
    for key in way:
        inner = inner[key]
    if rng.random() < 0.2 and isinstance(inner, dict):
        inner.pop(last, None)
    else:
        inner[last] = rng.choice(ODD)
    return copy


def with_facts(path, change):
    "The file's bytes with other facts in its header."
    with safe_open(path, "pt") as file:
        header = file.metadata()
    facts = change({name: json.loads(text) for name, text in header.items()})
    with tempfile.TemporaryDirectory() as folder:
        save_file(
            load_file(path),
            Path(folder, "new"),
            metadata={name: json.dumps(fact) for name, fact in facts.items()},
        )
        return Path(folder, "new").read_bytes()


def with_odd_tensor(path, rng):
    "The file's bytes with one tensor of another type, shape or name, without it, or full of NaN."
    tensors = load_file(path)
    name = rng.choice(sorted(tensors))
    value = tensors.pop(name)
    tensors |= rng.choice(
        (
            {name: value.to(torch.float16)},
            {name: value.to(torch.int64)},
            {name: value.flatten()[:1].clone()},
            {name: value[None].clone()},
            {},
            {name + "x": value},
            {name: torch.zeros(0)},
            {name: torch.full(value.shape, float("nan"))},
        )
    )
    with safe_open(path, "pt") as file, tempfile.TemporaryDirectory() as folder:
        save_file(tensors, Path(folder, "new"), metadata=file.metadata())
        return Path(folder, "new").read_bytes()


def mutations(path, others):
    "Kind → a function of a generator that gives the bytes of a mutated file. `others`: configs or settings to swap in."
    whole = path.read_bytes()
    return {
        "bits flipped": lambda rng: flipped(whole, rng),
        "truncated": lambda rng: truncated(whole, rng),
        "config swapped": lambda rng: with_facts(
            path, lambda facts: facts | rng.choice(others)
        ),
        "wrong types": lambda rng: with_facts(
            path, lambda facts: with_odd_value(facts, rng)
        ),
        "wrong tensors": lambda rng: with_odd_tensor(path, rng),
    }


def outcome(act, path):
    "What became of a mutated file: a result, a refusal, or anything else, which is a fault."

    def late(signum, frame):
        raise TimeoutError(f"more than {SECONDS} s")

    before = {
        file: file.read_bytes() for file in path.parent.rglob("*") if file.is_file()
    }
    signal.signal(signal.SIGALRM, late)
    signal.alarm(SECONDS)
    try:
        act()
        return "a result"
    except NotFinite:
        return "refused"  # a weight was so far out that the loss is: said at the first step
    except (ValueError, OSError) as error:
        fault = (
            None
            if path.name in str(error)
            and "\n" not in str(error)
            and not isinstance(error, TimeoutError)
            else repr(error)
        )
        if before != {
            file: file.read_bytes() for file in path.parent.rglob("*") if file.is_file()
        }:
            fault = "a refused file was touched"
        return fault or "refused"
    except BaseException as error:
        return repr(error)
    finally:
        signal.alarm(0)


def checkpoint_target(folder):
    "A run that was stopped in its second epoch; how to continue it; facts of other runs."
    digits = load("digits")
    settings = dict(
        epochs=3, batch_size=32, precision="float32", progress=False, seed=5
    )
    make = lambda: mlp_vae(digits.shape, latent_dim=3, hidden=(16,))

    stops = [10]  # steps; none when the run goes on

    def stop(model, x, step):
        if step in stops:
            raise InterruptedError
        return model.loss(x)

    try:
        fit(
            make(),
            digits[:200],
            digits[200:260],
            checkpoint=folder,
            checkpoint_seconds=0,
            training_loss=stop,
            **settings,
        )
    except InterruptedError:
        stops.clear()
    others = [
        {"settings": {}},
        {"settings": {"epochs": 3}},
        {"at": {}},
        {"cycle": {}},
        {"rates": []},
        {"rows": []},
        {"info": {}},
        {"clock": {}},
    ]
    go_on = lambda: fit(
        make(),
        digits[:200],
        digits[200:260],
        checkpoint=folder,
        resume=True,
        training_loss=stop,
        **settings,
    )
    return Path(folder, CHECKPOINT), go_on, others


def model_target(folder):
    "A saved model; how to open and use it; configs of other models."
    mlp_vae((1, 28, 28), latent_dim=3, hidden=(16,)).save(folder)
    others = [
        mlp_vae((1, 28, 28), latent_dim=4, hidden=(16,)),
        mlp_vae((3, 8, 8)),
        conv_vae((1, 28, 28), latent_dim=3, channels=(4, 8)),
        joint_vae((1, 28, 28)),
    ]
    configs = [{"config": model.config} for model in others] + [
        {"config": {"builder": "os.system", "arguments": {"command": "true"}}},
        {"config": {}},
    ]
    return Path(folder, WEIGHTS), lambda: load_model(folder).sample(2), configs


def attack(target, cases, rng):
    "Mutate the file so often, every kind in turn; (kind, what became of it) of each."
    with tempfile.TemporaryDirectory() as folder:
        path, act, others = target(folder)
        whole = {
            file: file.read_bytes()
            for file in Path(folder).rglob("*")
            if file.is_file()
        }
        kinds = list(mutations(path, others).items())
        for number in range(cases):
            kind, mutate = kinds[number % len(kinds)]
            path.write_bytes(mutate(rng))
            yield kind, outcome(act, path)
            for file, data in whole.items():
                file.write_bytes(data)


def main():
    torch.set_num_threads(1)
    rows, faults = [], Counter()
    for name, target in {
        "checkpoint, continued": checkpoint_target,
        "saved model, opened": model_target,
    }.items():
        seen = Counter(attack(target, CASES // 2, random.Random(0)))
        for kind in dict.fromkeys(kind for kind, _ in seen):
            of = {what: n for (k, what), n in seen.items() if k == kind}
            results, refused = of.pop("a result", 0), of.pop("refused", 0)
            faults.update(of)
            rows.append(
                {
                    "file": name,
                    "mutation": kind,
                    "cases": results + refused + sum(of.values()),
                    "a result": results,
                    "a one-line error": refused,
                    "anything else": sum(of.values()),
                }
            )
    for fault, n in faults.items():
        print(n, fault)
    print(*rows, sep="\n")
    write(
        "fuzz",
        f"{CASES:,} mutated files",
        rows,
        f"In one process, {SECONDS} s for each. Anything else: another exception, an error of several lines or one that does not name the file, a hang, a refused file that was "
        "changed or lost. A file whose damage nothing can notice (a bit of a weight, a fact that nobody needs) gives a result.",
    )
