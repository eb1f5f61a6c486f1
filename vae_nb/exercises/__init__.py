"The checks behind the exercises: random inputs, the right answer, the usual mistakes."

from . import basics, bounds, labels, latents, models  # noqa: F401: they fill EXERCISES
from .checks import EXERCISES, Exercise, WrongAnswer, check, verdict

__all__ = [
    "check",
]
