"""`python -m benchmarks [NAME]`: run one benchmark, or all; write results/NAME.json and the tables of the README."""
import importlib
import sys

from .record import RESULTS, names, write_tables


def main():
    wanted = sys.argv[1:] or names()
    unknown = set(wanted) - set(names())
    if unknown:
        sys.exit(f"no benchmark named {', '.join(sorted(unknown))}; there are {', '.join(names())}")
    for name in wanted:
        print(f"== {name}", flush=True)
        importlib.import_module(f"benchmarks.{name}").main()
    write_tables()
    print(f"results: {RESULTS}; tables: README.md")


if __name__ == "__main__":
    main()
