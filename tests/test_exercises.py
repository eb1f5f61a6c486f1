"The exercises: a blank is only told that it is one, the chapters' own solutions pass, and usual mistakes are named."

import ast
import re

import pytest
import torch

from book.project import notebooks, read_notebook, source, tags
from vae_nb.exercises import check
from vae_nb.exercises.checks import (
    BLANK,
    EXERCISES,
    Exercise,
    WrongAnswer,
    verdict,
)

CHAPTERS = [name for name in notebooks() if re.match(r"0[1-9]", name)]


def answers(name):
    "What a chapter's cells define under `check`: (exercise, whether it is a solution, the function's text)."
    for cell in read_notebook(notebooks()[name])["cells"]:
        if cell["cell_type"] == "code" and "@check(" in source(cell):
            (function,) = [
                node
                for node in ast.parse(source(cell)).body
                if isinstance(node, ast.FunctionDef) and node.decorator_list
            ]
            exercise = function.decorator_list.pop().args[0].value
            yield exercise, "solution" in tags(cell), ast.unparse(function)


FOUND = {name: list(answers(name)) for name in CHAPTERS}
SOLUTIONS = {
    exercise: text
    for found in FOUND.values()
    for exercise, solved, text in found
    if solved
}
BLANKS = {
    exercise: text
    for found in FOUND.values()
    for exercise, solved, text in found
    if not solved
}


def function(text):
    "The function that a text defines, with the names that all chapters import."
    from vae_nb.latent import interpolate

    names = {
        "torch": torch,
        "math": __import__("math"),
        "F": torch.nn.functional,
        "interpolate": interpolate,
    }
    exec(text, names)
    return names[ast.parse(text).body[-1].name]


def chapter(name):
    "The chapter of a page: 02_… and 02a_… are one, 02b_… is another."
    return re.match(r"\d\d[b-z]?", name)[0]


PAGES = {c: [n for n in CHAPTERS if chapter(n) == c] for c in map(chapter, CHAPTERS)}


def texts(name):
    "The Markdown cells of a page."
    cells = read_notebook(notebooks()[name])["cells"]
    return [source(cell) for cell in cells if cell["cell_type"] == "markdown"]


@pytest.mark.parametrize("name", CHAPTERS)
def test_every_check_has_a_blank_and_then_its_solution(name):
    order = [(exercise, solved) for exercise, solved, _ in FOUND[name]]
    assert order[1::2] == [(exercise, True) for exercise, _ in order[::2]]
    assert not any(solved for _, solved in order[::2])


@pytest.mark.parametrize("of", PAGES)
def test_a_chapter_has_five_exercises_of_three_grades(of):
    grades = []
    for name in PAGES[of]:
        found = re.findall(
            r"^\*\*(\d+) · (Check|Extend|Explore)\.\*\*", "\n".join(texts(name)), re.M
        )
        assert [int(n) for n, _ in found] == list(range(1, len(found) + 1)), name
        grades += [grade for _, grade in found]
    assert len(grades) >= 5 and set(grades) == {"Check", "Extend", "Explore"}
    checked = sum(solved for name in PAGES[of] for _, solved, _ in FOUND[name])
    assert checked >= 3, "three of them are checked by code"


def predictions(name):
    "The questions of a page to be answered before the figure: (question, answers, explanations)."
    for text in texts(name):
        if "**Predict first.**" in text:
            question, _, rest = text.partition("**Predict first.**")[2].partition(
                "\n- "
            )
            given, _, fold = rest.partition("<details>")
            answers = re.split(r"\n- ", given.strip())
            yield (
                question,
                answers,
                re.split(r"\n- ", fold.partition("</details>")[0])[1:],
            )


@pytest.mark.parametrize("of", PAGES)
def test_a_chapter_asks_for_predictions_and_explains_every_answer(of):
    asked = [(name, *found) for name in PAGES[of] for found in predictions(name)]
    assert 5 <= len(asked) <= 8 * len(PAGES[of])
    for name, question, answers, reasons in asked:
        where = f"{name}: {question.strip()[:60]}"
        assert 2 <= len(answers) == len(reasons) <= 4, where
        starts = [re.match(r"\*\*(Right|No)\.\*\* \S", reason) for reason in reasons]
        assert all(starts) and [m[1] for m in starts].count("Right") == 1, where
        assert min(len(reason.split()) for reason in reasons) >= 6, where
        # "3." alone begins a list of its own, and its button has no words
        assert not [a for a in answers if re.fullmatch(r"\d+[.)]", a.strip())], where


def test_every_check_belongs_to_one_chapter():
    used = [
        exercise for found in FOUND.values() for exercise, solved, _ in found if solved
    ]
    assert sorted(used) == sorted(EXERCISES)


@pytest.mark.parametrize("exercise", EXERCISES)
def test_blank_fails_and_solution_passes(exercise, capsys):
    assert verdict(exercise, function(BLANKS[exercise])) == BLANK
    check(exercise)(function(BLANKS[exercise]))  # a build must not stop at a blank
    assert "nothing here yet" in capsys.readouterr().out
    assert verdict(exercise, function(SOLUTIONS[exercise])) == ""
    check(exercise)(function(SOLUTIONS[exercise]))
    assert capsys.readouterr().out == f"✓ {exercise}: right.\n"


@pytest.mark.parametrize("exercise", EXERCISES)
def test_no_two_mistakes_look_alike(exercise):
    for mistake, wrong in EXERCISES[exercise].mistakes.items():
        assert verdict(exercise, wrong).startswith(f"{mistake}: ")


# exercise → a part of the chapter's solution, what a reader may write in its place, what the verdict says
SLIPS = {
    "which beta": ("2 * a", "a", "½"),
    "price of a code": (".sum(-1)", ".mean(-1)", "averaged over latents"),
    "baseline": ("f - f.mean()", "f", "nothing is subtracted"),
    "a true draw": ("(u < logits.sigmoid())", "logits.sigmoid()", "this is the mean"),
    "the latents that speak": ("descending=True", "descending=False", "smallest KL"),
    "draws of one kind": (").T", ")", "wrong side"),
    "repair a loss": ("0.5 * logvar", "logvar", "serves as σ: yours"),
    "noise for n latents": ("0.25", "0.5", "this is a variance"),
    "an empty code": ("2 * floor", "floor", "½ is missing"),
    "what collapse costs": (".clamp(min=1)", "", "below σ² is not encoded"),
    "nats not counted": (".sum(-1)", ".mean(-1)", "averaged over latents"),
    "two sigmoids": ("0.5, ", "0.0, ", "below one half"),
    "the best noise": (".sqrt()", "", "this is σ²"),
    "worth telling": ("math.log(places)", "math.log2(places)", "bits"),
    "the price of cold": (
        "1 / t ** 2 - 1 + 2",
        "t ** 2 - 1 - 2",
        "scored by the narrow prior",
    ),
    "the exact slope": (" - (p * f).sum()", "", "nothing is subtracted"),
    "firm draws": ("- tau", "+ tau", "sign of the threshold"),
    "agreement": (".log()).sum()", ".log2()).sum()", "bits"),
    "what is told": (
        "entropy(q.mean(0)) - entropy(q).mean()",
        "entropy(q.mean(0))",
        "a coin toss has it too",
    ),
    "by way of": ("leg[1:]", "leg", "comes twice"),
    "directions at random": ("dim=1, keepdim=True", "", "one number"),
    "a ring": ("-2 *", "-1 *", "factor 2"),
    "everybody to one place": (
        "target - d.read(z)",
        "d.read(z) - target",
        "target minus start",
    ),
    "only the change": (".clamp(0, 1)", "", "leave [0, 1]"),
    "unmixed": (" / (1 - m * m_too)", "", "not divided by"),
    "noise for a nat": ("1 - math.exp(-nats)", "math.exp(-nats)", "the VAE keeps"),
    "the floor": ("2 * ", "", "both means"),
    "samples that count": (").exp()", ")", "this is the logarithm"),
    "the spread of all codes": (".exp()", "", "logarithm of a variance"),
    "longer means": ("-(mu", "(mu", "the sign is turned"),
    "the error of a ratio": (" / len(rest) ** 0.5", "", "√n times smaller"),
    "the gap ahead": ("2 * k", "k", "the ½ is missing"),
    "a louder signal": ("n ** 0.5", "n", "noise falls like 1/√n"),
    "leave one out": ("math.log(k - 1)", "math.log(k)", "a sum of k − 1"),
    "all posteriors together": (" - math.log(log_q.shape[1])", "", "their mean"),
    "who drew it": ("logits - ", "-", "weights of the components"),
    "scaled and shifted": (" - s.sum()", "", "is left out"),
    "enough images": ("** 2", "** 1", "takes four times"),
    "as far as the prior goes": (".min()", ".max()", "take the smallest"),
    "the same images": ("** 0.5", "** 0", "spread over images"),
    "told by a bias": ("V[:, k]", "V[k]", "its column k"),
    "which class drew it": (" + frequency.log()", "", "frequencies are left out"),
    "the class summed out": (" - q.log()", "", "entropy of q(y|x) is missing"),
}


@pytest.mark.parametrize("exercise", EXERCISES)
def test_a_slip_is_named_with_its_figures(exercise):
    old, new, said = SLIPS[exercise]
    text = SOLUTIONS[exercise]
    assert old in text, text
    with pytest.raises(WrongAnswer, match=re.escape(said)) as error:
        check(exercise)(function(text.replace(old, new)))
    assert str(error.value).startswith(f"{exercise}: ") and re.search(
        "yours (is|has)", str(error.value)
    )
    assert error.value._render_traceback_() == [f"✗ {error.value}"]


@pytest.mark.parametrize(
    "exercise, old, new",
    [
        ("the gap ahead", ".var(0)", ".var(0, correction=0)"),
        ("a louder signal", ".std(0)", ".std(0, correction=0)"),
        ("draws of one kind", "z.T.cov()", "z.T.cov(correction=0)"),
    ],
)
def test_either_variance_will_do(exercise, old, new):
    text = SOLUTIONS[exercise]
    assert old in text
    check(exercise)(function(text.replace(old, new)))


@pytest.mark.parametrize("kept, wrong", [("m:", ""), ("m - 1 :", "yours")])
def test_an_answer_may_change_its_arguments(kept, wrong):
    text = f"""def keep(z, kl, m):
        z[:, kl.argsort(descending=True)[{kept}]] = 0
        return z
    """
    said = verdict("the latents that speak", function(text))
    assert wrong in said and bool(wrong) == bool(said), said


def test_two_faults_left_in_the_patient_are_both_named():
    text = (
        SOLUTIONS["repair a loss"]
        .replace(".sum(-1).mean()", ".mean()")
        .replace("decode(z), x", "decode(z).sigmoid(), x")
    )
    assert "applied twice and the KL is averaged" in verdict(
        "repair a loss", function(text)
    )


def test_unknown_mistakes_are_told_by_their_numbers_or_shapes():
    assert re.fullmatch(
        r"yours is 0, where [\d.]+ is right\.",
        verdict("price of a code", lambda *a: torch.zeros(6)),
    )
    assert (
        verdict("price of a code", lambda *a: 1.0)
        == "yours has the shape (), where (6,) is asked for."
    )
    assert "nan" in verdict("price of a code", lambda *a: torch.full((6,), torch.nan))
    assert verdict("price of a code", lambda *a: "six").startswith("yours is a str;")
    with pytest.raises(ValueError, match="price of a code"):
        check("price of code")(lambda: None)


SHAPES = {  # what an answer does with x (6, 5), w (6,) and n → what is said of it
    "x * w": "in dimension 1 one has size 5 and the other 6",
    "x @ w": "do not fit|two inner sizes",
    "x @ x": r"a matrix product of \(6, 5\) and \(6, 5\)",
    "w.sum(1)": "there is no dimension 1",
    "torch.cat([x, w])": "shapes do not fit|do not go together",
    "torch.cat([x, x.T], 1)": "do not go together: one has size 6 where the other has 5",
    "x.view(7, 5)": r"30 numbers cannot take the shape \(7, 5\)",
    "w[6]": "shapes do not fit .index 6 is out of bounds",
    "w if w > 0 else x": "several numbers stands where one number",
    "math.log(w)": "several numbers stands where one number",
    "x.numpy() + w.numpy()": "shapes do not fit",
}


@pytest.mark.parametrize("code", SHAPES)
def test_shapes_that_do_not_fit_are_told_in_words(code, monkeypatch):
    given = torch.ones(6, 5), torch.ones(6)
    exercise = Exercise(lambda g: given, lambda x, w: x.sum(1) * w, {})
    monkeypatch.setitem(EXERCISES, "shapes", exercise)
    said = verdict("shapes", function(f"def answer(x, w):\n    return {code}"))
    assert re.search(SHAPES[code], said), said
    assert said.endswith(" Given are x (6, 5), w (6,).")


def test_a_broadcast_result_is_told_as_one(monkeypatch):
    given = torch.arange(6.0), torch.ones(6, 1)
    exercise = Exercise(lambda g: given, lambda x, w: x + w[:, 0], {})
    monkeypatch.setitem(EXERCISES, "broadcast", exercise)
    said = verdict("broadcast", lambda x, w: x + w)
    assert "(6, 6), where (6,) is asked for; a row and a column were broadcast" in said


@pytest.mark.parametrize("exercise", EXERCISES)
def test_every_check_tells_a_shape_error_without_a_traceback(exercise):
    def wrong(*given):
        return torch.zeros(3, 4) + torch.zeros(3)

    said = verdict(exercise, wrong)
    line = "in `return torch.zeros(3, 4) + torch.zeros(3)` two tensors"
    assert said.startswith(f"{line} do not go together")
    with pytest.raises(WrongAnswer) as error:
        check(exercise)(wrong)
    assert error.value.__cause__ is None and error.value.__context__ is None
    assert error.value._render_traceback_() == [f"✗ {exercise}: {said}"]


def test_errors_about_other_things_stay_as_they_are():
    def wrong(*given):
        raise ValueError("this is about something else")

    with pytest.raises(ValueError, match="something else"):
        verdict("price of a code", wrong)


def test_a_notebook_shows_the_sentence_and_no_traceback():
    from IPython.core.interactiveshell import InteractiveShell
    from IPython.utils.capture import capture_output

    shell = InteractiveShell.instance()
    with capture_output() as shown:
        shell.run_cell(
            "from vae_nb.exercises import check\n@check('a ring')\ndef ring(share):\n    return share"
        )
    InteractiveShell.clear_instance()
    assert "✗ a ring: yours is" in shown.stdout and "Traceback" not in shown.stdout
