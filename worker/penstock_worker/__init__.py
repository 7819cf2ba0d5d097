"""The worker daemon and the operator's command line of Penstock.

It imports ``penstock``, never the reverse.
"""
