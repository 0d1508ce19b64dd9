"""Files that are broken at random: the same ones for the same numbers."""

import re

import numpy as np

NUMBERS = (
  *(0, 1, 2, 7, 2**7, 2**15, 2**16 - 1, 2**31 - 1, 2**31, 2**32 - 1),
  *(2**40, 2**44, 2**62, 2**63 - 1, 2**63, 2**64 - 1),
)
EDGE = 300  # bytes at the ends, where headers are


def mutated(data, *key):
  """A copy of `data` that one to three changes were made to."""
  rng = np.random.default_rng(key)
  for _ in range(rng.integers(1, 4)):
    data = KINDS[rng.integers(len(KINDS))](rng, data)
  return data


def place(rng, data):
  """Often where headers are."""
  size = max(len(data), 1)
  where = rng.integers(4)
  if where == 0:
    return int(rng.integers(min(EDGE, size)))
  if where == 1:
    return size - 1 - int(rng.integers(min(EDGE, size)))
  return int(rng.integers(size))


def flip(rng, data):
  at = place(rng, data)
  bit = bytes([data[at] ^ (1 << int(rng.integers(8)))]) if data else b""
  return data[:at] + bit + data[at + 1 :]


def overwrite(rng, data):
  at = place(rng, data)
  new = rng.bytes(int(rng.integers(1, 9)))
  return data[:at] + new + data[at + len(new) :]


def insert(rng, data):
  at = place(rng, data)
  return data[:at] + rng.bytes(int(rng.integers(1, 40))) + data[at:]


def delete(rng, data):
  at = place(rng, data)
  return data[:at] + data[at + int(rng.integers(1, 40)) :]


def truncate(rng, data):
  return data[: place(rng, data)]


def splice(rng, data):
  source, at = place(rng, data), place(rng, data)
  part = data[source : source + int(rng.integers(1, 200))]
  over = int(rng.integers(2)) * len(part)
  return data[:at] + part + data[at + over :]


def number(rng, data):
  """A number of a header becomes another one."""
  at, size = place(rng, data), int(rng.choice([1, 2, 4, 8]))
  value = NUMBERS[rng.integers(len(NUMBERS))] % 256**size
  new = value.to_bytes(size, "little" if rng.integers(4) else "big")
  return data[:at] + new + data[at + size :]


def digits(rng, data):
  """A number of a text becomes another one."""
  found = [*re.finditer(rb"\d+", data[:4096])]
  if not found:
    return number(rng, data)
  match = found[rng.integers(len(found))]
  new = str(NUMBERS[rng.integers(len(NUMBERS))]).encode()
  new = (b"", b"-", b"1e", b"nan")[rng.integers(4)] + new
  return data[: match.start()] + new + data[match.end() :]


KINDS = flip, overwrite, insert, delete, truncate, splice, number, digits
