"""Measurements, one module each, run by `make bench NAME=module`. Results land in benchmarks/results/NAME.json."""
