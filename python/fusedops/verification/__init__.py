"""How results are judged: one list of cases for every backend, the operators in float64, and the rule for errors.

The tests run all of it; fusedops.selftest() runs a part on the user's machine.
"""
