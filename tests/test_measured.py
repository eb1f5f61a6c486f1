"What the prose of the page Measured, of README and of chapters 03 and 04 says of recorded tables, checked against the records."

import json
import re

import pytest

from benchmarks import iwae, labels, priors, record
from book import published
from book.measured import WIDEST, keys_of, parts_of
from book.project import ROOT

RESULTS = ROOT / "benchmarks/results"
README = (ROOT / "README.md").read_text()


def rows(name):
    "The rows of a recorded table."
    return json.loads((RESULTS / f"{name}.json").read_text())["rows"]


def numbers(text):
    "The numbers in a cell: '1,210' → [1210.0]; '95.1 ± 0.7' → [95.1, 0.7]."
    found = re.findall(r"-?\d[\d,]*\.?\d*", str(text))
    return [float(n.replace(",", "")) for n in found]


def column(name, key):
    "The first number of one column, row by row."
    return [numbers(row[key])[0] for row in rows(name)]


def test_three_seeds_that_agreed_and_three_that_did_not():
    agreed = numbers(rows("joint_mnist")[2]["each seed"])
    assert max(agreed) - min(agreed) < 2
    mean, spread = numbers(rows("joint_elsewhere")[0]["the recipe, %"])
    # of three values 80, 88 and 95, which the table has no column for
    assert abs(mean - (80 + 88 + 95) / 3) < 0.5 and 7 < spread < 8


def test_elsewhere_the_recipe_is_no_better_than_k_means():
    for row in rows("joint_elsewhere")[1:]:
        ours, _ = numbers(row["the recipe, %"])
        theirs, error = numbers(row["k-means on pixels, %"])
        assert ours < theirs + 1


def test_capacities_alone_sort_fewer_than_half_of_the_digits_on_average():
    capacity, balanced, both, _ = column("joint_mnist", "accuracy, mean ± s.d., %")
    assert capacity < 50 and balanced < 50 and both > 90


def test_no_run_of_five_took_a_single_cause_and_hair_style_comes_nearest_in_four():
    row = rows("joint_faces")[0]
    key = next(key for key in row if "best matched" in key)
    assert row["at least 95 %"] == "0 of 5" and row[key].count("hair_style") == 4


def test_what_a_decoder_that_sees_neighbours_does_to_the_kl():
    kl = dict(
        zip(
            [r["model"] for r in rows("conv_collapse")],
            column("conv_collapse", "KL, nats"),
        )
    )
    widths = [kl[f"decoder {c}"] for c in ("8-16-32", "16-32-64", "32-64-128")]
    assert widths == sorted(widths), "a wider decoder does not lower the KL"
    assert kl["sees 1 pixel back"] < kl["decoder 16-32-64"] / 2
    assert abs(kl["sees 4, warm-up"] / kl["sees 4 pixels back"] - 1) < 0.05


def test_residual_blocks_make_fewer_epochs_in_the_same_time():
    plain, deep, _, fixed, *_ = rows("conv_faces")
    assert deep["epochs"] < plain["epochs"] and fixed["bits/dim"] > "8"
    assert numbers(deep["bits/dim"]) > numbers(plain["bits/dim"])


def test_what_each_choice_gains():
    gain = {row["choice"]: row for row in rows("choices")}
    value = lambda choice, net: numbers(gain[choice][net])[0]
    nets = ("MLP", "conv 32", "conv 64")
    assert all(value("bfloat16", net) > 1.2 for net in nets)
    assert value("torch.compile", "MLP") < 1 < value("torch.compile", "conv 32")
    assert value("batch 512", "MLP") > value("batch 256", "MLP") > 1.1
    assert value("batch 512", "conv 64") < 1
    assert all(abs(value("loss read every 50 steps", net) - 1) < 0.05 for net in nets)


def test_fit_keeps_its_budget_within_six_per_cent_and_costs_grow_no_faster_than_the_work():
    for row in rows("curves"):
        for cell in list(row.values())[1:]:
            _, used = numbers(cell)
            assert (
                min(used / budget for budget in (20, 60, 300) if used / budget > 0.9)
                <= 1.06
            )
    assert max(float(list(row.values())[-1]) for row in rows("scaling")) <= 1


def test_a_new_seed_moves_an_edit_by_seven_points():
    for row in rows("edits_seeds"):
        flips = numbers(row["flips in each training, %"])
        assert 6.5 < max(flips) - min(flips) < 7.5
        (half,) = numbers(row["half of the 95 % interval over images, points"])
        assert numbers(row["s.d. over trainings, points"])[0] >= half


def test_the_lab_takes_the_same_steps_everywhere_and_its_memory_stays_level():
    assert len(rows("lab_engines")) == 3
    for name in list(rows("lab_engines")[0])[-2:]:
        assert max(column("lab_engines", name)) < 1e-3
    for name in list(rows("lab_memory")[0])[-2:]:
        held = column("lab_memory", name)
        assert held[-1] < 1.05 * held[0], name


def test_five_samples_beat_the_published_iwae_with_five_in_fewer_epochs():
    five = lambda row: (row["objective"], row["CPU-min"]) == ("IWAE, k = 5", 40)
    row = next(filter(five, rows("iwae")))
    nll, elbo = numbers(row["NLL"])[0], numbers(row["−ELBO"])[0]
    assert nll < 84.78 and 5 < elbo - nll < 6 and row["epochs"] == 380
    grown = [row for row in rows("iwae") if row["CPU-min"] == 60]
    mean = sum(numbers(row["NLL"])[0] for row in grown) / len(grown)
    assert len(grown) == 3 and f"[{mean:.1f} nats]" in README
    assert "papers report 84.78" in README
    for row in grown:
        assert 0.4 < nll - numbers(row["NLL"])[0] < 0.6
        assert numbers(row["−ELBO"])[0] - numbers(row["NLL"])[0] > 5
    for row in rows("iwae"):
        assert row["test digits over 1,000 nats"].startswith("0 ")


def test_a_vae_of_the_same_time_ends_higher_and_one_altered_digit_costs_it_much():
    vae = {row["CPU-min"]: row for row in rows("iwae") if row["objective"] == "VAE"}
    iwae = [row for row in rows("iwae") if row["objective"] != "VAE"]
    [five] = [r for r in iwae if (r["objective"], r["CPU-min"]) == ("IWAE, k = 5", 40)]
    nll = lambda row: numbers(row["NLL"])[0]
    assert round(nll(vae[40]) - nll(five), 1) == 0.9 and vae[40]["epochs"] == 834
    assert all(numbers(r["−ELBO"])[0] - nll(r) < 4 for r in vae.values())
    short = {r["objective"]: r for r in rows("iwae") if r["CPU-min"] == 10}
    ends = {name: nll(row) for name, row in short.items()}
    assert (
        abs(ends["IWAE, k = 5"] - ends["VAE"]) < 0.05 and short["VAE"]["epochs"] == 215
    )
    assert short["IWAE, k = 5"]["epochs"] == 84
    assert ends["IWAE, k 1, 5, 20, 50"] < ends["VAE"] - 0.5
    assert vae[40]["moved digits over 1,000 nats"].startswith("1 ")
    for row in [vae[10], *iwae]:
        assert row["moved digits over 1,000 nats"].startswith("0 ")


def test_a_vampprior_and_a_flow_reach_what_re_runs_report_in_more_time_than_planned():
    found = {row["prior"]: row for row in rows("priors")}
    for name in ("vampprior", "flow"):
        assert found[name]["NLL, k = 5,000"] < 82.43
        assert found[name]["training, CPU-min"] > found[name]["budget, CPU-min"] == 60
    vamp, flow = (found[name]["NLL, k = 5,000"] for name in ("vampprior", "flow"))
    assert abs(vamp - flow) < 0.05
    plain = found["standard"]
    assert round(plain["NLL, k = 5,000"] - max(vamp, flow), 1) == 1.7
    assert round(84.45 - plain["NLL, k = 5,000"], 1) == 0.5
    assert plain["training, CPU-min"] < 60
    assert all(
        1.32 < plain["epochs"] / found[n]["epochs"] < 1.36
        for n in ("vampprior", "flow")
    )
    five = found["flow, trained with k = 5"]
    assert (
        round(flow - five["NLL, k = 5,000"], 1) == 0.9
        and five["NLL, k = 5,000"] < 82.09
    )
    assert abs(five["epochs"] / found["flow"]["epochs"] - 0.5) < 0.01
    longest = max(row["training, CPU-min"] for row in found.values())
    assert 1.2 < longest / 60 < 1.25
    said = f"{five['NLL, k = 5,000']:.1f} with a flow as prior"
    assert said in README and f"{five['training, CPU-min']:.0f} minutes" in README


def test_no_chapter_takes_five_minutes():
    chapters = [r for r in rows("book") if not r["notebook"].startswith("lib/")]
    assert max(numbers(row["run, s"])[0] for row in chapters) < 300


def test_wide_tables_are_shown_as_several_and_nothing_is_lost():
    for path in RESULTS.glob("*.json"):
        of = rows(path.stem)
        parts, columns = parts_of(of), list(dict.fromkeys(c for row in of for c in row))
        assert max(map(len, parts)) <= WIDEST, path.stem
        assert {c for part in parts for c in part} == set(columns)
        keys = keys_of(of, columns) if len(parts) > 1 else []
        assert all(part[: len(keys)] == keys for part in parts)


def test_the_first_columns_tell_the_edits_apart():
    edits = rows("edits")
    assert parts_of(edits)[1][:3] == ["set", "direction", "strength"]
    assert len({(r["set"], r["direction"], r["strength"]) for r in edits}) >= 25


# --- published numbers, reproduced ---

ENTRIES = [entry for group in published.groups() for entry in group["rows"]]


def test_published_rows_name_the_command_that_makes_them():
    assert len(ENTRIES) >= 12
    for entry in ENTRIES:
        source = entry["ours"]["from"]
        assert entry["command"].endswith(f"make bench NAME={source}")
        assert source in record.names()


def test_published_rows_ask_for_runs_that_their_benchmarks_make():
    of_iwae = {(iwae.NAMES[kind], minutes) for kind, minutes, _ in iwae.ROWS.values()}
    for entry in ENTRIES:
        ours, where = entry["ours"], entry["ours"]["where"]
        if ours["from"] == "iwae":
            assert (where["objective"], where["CPU-min"]) in of_iwae
            [name] = re.findall("ROWS=(\\w+)", entry["command"])
            kind, minutes, _ = iwae.ROWS[name]
            assert (iwae.NAMES[kind], minutes) == tuple(where.values())
        elif ours["from"] == "priors":
            assert where["prior"] in priors.PRIORS.values()
            assert where["budget, CPU-min"] == 60
        elif ours["from"] == "labels":
            assert where["method"] in labels.NAMES.values()
            assert where["labels"] in labels.SIZES
        else:
            assert published.found(ours), f"no row of {ours['from']} fits {where}"


def test_a_finished_benchmark_appears_by_itself(monkeypatch, tmp_path):
    monkeypatch.setattr(published, "RESULTS", tmp_path)
    entry = next(e for e in ENTRIES if e["command"].startswith("ROWS=best60"))
    before = published.row(entry)
    assert before["ours"] == "not run yet" and before["ours − paper"] == ""
    seeds = [entry["ours"]["where"] | {"NLL": f"84.{n}0 ± 0.23"} for n in (3, 4, 5)]
    (tmp_path / "iwae.json").write_text(json.dumps({"rows": seeds}))
    after = published.row(entry)
    assert (
        after["ours"] == "84.40 ± 0.10 (3 seeds)" and after["ours − paper"] == "−0.38"
    )
    assert after["cost of ours"] == "60 CPU-minutes a seed"
    (tmp_path / "iwae.json").write_text(json.dumps({"rows": [{"NLL": "84"}]}))
    with pytest.raises(SystemExit, match="asks iwae.json for CPU-min, objective"):
        published.row(entry)


def test_what_is_quoted_from_memory_says_so():
    unchecked = [e for e in ENTRIES if not e.get("checked", True)]
    assert unchecked
    for entry in unchecked:
        assert published.row(entry)["paper"].endswith("reported, not checked")
