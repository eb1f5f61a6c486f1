"The command `vae_nb`: train, look, edit, evaluate, resume and export, from a shell."

from . import training, drawing, reporting  # each adds its commands, in this order
from .answer import app, command, main

__all__ = [
    "main",
]
