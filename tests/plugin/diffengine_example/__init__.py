"""A package of somebody else: one policy, family, metric, estimator and panel for diffengine.

tests/test_plugins.py installs it, docs/extending.md walks through it.
"""
