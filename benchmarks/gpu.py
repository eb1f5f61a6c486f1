"""What one NVIDIA GPU makes of all this, in eight minutes: `python -m benchmarks gpu`, from a plain checkout (`PYTHONPATH=.`), with PyTorch and without a network.

Every part has its share of the time, imports what it needs, and is recorded as soon as it ends; what is left out is named. Digits and faces can travel:
`python -m benchmarks.gpu pack` writes some into _build/carry (under 60 MB), where they are found. `PARTS=steps,faces` measures some parts only.

Without a GPU everything runs once, very small, and nothing is recorded: so it is tested.
"""

import gzip
import json
import os
import shutil
import statistics
import sys
import tempfile
import time
import warnings
from pathlib import Path

import torch

from book.project import BUILD, ROOT

from . import record

CARRIED = BUILD / "carry"
LIMIT = 60e6  # bytes that travel
# parts in the order in which they are measured → seconds that each may take
SECONDS = {"peak": 20, "steps": 170, "targets": 80, "faces": 140, "chapter": 60}
CHAPTER = "02_mlp_vae"
ON_GPU = torch.cuda.is_available()
DEVICE = torch.device("cuda" if ON_GPU else "cpu")


# --- what travels ---


def pack(source=None, folder=CARRIED, faces=6000):
    "MNIST, compressed, and some of CelebA's pictures with their lines of its tables."
    source = Path(source or os.environ["VAE_NB_DATA"])
    raw, pictures = source / "MNIST/raw", source / "celeba/img_align_celeba"
    shutil.rmtree(folder, ignore_errors=True)
    for path in sorted(raw.glob("*-ubyte")):
        out = folder / "MNIST/raw" / f"{path.name}.gz"
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_bytes(gzip.compress(path.read_bytes(), mtime=0))
    chosen = some_of(sorted(pictures.glob("*.jpg")), faces)
    for path in chosen:
        out = folder / "celeba/img_align_celeba" / path.name
        out.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, out)
    for table in ("list_attr_celeba.txt", "list_eval_partition.txt") * bool(chosen):
        keep_lines(source / "celeba" / table, folder / "celeba" / table, chosen)
    size = sum(p.stat().st_size for p in folder.rglob("*") if p.is_file())
    if not size or size > LIMIT:
        raise SystemExit(
            f"{size / 1e6:.0f} MB would travel, of {LIMIT / 1e6:.0f} at most: fewer "
            f"faces, or MNIST/raw and celeba in {source}."
        )
    print(f"{folder}: {size / 1e6:.0f} MB, {len(chosen)} faces")


def some_of(items, n):
    "n of them, evenly over the list: CelebA's splits follow each other."
    step = max(1, len(items) / n)
    return [items[int(i * step)] for i in range(min(n, len(items)))]


def keep_lines(table, out, chosen):
    "The header of a table, and the lines of the chosen pictures."
    names, kept = {path.name for path in chosen}, []
    for line in table.read_text().splitlines():
        picture = line.split()[0] if line.strip() else ""
        if not picture.endswith(".jpg") or picture in names:
            kept.append(line)
    if kept[0].strip().isdigit():  # the first line counts them
        kept[0] = str(len(chosen))
    out.write_text("\n".join(kept) + "\n")


def unpack(folder=CARRIED):
    "What travelled compressed, beside itself; and the folder becomes that of the data."
    for path in folder.glob("MNIST/raw/*.gz"):
        if not path.with_suffix("").exists():
            path.with_suffix("").write_bytes(gzip.decompress(path.read_bytes()))
    if folder.exists():
        os.environ.setdefault("VAE_NB_DATA", str(folder))


# --- the machine and its time ---


class Part:
    "One part under way: its rows, what it left out, and its time."

    def __init__(self, name, seconds):
        self.name, self.rows, self.left_out = name, [], []
        self.ends = time.perf_counter() + seconds

    def left(self):
        "Seconds that are left."
        return self.ends - time.perf_counter()

    def add(self, **row):
        self.rows.append(row)
        print(f"   {row}", flush=True)

    def leave_out(self, what, why):
        if (line := f"{what} ({why})") not in self.left_out:
            self.left_out.append(line)
            print(f"   left out: {line}", flush=True)

    def has_time(self, seconds, what):
        "Whether so much time is left; if not, that is noted."
        if self.left() < seconds:
            self.leave_out(what, "no time was left")
        return self.left() >= seconds

    def keep(self, title, note=""):
        "Record what there is; on a machine without a GPU only in _build."
        if self.left_out:
            note += f" Not measured: {'; '.join(self.left_out)}."
        name = f"gpu_{self.name}"
        if ON_GPU:
            record.write(name, title, self.rows, note.strip(), benchmark="gpu")
            return
        out = BUILD / "gpu" / f"{name}.json"
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text(json.dumps({"rows": self.rows, "note": note.strip()}, indent=1))


def finished():
    "Wait until the device has done everything."
    if ON_GPU:
        torch.cuda.synchronize()


def timed(call, n):
    "Seconds of a call, by the wall clock: the mean of n that follow each other, after two."
    call(), call(), finished()
    began = time.perf_counter()
    for _ in range(n):
        call()
    finished()
    return (time.perf_counter() - began) / n


# --- the peak ---


def peak(part):
    "The fastest products and convolutions of this card: what steps are compared with."
    import torch.nn.functional as F

    side, batch = (8192, 128) if ON_GPU else (256, 2)
    for name, dtype, tf32 in (
        ("float32", torch.float32, False),
        ("TF32", torch.float32, True),
        ("bfloat16", torch.bfloat16, False),
    ):
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = tf32
        a = torch.randn(side, side, device=DEVICE, dtype=dtype)
        product = timed(lambda: a @ a, 10)
        x = torch.randn(batch, 256, 32, 32, device=DEVICE, dtype=dtype)
        w = torch.randn(256, 256, 3, 3, device=DEVICE, dtype=dtype)
        x, w = (t.to(memory_format=torch.channels_last) for t in (x, w))
        convolution = timed(lambda: F.conv2d(x, w, padding=1), 10)
        part.add(
            precision=name,
            **{
                "matrix products, TFLOP/s": f"{2e-12 * side**3 / product:.3g}",
                "convolutions, TFLOP/s": f"{2e-12 * batch * 1024 * 256**2 * 9 / convolution:.3g}",
            },
        )
    torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = False, True
    part.keep(
        "What this card computes at most",
        f"Products of two {side} × {side} matrices; 3×3 convolutions, 256 → 256 at 32 × 32, batch {batch}, channels_last. Each the mean of ten.",
    )


# --- a training step ---


def networks():
    "Name → (a function that builds the model, the shape of its images, its batches)."
    from vae_nb.conv import conv_vae
    from vae_nb.joint import joint_vae
    from vae_nb.vae import mlp_vae

    mlp = lambda: mlp_vae((1, 28, 28), 20, (400,), activation="relu")
    conv = lambda side: lambda: conv_vae((3, side, side), sigma=1.0)
    joint = lambda: joint_vae((1, 28, 28), 10, (10,), hidden=(400,))
    found = {
        "MLP": (mlp, (1, 28, 28), (128, 512, 4096)),
        "conv 32": (conv(32), (3, 32, 32), (128, 512)),
        "conv 64": (conv(64), (3, 64, 64), (128, 512)),
        "joint": (joint, (1, 28, 28), (512,)),
    }
    if ON_GPU:
        return found
    return {name: (*found[name][:2], (16,)) for name in ("MLP", "conv 32")}


def noise(shape, n):
    "Images of nothing: a step takes as long for them as for others."
    from vae_nb.data import Images

    g = torch.Generator().manual_seed(0)
    return Images(torch.randint(0, 256, (n, *shape), generator=g, dtype=torch.uint8))


def of_fit(build, shape, batch, **options):
    "Seconds of a step of `fit`: of the median epoch but the first two, divided by its steps."
    from vae_nb.core import seed_everything
    from vae_nb.train import fit

    steps, epochs = (40, 8) if ON_GPU else (4, 4)
    seed_everything(0)
    model = build().to(DEVICE)
    history = fit(
        model,
        noise(shape, steps * batch),
        epochs=epochs,
        batch_size=batch,
        lr=1e-4,
        schedule="constant",
        progress=False,
        **options,
    )
    marks = history["seconds"]
    each = [b - a for a, b in zip(marks[1:], marks[2:])]
    return statistics.median(each) / steps


def of_loop(build, shape, batch, part):
    "Seconds of a step of a loop that somebody writes with torch.compile: the same network, its batches on the device already."
    from .beside.nets import network

    net = network(shape).to(DEVICE)
    optimiser = torch.optim.Adam(net.parameters(), 1e-4, fused=True)
    x = torch.rand(batch, *shape, device=DEVICE)
    mode = "reduce-overhead" if ON_GPU else None
    loss = torch.compile(
        net.summed, mode=mode, backend="inductor" if ON_GPU else "eager"
    )

    def step():
        optimiser.zero_grad()
        with torch.autocast(DEVICE.type, torch.bfloat16):
            value = loss(x)
        value.backward()
        optimiser.step()

    for _ in range(3):
        step()
    return timed(step, 100 if ON_GPU else 2)


def of_textbook(build, shape, batch, part):
    "Seconds of a step of the tutorials' loop: a DataLoader over PIL images and ToTensor, plain Adam, the loss read in every step."
    import numpy as np
    from PIL import Image
    from torch.utils.data import DataLoader, Dataset
    from torchvision.transforms import ToTensor

    from .beside.nets import network

    pixels = noise(shape, 12 * batch if ON_GPU else 4 * batch).pixels
    arrays = np.ascontiguousarray(pixels.permute(0, 2, 3, 1).numpy())

    class Pictures(Dataset):
        def __len__(self):
            return len(arrays)

        def __getitem__(self, i):
            return ToTensor()(Image.fromarray(arrays[i].squeeze()))

    net = network(shape).to(DEVICE)
    optimiser = torch.optim.Adam(net.parameters(), 1e-4)
    loader, marks = DataLoader(Pictures(), batch_size=batch, shuffle=True), []
    for x in loader:
        optimiser.zero_grad()
        loss = net.summed(x.to(DEVICE))
        loss.backward()
        optimiser.step()
        loss.item()
        marks.append(time.perf_counter())
        if part.left() < 5 and len(marks) > 3:
            break
    return (marks[-1] - marks[1]) / (len(marks) - 2)


def of_pythae(build, shape, batch, part):
    "Seconds of a step of pythae's trainer: what two more epochs add to one."
    sys.path.insert(0, str(Path(__file__).parent / "beside"))
    try:
        from run_pythae import run
    finally:
        sys.path.pop(0)
    steps = 20 if ON_GPU else 2
    pixels = noise(shape, steps * batch).pixels.numpy()

    def seconds(epochs):
        began = time.perf_counter()
        run(pixels, batch, 1e-4, epochs, [], None, no_cuda=not ON_GPU)
        finished()
        return time.perf_counter() - began

    seconds(1)
    return (seconds(3) - seconds(1)) / (2 * steps)


def operations(build, shape, batch):
    "Multiplications and additions of a step, as PyTorch counts them."
    from torch.utils.flop_counter import FlopCounterMode

    model, x = build(), torch.rand(2, *shape)
    with FlopCounterMode(display=False) as counter:
        model.loss(x)["loss"].backward()
    return counter.get_total_flops() / 2 * batch


def waits(build, shape, batch, **options):
    "How often a step of `fit` waits for the card: what 40 more steps of an epoch add, divided by 40."
    from vae_nb.train import fit

    def count(steps):
        model = build().to(DEVICE)
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            if ON_GPU:
                torch.cuda.set_sync_debug_mode("warn")
            try:
                data = noise(shape, steps * batch)
                fit(model, data, epochs=1, batch_size=batch, progress=False, **options)
            finally:
                if ON_GPU:
                    torch.cuda.set_sync_debug_mode("default")
        return sum("synchronizing" in str(warning.message) for warning in said)

    return (count(90) - count(50)) / 40 if ON_GPU else 0.0


OURS = {  # way → options of fit, and seconds that compiling takes at most
    "fit, float32": (dict(precision="float32"), 2),
    "fit, bfloat16": (dict(precision="bfloat16"), 2),
    "fit, bfloat16, graph": (dict(precision="bfloat16", compile="graph"), 2),
    "fit, bfloat16, torch.compile": (dict(precision="bfloat16", compile=True), 40),
}
OTHERS = {  # way → seconds of a step, seconds that it takes to find out
    "textbook loop": (of_textbook, 6),
    "torch.compile loop": (of_loop, 30),
    "pythae's trainer": (of_pythae, 6),
}
COMPILED = {("MLP", 512), ("conv 64", 128)}  # compiling takes long: here only


def steps(part):
    "Step time and images per second of every network, batch and loop."
    highest = peaks()
    for name, (build, shape, batches) in networks().items():
        for batch in batches:
            ways = {
                way: (lambda options=options: of_fit(build, shape, batch, **options), s)
                for way, (options, s) in OURS.items()
            }
            ways |= {
                way: (lambda f=f: f(build, shape, batch, part), s)
                for way, (f, s) in OTHERS.items()
                if name != "joint"  # nobody else has it
            }
            measure(part, name, batch, ways, operations(build, shape, batch), highest)
    options = dict(precision="bfloat16")
    build, shape, _ = networks()["MLP"]
    some = {
        how: waits(build, shape, 64, compile=how, **options)
        for how in (False, "graph")
        if part.has_time(5, f"waits with compile={how}")
    }
    told = ", ".join(f"{n:g} with compile={how}" for how, n in some.items())
    part.keep(
        "A training step on this card, beside other loops with the same network",
        "Medians of epochs for `fit`, means for the others, by the wall clock, data included; the torch.compile loop has its batch on the card already. "
        "Shares are of this card's own peak in the same precision: matrix products for MLPs, convolutions for the others. "
        f"Waits for the card in a step of `fit`: {told}.",
    )


def peaks():
    "What `peak` has measured before, in this run or an earlier one: precision → TFLOP/s of products, of convolutions."
    path = (record.RESULTS if ON_GPU else BUILD / "gpu") / "gpu_peak.json"
    if not path.exists():
        return {}
    rows = json.loads(path.read_text())["rows"]
    return {
        row["precision"]: [float(v) for v in list(row.values())[1:]] for row in rows
    }


def measure(part, name, batch, ways, flops, highest):
    "The rows of one network and batch."
    for way, (find, seconds) in ways.items():
        compiles = "compile" in way
        if compiles and ON_GPU and (name, batch) not in COMPILED:
            continue
        if way == "fit, bfloat16, torch.compile" and not ON_GPU:
            part.leave_out(way, "compiling for a CPU takes a minute")
            continue
        what = f"{way} for {name} at {batch}"
        if not part.has_time(seconds if ON_GPU else 0, what):
            continue
        try:
            with warnings.catch_warnings(record=True) as said:
                warnings.simplefilter("always")
                found = find()
        except ImportError as error:
            part.leave_out(way, f"{error.name} is not installed")
            continue
        except Exception as error:
            part.leave_out(what, f"{type(error).__name__}: {str(error)[:90]}")
            continue
        refused = [m for w in said if (m := str(w.message)).startswith("compile=")]
        if refused:  # what was timed is something else
            part.leave_out(what, refused[0][:120])
            continue
        precision = "float32" if "float32" in way or "text" in way else "bfloat16"
        share = ""
        if precision in highest and "pythae" not in way:
            rate = flops / found / 1e12 / highest[precision]["conv" in name]
            share = f"{rate:.0%}"
        part.add(
            network=name,
            batch=batch,
            loop=way,
            **{
                "µs a step": f"{1e6 * found:,.0f}",
                "images per second": f"{batch / found:,.0f}",
                "share of the peak": share,
            },
        )


# --- time to a −ELBO ---

TARGETS = {  # −ELBO on validation digits → network, epochs, settings
    100: (dict(hidden=(200, 200)), 10, dict(lr=6e-3)),
    95: (dict(hidden=(300, 300)), 30, dict(lr=6e-3)),
    90: (dict(hidden=(200, 200)), 800, dict(lr=4e-3)),
}


def targets(part):
    "How long it takes to three values of the −ELBO on binarised digits."
    from vae_nb.core import seed_everything
    from vae_nb.data import load
    from vae_nb.evaluate import nll
    from vae_nb.train import fit
    from vae_nb.vae import mlp_vae

    small, wanted = ({}, TARGETS) if ON_GPU else ({"n": 200}, {100: TARGETS[100]})
    get = lambda split: load("mnist", split, fallback="digits", **small)
    train, valid = (get(split).binarised() for split in ("train", "valid"))
    each, how = None, "graph" if ON_GPU else False
    for target, (network, epochs, settings) in wanted.items():
        epochs = epochs if ON_GPU else 1
        if each:  # seconds of an epoch
            epochs = max(1, min(epochs, int((part.left() - 10) / each)))
        if not part.has_time(12 if ON_GPU else 0, f"−ELBO {target}"):
            continue
        seed_everything(0)
        model = mlp_vae((1, 28, 28), latent_dim=50, **network).to(DEVICE)
        history = fit(
            model, train, epochs=epochs, compile=how, progress=False, **settings
        )
        spent = history.last["seconds"]
        each = spent / epochs
        found, error = nll(model, valid, k=1, batch_size=1000)
        part.add(
            **{
                "wanted −ELBO": target,
                "reached": f"{found:.2f} ± {error:.2f}",
                "seconds of training": f"{spent:.1f}",
                "epochs": epochs,
                "network": "-".join(map(str, (784, *network["hidden"], 50))),
            }
        )
    part.keep(
        f"Seconds of training to a −ELBO ({train.name}, dynamically binarised, {len(valid):,} validation digits)",
        "The whole of `fit`, recording its graph included; the schedule ends with the epochs.",
    )


# --- faces ---


def faces(part):
    "A model of 64 × 64 faces, trained for two minutes at most, and its scores."
    from vae_nb.conv import conv_vae
    from vae_nb.core import seed_everything
    from vae_nb.data import load
    from vae_nb.elbo import bits_per_dim
    from vae_nb.train import fit, validate

    small = {} if ON_GPU else {"n": 32}
    get = lambda split: load("celeba", split, fallback="faces", **small)
    train, valid = get("train"), get("valid")
    seed_everything(0)
    width = 64 if ON_GPU else 4
    build = lambda: conv_vae(
        (3, 64, 64), 128, tuple(width * 2**i for i in range(4)), sigma="optimal"
    ).to(DEVICE)
    batch = min(256, len(train))
    options = dict(batch_size=batch, precision="auto", progress=False, lr=1e-3)
    trial = fit(build(), train, epochs=3, **options)
    each = (trial.last["seconds"] - trial.rows[0]["seconds"]) / 2
    epochs = max(2, min(400, int((part.left() - 15) / each))) if ON_GPU else 2
    model = build()
    history = fit(model, train, valid, epochs=epochs, patience=20, **options)
    terms = validate(model, valid)
    best = history.info["kept_epoch"]
    part.add(
        **{
            "set": f"{train.name}, {len(train):,} to train and {len(valid):,} to validate",
            "seconds of training": f"{history.last['seconds']:.0f}",
            "epochs": f"{len(history)}, kept {best}",
            "precision": history.info["precision"],
            "−ELBO, nats": f"{terms['recon'] + terms['kl']:,.0f}",
            "KL, nats": f"{terms['kl']:.0f}",
            "bits per dimension": f"{bits_per_dim(terms['recon'] + terms['kl'], train.shape, 256):.2f}",
            "σ of a pixel": f"{float(model.likelihood.log_sigma.exp().mean()):.4f}",
        }
    )
    part.leave_out("FID", "Inception's weights are a download")
    part.keep(
        "Faces of 64 × 64 in two minutes",
        f"`conv_vae` of width {width} with the best σ, stopped after 20 epochs without progress; scores on validation faces.",
    )


# --- a chapter ---


def chapter(part):
    "One chapter of the book as it is published, executed by papermill."
    try:
        import papermill

        from book.project import profile_parameters
    except ImportError as error:
        part.leave_out(CHAPTER, f"{error.name} is not installed")
        part.keep("A chapter of the book, as it is published")
        return
    profile = "gpu" if ON_GPU else "test"
    began = time.perf_counter()
    os.environ["PYTHONPATH"] = str(ROOT)  # the library of this checkout
    try:
        with tempfile.TemporaryDirectory() as scratch:
            papermill.execute_notebook(
                ROOT / f"nbs/{CHAPTER}.ipynb",
                Path(scratch, "out.ipynb"),
                profile_parameters(profile).get(CHAPTER, {}),
                cwd=scratch,
                kernel_name="python3",
                progress_bar=False,
                execution_timeout=int(max(5, part.left())),  # of a cell
            )
        spent = time.perf_counter() - began
        part.add(chapter=CHAPTER, profile=profile, seconds=f"{spent:.0f}")
    except Exception as error:
        part.leave_out(CHAPTER, f"{type(error).__name__}: {str(error)[:90]}")
    part.keep("A chapter of the book, as it is published")


PARTS = {p.__name__: p for p in (peak, steps, targets, faces, chapter)}


def main():
    unpack()
    wanted = os.environ.get("PARTS", ",".join(SECONDS)).split(",")
    began = time.perf_counter()
    print(
        json.dumps(record.card() or "no GPU: everything is tried, nothing is recorded")
    )
    for name in wanted:
        left = sum(SECONDS.values()) - (time.perf_counter() - began)
        part = Part(name, min(SECONDS[name], left))
        print(f"-- {name}", flush=True)
        try:
            PARTS[name](part)
        except Exception as error:  # the other parts are measured all the same
            part.leave_out("the rest", f"{type(error).__name__}: {str(error)[:200]}")
            part.keep(f"{name}, not finished")
    print(f"{time.perf_counter() - began:.0f} s in all")


if __name__ == "__main__":
    if sys.argv[1:2] != ["pack"]:
        sys.exit("python -m benchmarks.gpu pack [FACES], or python -m benchmarks gpu")
    pack(faces=int(sys.argv[2]) if sys.argv[2:] else 6000)
