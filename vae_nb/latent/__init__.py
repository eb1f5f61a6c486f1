"Ways through latent space, directions with a name, edits along them, and their scores."

from ..core import moved
from .directions import (
    Direction,
    attribute_direction,
    attribute_values,
    edit,
    edit_images,
)
from .scores import (
    AttributeClassifier,
    attribute_classifier,
    decisions,
    flippable,
    judge_table,
    score_edits,
)
from .walks import interpolate, manifold, traverse, traverse_classes

__all__ = [
    # walk: latents in, latents out
    "interpolate",
    "traverse",
    "traverse_classes",
    "manifold",
    # find a direction and edit along it
    "Direction",
    "attribute_direction",
    "attribute_values",
    "edit",
    "edit_images",
    # judge edits
    "attribute_classifier",
    "judge_table",
    "score_edits",
    "decisions",
    "flippable",
]

__getattr__ = moved(
    __name__,
    photograph="data.photograph",
    continuous_dims="latent.directions.continuous_dims",
    slope="latent.directions.slope",
)
