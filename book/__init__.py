"What turns the notebooks into the book."
