"""Quantities with a value for each problem and step."""
