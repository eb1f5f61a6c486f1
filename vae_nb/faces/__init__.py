"Faces whose every cause is known, drawn by this library."

from .drawing import draw_faces
from .factors import FACTORS, factor_table, random_factors

__all__ = [
    # what may vary, and at random
    "FACTORS",
    "random_factors",
    # the images, and the truth about them
    "draw_faces",
    "factor_table",
]
