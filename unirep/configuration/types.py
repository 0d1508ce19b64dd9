"""Kinds of values, and the numbers that many keys share.

A section is a mapping of its keys; `ANY` stands for keys that users name, and
`OTHERS` for what a registry may have been given beside what is here.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple


class Number(NamedTuple):
  """A finite number from `low` to `high`.

  Attributes:
    low: the least.
    high: the largest.
    whole: no fraction, and no float.
    above: without `low` itself.
    below: without `high` itself.
  """

  low: float
  high: float
  whole: bool = False
  above: bool = False
  below: bool = False


class Many(NamedTuple):
  """A tuple of values of one kind."""

  each: Any


class Maybe(NamedTuple):
  """A key that may be missing."""

  kind: Any


ANY, OTHERS = "*", "**"
LONGEST_TEXT = 4096  # characters, as of a path
MOST = 10_000  # values in a tuple
Section = Mapping[str, Any]

INT = 2**31 - 1
COUNT, NATURAL = Number(1, INT, whole=True), Number(0, INT, whole=True)
SEED = Number(0, 2**32 - 1, whole=True)
WIDTH, LAYERS = Number(1, 2**16, whole=True), Number(1, 1000, whole=True)
FEW, CODES = Number(1, 10_000, whole=True), Number(1, 2**22, whole=True)
BATCH, WORKERS = Number(1, 2**20, whole=True), Number(0, 1000, whole=True)
SHARE, PART = Number(0, 1), Number(0, 1, below=True)
INSIDE, UPPER = Number(0, 1, above=True, below=True), Number(0, 1, above=True)
POSITIVE, SIZE = Number(0, 1e9, above=True), Number(0, 1e9)
RATE, WEIGHT = Number(0, 1e4, above=True), Number(0, 1e6)
SECONDS = Number(0, 1e6, above=True)  # what systems can wait
NAMES, COUNTS = Many(str), Many(COUNT)
