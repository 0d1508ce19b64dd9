"""What a compiled program does: its collectives and its products.

Both are read from the program, not estimated: collectives from the optimized
HLO of the target's compiler, products from the jaxpr. Loops count as often as
they run, which XLA's own cost analysis does not do.
"""

import math
import re
from collections.abc import Iterator
from typing import Any, NamedTuple

import jax
from jax.extend import core

KINDS = (
  *("all-gather", "all-reduce", "reduce-scatter"),
  *("collective-permute", "all-to-all"),
)
BYTES = {"pred": 1, "s8": 1, "u8": 1, "bf16": 2, "f16": 2, "s16": 2, "u16": 2}
OPERATION = re.compile(
  rf" = (?P<type>.*?) (?P<kind>{'|'.join(KINDS)})(?P<start>-start)?\("
)
ARRAY = re.compile(r"\b([a-z]+\d*)\[([\d,]*)\]")
CALLED = re.compile(
  r"(?:body|calls|to_apply|true_computation|false_computation)=%([\w.\-]+)"
)
BRANCHES = re.compile(r"branch_computations=\{([^}]*)\}")
CONDITION = re.compile(r" while\(.*condition=%([\w.\-]+)")
BOUND = re.compile(r" = s32\[\]\S* constant\((\d+)\)")


class Collective(NamedTuple):
  """One collective of a program.

  Attributes:
    kind: one of `KINDS`.
    size: bytes of its result on one device.
    group: devices that take part.
    times: how often it runs in one call of the program.
  """

  kind: str
  size: int
  group: int
  times: int

  @property
  def wire(self) -> float:
    """Bytes that a device sends, on a ring, in all runs."""
    others = (self.group - 1) / max(self.group, 1)
    share = {
      "all-gather": others,
      "all-reduce": 2 * others,
      "reduce-scatter": self.group - 1,
      "collective-permute": 1,
      "all-to-all": others,
    }
    return self.times * self.size * share[self.kind]


def collectives(hlo: str) -> list[Collective]:
  """The collectives of an optimized HLO module.

  The TPU compiler spreads one asynchronous collective over several fusions,
  which then carry the same chain_id. They count once, and as often as the piece
  that runs least: others may lie in a loop that it overlaps with.
  """
  runs = _runs(hlo)
  found: dict[Any, Collective] = {}
  for name, line in _lines(hlo):
    match = OPERATION.search(line)
    if not match:
      continue
    sizes = [_size(*array) for array in ARRAY.findall(match["type"])]
    if match["start"] and len(sizes) > 1:  # (operands, results, ...)
      sizes = [max(sizes)]
    chain = re.search(r'chain_id="(\d+)"', line)
    key = (match["kind"], chain[1]) if chain else line
    times = runs.get(name, 1)
    if key in found:
      times = min(times, found[key].times)
    found[key] = Collective(match["kind"], sum(sizes), _group(line), times)
  return list(found.values())


def _lines(hlo: str) -> Iterator[tuple[str, str]]:
  """(name of the computation, line in it)."""
  name = ""
  for line in hlo.splitlines():
    head = re.match(r"(?:ENTRY )?%?([\w.\-]+) \(.*\{$", line)
    if head:
      name = "ENTRY" if line.startswith("ENTRY") else head[1]
    elif line.startswith(" "):
      yield name, line


def _runs(hlo: str) -> dict[str, int]:
  """How often each computation runs in one call of the program.

  A loop's condition compares its counter with a constant, its trip count.
  """
  bound = {n: int(m[1]) for n, x in _lines(hlo) if (m := BOUND.search(x))}
  calls: dict[str, list[tuple[str, int]]] = {}
  for name, line in _lines(hlo):
    loop = CONDITION.search(line)
    times = bound.get(loop[1], 1) if loop else 1
    called = CALLED.findall(line)
    for branches in BRANCHES.findall(line):
      called += re.findall(r"%([\w.\-]+)", branches)
    calls.setdefault(name, []).extend((x, times) for x in called)
  runs: dict[str, int] = {}
  stack = [("ENTRY", 1)]
  while stack:
    name, times = stack.pop()
    if times > runs.get(name, 0):
      runs[name] = times
      stack.extend((x, times * n) for x, n in calls.get(name, []))
  return runs


def _size(dtype: str, shape: str) -> int:
  bits = re.search(r"\d+$", dtype)
  width = BYTES.get(dtype) or (int(bits[0]) // 8 if bits else 0)
  return width * math.prod(int(n) for n in shape.split(",") if n)


def _group(line: str) -> int:
  iota = re.search(r"replica_groups=\[(\d+),(\d+)\]", line)
  if iota:
    return int(iota[2])
  listed = re.search(r"replica_groups=\{\{([\d,]*)\}", line)
  if listed:
    return listed[1].count(",") + 1
  pairs = re.search(r"source_target_pairs=\{(.*?)\}\}", line)
  return pairs[1].count("{") if pairs else 1


def products(jaxpr: Any) -> int:
  """FLOP of the matrix products and convolutions, per device in shard_map."""
  total = 0
  for equation in jaxpr.eqns:
    total += _products_of(equation)
    inner = sum(products(x) for x in _inner(equation.params))
    total += inner * equation.params.get("length", 1)
  return total


def _products_of(equation: Any) -> int:
  name = equation.primitive.name
  if name == "dot_general":
    (left, _), _ = equation.params["dimension_numbers"]
    depth = math.prod(equation.invars[0].aval.shape[i] for i in left)
  elif name == "conv_general_dilated":
    spec = equation.params["dimension_numbers"].rhs_spec
    kernel = equation.invars[1].aval.shape
    depth = math.prod(kernel) // kernel[spec[0]]
  else:
    return 0
  return 2 * depth * equation.outvars[0].aval.size


def _inner(params: dict[str, Any]) -> Iterator[Any]:
  for value in jax.tree.leaves(
    params, is_leaf=lambda x: isinstance(x, core.Jaxpr | core.ClosedJaxpr)
  ):
    if isinstance(value, core.ClosedJaxpr):
      yield value.jaxpr
    elif isinstance(value, core.Jaxpr):
      yield value
