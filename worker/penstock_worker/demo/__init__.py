"""`penstock demo`: a whole Penstock on one machine, on servers it starts and stops itself.

Needs the ``demo`` extra. `servers` also serves the tests.
"""
