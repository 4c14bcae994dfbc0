"""Benchmarks of fusedops beside the frameworks' own operators; bench/run.py is the command."""
