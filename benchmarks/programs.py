"""Contents of a compiled program: collectives, loops, cycles and products.

All are read from the program, not estimated. Collectives and the compiler's own
count of cycles come from the optimized HLO, products and the collectives that
the source names from the jaxpr. Loops count as often as they run, unlike in
XLA's own cost analysis.
"""

import collections as containers
import functools
import math
import re
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
from jax.extend import core

KINDS = (
  *("all-gather", "all-reduce", "reduce-scatter"),
  *("collective-permute", "all-to-all"),
)
PRIMITIVES = {
  "all_gather": "all-gather",
  "all_gather_invariant": "all-gather",
  "psum": "all-reduce",
  "psum_invariant": "all-reduce",
  "pmax": "all-reduce",
  "pmin": "all-reduce",
  "reduce_scatter": "reduce-scatter",
  "ppermute": "collective-permute",
  "all_to_all": "all-to-all",
}
BYTES = {"pred": 1, "s8": 1, "u8": 1, "bf16": 2, "f16": 2, "s16": 2, "u16": 2}
OPERATION = re.compile(
  rf" = (?P<type>.*?) (?P<kind>{'|'.join(KINDS)})(?P<start>-start)?\("
)
ARRAY = re.compile(r"\b([a-z]+\d*)\[([\d,]*)\]")
CALLED = re.compile(
  r"(?:body|calls|to_apply|true_computation|false_computation)=%([\w.\-]+)"
)
BRANCHES = re.compile(r"branch_computations=\{([^}]*)\}")
LOOP = re.compile(r" while\(.*condition=%([\w.\-]+)")
KNOWN = re.compile(r'"known_trip_count":\{"n":"(\d+)"')
CONSTANT = re.compile(r"%([\w.\-]+) = s32\[\]\S* constant\((\d+)\)")
COMPARED = re.compile(r"ROOT .* compare\(%([\w.\-]+), %([\w.\-]+)\)")
CHAIN = re.compile(r'chain_id="(\d+)"')
CYCLES = re.compile(r'"estimated_cycles":"(\d+)"')
UNKNOWN = 2**63 - 1
PASSES = 6  # of bfloat16 in a float32 product of precision "highest"


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

  The TPU compiler spreads one asynchronous collective over several fusions with
  one chain_id. They count as one, as often as the fusion that runs least: some
  may lie in the body of a loop that does part of the work. A reduce-scatter may
  be a fusion around an all-reduce of the whole.
  """
  runs = _runs(hlo)
  partitions = re.search(r"num_partitions=(\d+)", hlo)
  everyone = int(partitions[1]) if partitions else 1
  by_key: dict[Any, Collective] = {}
  for name, line in _lines(hlo):
    match = OPERATION.search(line)
    if not match:
      continue
    kind, size = match["kind"], _result(match)
    group = _group(line) or everyone
    if name.startswith("all-reduce-scatter"):
      kind, size = "reduce-scatter", size // group
    chain = CHAIN.search(line)
    key = (kind, chain[1]) if chain else line
    times = max(runs(name), 1)
    if key in by_key:
      times = min(times, by_key[key].times)
    by_key[key] = Collective(kind, size, group, times)
  return list(by_key.values())


def cycles(hlo: str) -> int | None:
  """Cycles of a TPU core by the compiler's own estimate, without waiting.

  None if an operation has no estimate, for which it writes the largest int64.
  """
  runs = _runs(hlo)
  counts = [
    (int(match[1]), runs(name))
    for name, line in _lines(hlo)
    if (match := CYCLES.search(line))
  ]
  if any(count == UNKNOWN for count, _ in counts):
    return None
  return sum(count * times for count, times in counts)


def _lines(hlo: str) -> Iterator[tuple[str, str]]:
  """(name of the computation, line in it)."""
  name = ""
  for line in hlo.splitlines():
    head = re.match(r"(?:ENTRY )?%?([\w.\-]+) \(.*\{$", line)
    if head:
      name = "ENTRY" if line.startswith("ENTRY") else head[1]
    elif line.startswith(" "):
      yield name, line


def _runs(hlo: str) -> Callable[[str], int]:
  """How often a computation runs in one call of the program, by its name."""
  trips = _trips(hlo)
  callers: dict[str, list[tuple[str, int]]] = containers.defaultdict(list)
  for name, line in _lines(hlo):
    times = trips(line) if LOOP.search(line) else 1
    called = CALLED.findall(line)
    for branches in BRANCHES.findall(line):
      called += re.findall(r"%([\w.\-]+)", branches)
    for inner in called:
      callers[inner].append((name, times))

  @functools.cache
  def runs(name: str) -> int:
    if name == "ENTRY":
      return 1
    return sum(times * runs(x) for x, times in callers[name])

  return runs


def _trips(hlo: str) -> Callable[[str], int]:
  """How often the loop in a line runs.

  If the compiler has not written it down, the condition of the loop compares a
  counter, which starts at 0, to a constant.
  """
  constants, bounds = {}, {}
  for name, line in _lines(hlo):
    if match := CONSTANT.search(line):
      constants[name, match[1]] = int(match[2])
    if match := COMPARED.search(line):
      bound = [
        constants[name, x] for x in match.groups() if (name, x) in constants
      ]
      bounds[name] = bound[0] if len(bound) == 1 else None

  def trips(line: str) -> int:
    written, loop = KNOWN.search(line), LOOP.search(line)
    count = (
      int(written[1]) if written else bounds.get(loop[1]) if loop else None
    )
    if count is None:
      raise ValueError(f"a loop of unknown length: {line.strip()[:200]}")
    return count

  return trips


def _result(match: re.Match[str]) -> int:
  """Bytes of the result; a start's type may hold its operands before it."""
  arrays = [x for x in ARRAY.findall(match["type"]) if x[1] or x[0] != "u32"]
  if match["start"] and match["kind"] != "all-reduce":
    arrays = arrays[len(arrays) // 2 :]
  return sum(_size(*x) for x in arrays)


def _size(dtype: str, shape: str) -> int:
  bits = re.search(r"\d+$", dtype)
  width = BYTES.get(dtype) or (int(bits[0]) // 8 if bits else 0)
  return width * math.prod(int(n) for n in shape.split(",") if n)


def _group(line: str) -> int:
  """Devices that take part; 0 for all."""
  iota = re.search(r"replica_groups=\[(\d+),(\d+)\]", line)
  if iota:
    return int(iota[2])
  listed = re.search(r"replica_groups=\{\{([\d,]*)\}", line)
  if listed:
    return listed[1].count(",") + 1
  pairs = re.search(r"source_target_pairs=\{(.*?)\}\}", line)
  return pairs[1].count("{") if pairs else 0


def asked(jaxpr: Any) -> dict[str, int]:
  """Kind of collective -> how many the source names; loops count once.

  The compiler merges and drops some collectives, and adds others.
  """
  count: dict[str, int] = containers.Counter()
  for equation in jaxpr.eqns:
    kind = PRIMITIVES.get(equation.primitive.name)
    if kind:
      count[kind] += len(equation.outvars)
    for inner in _inner(equation.params):
      count.update(asked(inner))
  return dict(count)


def products(jaxpr: Any, *, passes: bool = False) -> int:
  """FLOP of the matrix products and convolutions, per device in shard_map.

  Of several branches, as for platforms, the one with the most FLOP counts.

  Args:
    jaxpr: of the program.
    passes: counts a product of precision "highest" as the passes of bfloat16
      that it takes on a TPU. Other products take one, whatever their type.
  """
  total = 0
  for equation in jaxpr.eqns:
    total += _products_of(equation, passes)
    inner = [products(x, passes=passes) for x in _inner(equation.params)]
    once = max if equation.primitive.name == "cond" else sum
    total += once(inner or [0]) * equation.params.get("length", 1)
  return total


def _products_of(equation: Any, passes: bool) -> int:
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
  highest = "HIGHEST" in str(equation.params["precision"])
  flops = 2 * depth * equation.outvars[0].aval.size
  return flops * PASSES if passes and highest else flops


def _inner(params: dict[str, Any]) -> Iterator[Any]:
  for value in jax.tree.leaves(
    params, is_leaf=lambda x: isinstance(x, core.Jaxpr | core.ClosedJaxpr)
  ):
    if isinstance(value, core.ClosedJaxpr):
      yield value.jaxpr
    elif isinstance(value, core.Jaxpr):
      yield value
