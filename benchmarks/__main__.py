"""`python -m benchmarks [NAME]`: run one benchmark, or all; write results/NAME.json and the tables of the README."""

import importlib
import sys

from book.measured import RESULTS

from .record import names, write_tables


def main():
    wanted = sys.argv[1:] or names()
    unknown = set(wanted) - set(names())
    if unknown:
        sys.exit(
            f"no benchmark named {', '.join(sorted(unknown))}; there are {', '.join(names())}"
        )
    refused = {}
    for name in wanted:
        print(f"== {name}", flush=True)
        try:
            importlib.import_module(f"benchmarks.{name}").main()
        except SystemExit as reason:  # a browser that is not here, say: the others are measured all the same
            refused[name] = reason
            print(f"not measured: {reason}", flush=True)
    write_tables()
    print(f"results: {RESULTS}; tables: README.md")
    if refused:
        sys.exit(
            "Not measured: "
            + "; ".join(f"{name} ({reason})" for name, reason in refused.items())
        )


if __name__ == "__main__":
    main()
