"`python -m vae_nb` is the command `vae_nb`."
from .cli import main

main()
