"""Helpers that several tests share. Imported as ``tests.support…``, see ``tests/conftest.py``."""
