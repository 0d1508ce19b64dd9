"""Tables of finished runs, for a terminal and as Markdown."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rich.console import Group
from rich.table import Table

ALIKE = ("per clip", "per step", "same event", "overlap")


def summary(summary: Mapping[str, Any]) -> Group:
  """What crosses modalities, and how alike they use the codes.

  Without labels, retrieval takes the place of transfer.
  """
  found, book = summary["sharing"], summary["codebook"]
  if summary["cross_modal"]:
    out = Table(
      title="Transfer across modalities by frozen codes (held-out samples, %)",
      caption="by index: a probe that sees no vectors; ceiling: trained and "
      "tested on the target",
    )
    header = ("trained -> tested", "by index", "ceiling", "by vector")
    _fill(out, (*header, "ceiling", "chance"), _transfer(summary))
  else:
    out = Table(title="Retrieval by codes alone (held-out samples, %)")
    header = ("query -> gallery", "recall@1", "chance", "recall@5", "chance")
    _fill(out, header, _retrieval(found))
  alike = Table(
    title="Same codes in two modalities (held-out samples, %; by chance)",
    caption=f"{book['awake']} of {book['size']} codes awake, {book['usage']} in"
    f" use, perplexity {book['perplexity']:.1f}. {_by_all(found)}",
  )
  _fill(alike, ("pair", *ALIKE), _alike(found))
  return Group(out, alike)


def _fill(table, header, rows):
  for i, column in enumerate(header):
    table.add_column(column, justify="right" if i else "left")
  for row in rows:
    table.add_row(*row)


def _transfer(summary) -> Iterator[list[str]]:
  by_index = summary["sharing"]["transfer"]
  for pair, vector in summary["cross_modal"].items():
    index = by_index.get(pair, {})
    values = [
      x.get(k) for x in (index, vector) for k in ("accuracy", "ceiling")
    ]
    yield [pair, *(_percent(x) for x in (*values, vector["chance"]))]


def _retrieval(found) -> Iterator[list[str]]:
  for pair, score in found["clip"]["recall"].items():
    names = ("r@1", "chance@1", "r@5", "chance@5")
    yield [pair, *(_percent(score.get(name)) for name in names)]


def _alike(found) -> Iterator[list[str]]:
  """A pair's agreement by clip, by step, by step of one event; its overlap."""
  clip, step = found["clip"], found["step"]
  for pair, overlap in clip["overlap"].items():
    yield [
      pair,
      *(
        _percent(x["agreement"].get(pair), x["agreement_chance"].get(pair))
        for x in (clip, step)
      ),
      _percent(step["agreement_same"].get(pair)),
      _percent(overlap),
    ]


def _percent(value, chance=None):
  if value is None:
    return "-"
  by_chance = "" if chance is None else f" ({100 * chance:.1f})"
  return f"{100 * value:.1f}{by_chance}"


def _by_all(found):
  codes = found["codes"]
  return (
    f"As codes of held-out clips, all modalities use {codes['used_by_all']} and"
    f" effectively share {codes['shared_effective']:.1f}."
  )


def markdown(results: Mapping[str, Any]) -> str:
  """The results of downstream tasks as Markdown, in percent."""
  lines = [
    f"Protocol: {results['protocol']}. Checkpoint: {results['checkpoint']}.",
    "Mean of the probes' seeds with its 95 % interval. Without labels, TOC "
    f"would keep {results['chosen_keep']} dimensions"
    f" ({results['asleep']} codes are asleep).",
    *_sharing(results["sharing"]),
  ]
  for name, table in by_task(results["rows"]).items():
    rows = [row for found in table.values() for row in found]
    note = f" ({rows[0]['note']})" if rows[0]["note"] else ""
    guesses = {"chance": "chance", "baseline": "clip's class everywhere"}
    known = [key for key in guesses if any(x[key] is not None for x in rows)]
    *keeps, every = dict.fromkeys(str(row["keep"]) for row in rows)
    header = ["trained -> tested", *(guesses[key] for key in known)]
    header += [*keeps, f"{every} (off)"]
    lines += ["", f"## {name}: {rows[0]['metric']} %{note}", ""]
    lines += [_row(header), _row(["---"] * len(header))]
    for pair, values in table.items():
      cells = [_percent(values[0][key]) for key in known]
      lines.append(_row([pair, *cells, *map(_interval, values)]))
    verdicts = [*_verdicts(table, results["chosen_keep"])]
    lines += ["", *verdicts] if verdicts else []
  return "\n".join(lines) + "\n"


def retrieval(results: Mapping[str, Any]) -> str:
  """The results of retrieval as Markdown: shares in percent, ranks from 1."""
  several = len(results["checkpoints"]) > 1
  rows = [r for r in results["rows"] if not several or r["checkpoint"] is None]
  over = f"{len(results['checkpoints'])} checkpoints" if several else "queries"
  names = [*dict.fromkeys(row["metric"] for row in rows)]
  lead = next(row["metric"] for row in rows if row["leads"])
  lines = [
    f"Split: {results['split']}. Checkpoints: "
    f"{', '.join(results['checkpoints'])}.",
    f"In brackets chance, and the 95 % interval over {over};"
    f" {rows[0]['note']}.",
  ]
  groups: dict[str, dict[str, dict[Any, dict[str, Any]]]] = {}
  for row in rows:
    pair = f"{row['source']} -> {row['target']}"
    pair += f" ({row['queries']} in {row['gallery']})"
    by_name = groups.setdefault(pair, {}).setdefault(row["representation"], {})
    by_name.setdefault(row["keep"], {})[row["metric"]] = row
  for pair, by_name in groups.items():
    header = ["by", *names, f"interval of {lead}"]
    lines += ["", f"## {pair}", "", _row(header), _row(["---"] * len(header))]
    for name, by_keep in by_name.items():
      every = [*by_keep.values()][-1]
      low, high = (_number(every[lead], key) for key in ("low", "high"))
      both = [
        [_number(every[metric], key) for key in ("value", "chance")]
        for metric in names
      ]
      cells = [f"{value} ({chance})" for value, chance in both]
      lines.append(_row([name, *cells, f"{low} to {high}"]))
    kept = {name: x for name, x in by_name.items() if len(x) > 1}
    for name, by_keep in kept.items():
      said = (f"{k}: {_number(x[lead], 'value')}" for k, x in by_keep.items())
      lines += ["", f"{lead} by {name}, by dimensions kept: {', '.join(said)}."]
  return "\n".join(lines) + "\n"


def generation(results: Mapping[str, Any]) -> str:
  """The results of generation as Markdown."""
  several = len(results["checkpoints"]) > 1
  rows = [r for r in results["rows"] if not several or r["checkpoint"] is None]
  names = [*dict.fromkeys(row["metric"] for row in rows)]
  lines = [
    f"Split: {results['split']}. Checkpoints: "
    f"{', '.join(results['checkpoints'])}.",
    "Accuracy is that of a classifier which has seen real samples alone, R@k a"
    f" search of real ones, in % {rows[0]['note']}; diversity 1 is that of real"
    " samples of a class.",
  ]
  groups: dict[str, dict[tuple[str, str], dict[str, Any]]] = {}
  for row in rows:
    way = row["representation"], row["source"]
    found = groups.setdefault(row["target"], {}).setdefault(way, {})
    found[row["metric"]] = row
  for target, by_way in groups.items():
    header = ["made by", "codes of", *names]
    lines += ["", f"## {target}", "", _row(header), _row(["---"] * len(header))]
    for (way, source), found in by_way.items():
      source = f"{source} (its own)" if source == target else source
      source = "" if way in ("mean", "real") else source
      cells = (_spread(found[name]) for name in names)
      lines.append(_row([way, source, *cells]))
  return "\n".join(lines) + "\n"


def _spread(row):
  """A number, in % where it is a share, and half of its interval."""
  scale = 1 if row["metric"] in ("frechet", "diversity") else 100
  value, digits = scale * row["value"], 1 if scale == 100 else 2
  if row["seeds"] < 2:
    return f"{value:.{digits}f}"
  half = scale * (row["high"] - row["low"]) / 2
  return f"{value:.{digits}f} ± {half:.{digits}f}"


def _number(row, key):
  scale = 1 if row["metric"].endswith("rank") else 100
  return f"{scale * row[key]:.1f}"


def by_task(
  rows: Sequence[Mapping[str, Any]],
) -> dict[str, dict[str, list[Mapping[str, Any]]]]:
  """Task -> "source->target" -> its leading rows, one a TOC mask."""
  found: dict[str, dict[str, list[Mapping[str, Any]]]] = {}
  for row in rows:
    if row["leads"]:
      pair = f"{row['source']}->{row['target']}"
      found.setdefault(row["task"], {}).setdefault(pair, []).append(row)
  return found


def _sharing(found) -> Iterator[str]:
  """How alike modalities use the codes, and what carries over by index."""
  header = ("pair", *ALIKE)
  yield from ("", "## sharing: same codes in two modalities, % (by chance)", "")
  for cells in (header, ["---"] * len(header), *_alike(found)):
    yield _row(cells)
  yield from ("", _by_all(found))
  for pair, score in found["transfer"].items():
    yield (
      f"- {pair} by index: {_percent(score['accuracy'])} "
      f"(ceiling {_percent(score['ceiling'])}, "
      f"chance {_percent(score['chance'])})"
    )


def _verdicts(table, chosen):
  """Whether TOC helps, said per direction across modalities."""
  for pair, rows in table.items():
    rows = [row for row in rows if row["keep"] is not None]
    if len(rows) < 2 or rows[0]["source"] == rows[0]["target"]:
      continue  # nothing to choose from, or a ceiling
    tuned = max(rows, key=lambda row: row["value"])
    nearest = min(rows, key=lambda row: abs(row["keep"] - chosen))
    groups: dict[str, list[str]] = {"better": [], "worse": [], "unclear": []}
    for row in rows[:-1]:
      groups[row["difference"]["verdict"]].append(str(row["keep"]))
    said = "; ".join(
      f"{v} at {', '.join(ks)}" for v, ks in groups.items() if ks
    )
    yield (
      f"- {pair}: TOC is {said}. Best on the test labels: {tuned['keep']}; "
      f"chosen without labels: {nearest['keep']}, regret "
      f"{100 * (tuned['value'] - nearest['value']):.1f}."
    )


def _interval(row):
  mean, low, high = (100 * row[k] for k in ("value", "low", "high"))
  if row["seeds"] < 2:
    return f"{mean:.1f}"
  return f"{mean:.1f} ({low:.1f} to {high:.1f})"


def _row(cells):
  return "| " + " | ".join(cells) + " |"
