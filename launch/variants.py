"""Variants of a sweep: means over seeds, and differences seed by seed."""

import collections
import csv
import json
import math
import pathlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from unirep.launch.grid import Run
from unirep.runtime import atomic
from unirep.tasks.probing import protocol
from unirep.tasks.probing.protocol import Estimate


class Score(NamedTuple):
  """One number of one variant.

  Attributes:
    variant: the name of the variant.
    measure: the name of the number, with its unit.
    runs: the number of runs of the variant that have results.
    values: seed -> number, for runs that have it.
    estimate: mean and sd of these.
    difference: from the first variant, over the seeds that both have; None for
      the first one, and if there are no such seeds.
    ceiling: the mean of probes trained on the target itself, if known.
  """

  variant: str
  measure: str
  runs: int
  values: Mapping[int | None, float]
  estimate: Estimate
  difference: Estimate | None
  ceiling: float | None


def read(run: Run) -> dict[str, Any]:
  """The results of a run, empty if it has none yet."""
  if not run.finished():
    return {}
  return json.loads((run.workdir / run.result).read_text())


def measures(results: Mapping[str, Any]) -> dict[str, float]:
  """The leading numbers of a run that are finite; shares in percent.

  Tasks count without TOC: of the leading rows of a direction, the last one.
  """
  out: dict[str, Any] = {
    f"{pair} %": 100 * score["accuracy"]
    for pair, score in results.get("cross_modal", {}).items()
  }
  if book := results.get("codebook"):
    out |= {"codes": book["usage"], "perplexity": book["perplexity"]}
  for row in results.get("rows", []):
    if row["leads"]:
      out[_direction(row)] = 100 * row["value"]
  names = {"chosen_keep": "keep", "seconds": "seconds"}
  out |= {name: results[key] for key, name in names.items() if key in results}
  return {name: value for name, value in out.items() if math.isfinite(value)}


def _direction(row):
  return f"{row['task']} {row['source']}->{row['target']} %"


def ceilings(results: Mapping[str, Any]) -> dict[str, float]:
  """Measures of transfer, named as by `measures` -> their ceilings."""
  out = {
    f"{pair} %": score.get("ceiling")
    for pair, score in results.get("cross_modal", {}).items()
  }
  for row in results.get("rows", []):
    if row["leads"] and row["source"] != row["target"]:
      out[_direction(row)] = row.get("ceiling")
  return {
    name: 100 * value
    for name, value in out.items()
    if value is not None and math.isfinite(value)
  }


def compare(runs: Sequence[Run]) -> list[Score]:
  """Scores of all variants, for every number that a run of theirs has."""
  values: dict[str, dict[int | None, dict[str, float]]] = {}
  tops: dict[str, list[dict[str, float]]] = {}
  for run in runs:
    results = read(run)
    if numbers := measures(results):
      values.setdefault(run.variant, {})[run.seed] = numbers
      tops.setdefault(run.variant, []).append(ceilings(results))
  order = dict.fromkeys(run.variant for run in runs)
  names = dict.fromkeys(
    name for seeds in values.values() for one in seeds.values() for name in one
  )
  first = values.get(next(iter(order)), {})
  return [
    _score(variant, name, values[variant], first, tops[variant])
    for variant in order
    if variant in values
    for name in names
    if any(name in numbers for numbers in values[variant].values())
  ]


def _score(variant, name, seeds, first, tops):
  mine = {seed: x[name] for seed, x in seeds.items() if name in x}
  both = [] if seeds is first else [s for s in mine if name in first.get(s, {})]
  pairs = [mine[s] for s in both], [first[s][name] for s in both]
  limits = [top[name] for top in tops if name in top]
  return Score(
    variant=variant,
    measure=name,
    runs=len(seeds),
    values=mine,
    estimate=protocol.estimate([*mine.values()]),
    difference=protocol.paired(*pairs) if both else None,
    ceiling=sum(limits) / len(limits) if limits else None,
  )


def cells(runs: Sequence[Run], scores: Sequence[Score]) -> list[list[str]]:
  """A header and a row per variant, the first one first.

  A cell is "mean ± sd", and below it the difference from the first variant.
  """
  names = [*dict.fromkeys(score.measure for score in scores)]
  by_name = {(score.variant, score.measure): score for score in scores}
  done = {score.variant: score.runs for score in scores}
  total = collections.Counter(run.variant for run in runs)
  rows = [
    [
      variant,
      f"{done.get(variant, 0)} of {count}",
      *(_cell(by_name.get((variant, name))) for name in names),
    ]
    for variant, count in total.items()
  ]
  return [["variant", "seeds", *names], *rows]


def _cell(score):
  if score is None:
    return ""
  estimate, difference = score.estimate, score.difference
  lines = [_spread(estimate, "")]
  if estimate.seeds != score.runs:
    lines[0] += f", n = {estimate.seeds}"
  if difference:
    lines.append(f"{_spread(difference, '+')}, n = {difference.seeds}")
  return "\n".join(lines)


def _spread(estimate, sign):
  sd = "" if math.isnan(estimate.std) else f" ± {estimate.std:.1f}"
  return f"{estimate.mean:{sign}.1f}{sd}"


def write(path: pathlib.Path, scores: Sequence[Score]) -> None:
  """Writes every score as a line of CSV; the sd of one seed is empty."""
  header = ["variant", "measure", "mean", "sd", "seeds"]
  header += ["difference", "difference_sd", "difference_seeds"]
  header += ["ceiling"]
  with atomic.whole(path) as part, part.open("w", newline="") as file:
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(header)
    for score in scores:
      writer.writerow(
        [
          score.variant,
          score.measure,
          *_plain(score.estimate),
          *_plain(score.difference),
          "" if score.ceiling is None else score.ceiling,
        ]
      )


def _plain(estimate: Estimate | None) -> Iterator[Any]:
  if estimate is None:
    yield from ("", "", 0)
  else:
    yield estimate.mean
    yield "" if math.isnan(estimate.std) else estimate.std
    yield estimate.seeds
