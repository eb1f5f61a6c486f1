"Interactive explorers that live in Jupyter, in Colab and on a page without a kernel."

from ..core import moved
from .bounds import BoundExplorer
from .ideas import SCENES, ElboExplorer, TemperatureExplorer, elbo_parts
from .lab import Lab
from .latents import Interpolator, LatentExplorer
from .layers import NotInBrowser
from .network import to_onnx
from .priors import PriorExplorer
from .reconstructions import BetaExplorer, ReconstructionExplorer
from .styles import StyleExplorer
from .widgets import NetworkExplorer

__all__ = [
    # explore an idea: no model is needed
    "ElboExplorer",
    "BoundExplorer",
    "TemperatureExplorer",
    "SCENES",
    "elbo_parts",
    # explore a trained model
    "LatentExplorer",
    "Interpolator",
    "ReconstructionExplorer",
    "BetaExplorer",
    "PriorExplorer",
    "StyleExplorer",
    # train one in the page
    "Lab",
    # for other programs
    "to_onnx",
]

__getattr__ = moved(
    __name__,
    asset="explore.widgets.asset",
    latent_order="explore.latents.latent_order",
)
