"Faces whose every cause is known, drawn by this library."

# in the order in which the modules import each other
from .factors import FACTORS, factor_table, random_factors
from . import canvas, head, hair
from .drawing import draw_faces

__all__ = [
    # what may vary, and at random
    "FACTORS",
    "random_factors",
    # the images, and the truth about them
    "draw_faces",
    "factor_table",
]
