"""Tables of results, for a terminal and as Markdown."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rich.console import Group
from rich.table import Table

SHARING = ("pair", "clips", "steps", "steps of one event", "overlap")
SHARING_CAPTION = (
  "Agreement: share of clips or steps with the same code in both modalities;"
  " overlap: share of their histograms of codes that is common."
)
GUESSES = {"chance": "chance", "baseline": "clip's class in every segment"}


def summary(summary: Mapping[str, Any]) -> Group:
  """Tables of a pretraining run: transfer, and sharing of codes.

  Without labels, index-only retrieval takes the place of transfer.

  Args:
    summary: results of `jobs.evaluation`: sharing, codebook, cross_modal.
  """
  sharing, codebook = summary["sharing"], summary["codebook"]
  if summary["cross_modal"]:
    across = Table(
      title="Transfer across modalities by frozen codes (held-out accuracy, %)",
      caption="By index: a linear probe on bags of codes, which sees no "
      "vectors; by vector: a probe on the codes' vectors. Ceiling: the probe "
      "trained and tested on the target; chance: the most frequent class.",
    )
    header = ("trained -> tested", "by index", "ceiling", "by vector")
    _fill(across, (*header, "ceiling", "chance"), _transfer(summary))
  else:
    across = Table(
      title="Retrieval by bags of codes, index-only (held-out samples, %)",
      caption="A hit is the same sample; tied samples count by expectation.",
    )
    header = ("query -> gallery", "recall@1", "chance", "recall@5", "chance")
    _fill(across, header, _retrieval(sharing))
  within = Table(
    title="Agreement of codes (held-out samples, %; chance in brackets)",
    caption=f"{SHARING_CAPTION} {codebook['awake']} of {codebook['size']} codes"
    f" awake; training samples use {codebook['usage']}, with perplexity"
    f" {codebook['perplexity']:.1f}. {_used_by_all(sharing)}",
  )
  _fill(within, SHARING, _sharing_rows(sharing))
  return Group(across, within)


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


def _retrieval(sharing) -> Iterator[list[str]]:
  for pair, score in sharing["clip"]["recall"].items():
    names = ("r@1", "chance@1", "r@5", "chance@5")
    yield [pair, *(_percent(score.get(name)) for name in names)]


def _sharing_rows(sharing) -> Iterator[list[str]]:
  """The cells of each pair of modalities under `SHARING`."""
  clip, step = sharing["clip"], sharing["step"]
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
  in_brackets = "" if chance is None else f" ({100 * chance:.1f})"
  return f"{100 * value:.1f}{in_brackets}"


def _used_by_all(sharing):
  codes = sharing["codes"]
  return (
    f"On held-out clips, all modalities use {codes['used_by_all']} codes, and"
    f" the codes that they agree on have perplexity"
    f" {codes['shared_effective']:.1f}."
  )


def markdown(results: Mapping[str, Any]) -> str:
  """The results of downstream tasks as Markdown, in percent."""
  lines = [
    f"Protocol: {results['protocol']}. Checkpoint: {results['checkpoint']}.",
    "Scores are means over the probes' seeds, with 95 % intervals. Columns are"
    " numbers of dimensions that TOC keeps (off: all). Without labels, TOC"
    f" would keep {results['chosen_keep']} ({results['asleep']} codes are"
    " asleep).",
    *_sharing(results["sharing"]),
  ]
  for name, table in by_task(results["rows"]).items():
    rows = [row for of_pair in table.values() for row in of_pair]
    note = f" ({rows[0]['note']})" if rows[0]["note"] else ""
    guesses = [key for key in GUESSES if any(x[key] is not None for x in rows)]
    *keeps, every = dict.fromkeys(str(row["keep"]) for row in rows)
    header = ["trained -> tested", *(GUESSES[key] for key in guesses)]
    header += [*keeps, f"{every} (off)"]
    lines += ["", f"## {name}: {rows[0]['metric']} %{note}", ""]
    lines += [_row(header), _row(["---"] * len(header))]
    for pair, values in table.items():
      cells = [_percent(values[0][key]) for key in guesses]
      lines.append(_row([pair, *cells, *map(_interval, values)]))
    verdicts = [*_verdicts(table, results["chosen_keep"])]
    lines += ["", *verdicts] if verdicts else []
  return "\n".join(lines) + "\n"


def retrieval(results: Mapping[str, Any]) -> str:
  """The results of retrieval as Markdown: shares in percent, ranks from 1.

  Results of several checkpoints are shown as their means.
  """
  several = len(results["checkpoints"]) > 1
  rows = [r for r in results["rows"] if not several or r["checkpoint"] is None]
  over = f"{len(results['checkpoints'])} checkpoints" if several else "queries"
  names = [*dict.fromkeys(row["metric"] for row in rows)]
  lead = next(row["metric"] for row in rows if row["leads"])
  lines = [
    f"Split: {results['split']}. Checkpoints: "
    f"{', '.join(results['checkpoints'])}.",
    "Shares in %, ranks from 1, chance in brackets. Intervals are 95 % over"
    f" {over}; {rows[0]['note']}.",
  ]
  groups: dict[str, dict[str, dict[Any, dict[str, Any]]]] = {}
  for row in rows:
    pair = f"{row['source']} -> {row['target']}"
    pair += f" ({row['queries']} queries, gallery of {row['gallery']})"
    by_name = groups.setdefault(pair, {}).setdefault(row["representation"], {})
    by_name.setdefault(row["keep"], {})[row["metric"]] = row
  for pair, by_name in groups.items():
    header = ["representation", *names, f"interval of {lead}"]
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
    masked = {name: x for name, x in by_name.items() if len(x) > 1}
    for name, by_keep in masked.items():
      values = (f"{k}: {_number(x[lead], 'value')}" for k, x in by_keep.items())
      lines += [
        "",
        f"{lead} of {name} by dimensions that TOC keeps: {', '.join(values)}.",
      ]
  return "\n".join(lines) + "\n"


def generation(results: Mapping[str, Any]) -> str:
  """The results of generation as Markdown.

  Results of several checkpoints are shown as their means.
  """
  several = len(results["checkpoints"]) > 1
  rows = [r for r in results["rows"] if not several or r["checkpoint"] is None]
  names = [*dict.fromkeys(row["metric"] for row in rows)]
  lines = [
    f"Split: {results['split']}. Checkpoints: "
    f"{', '.join(results['checkpoints'])}.",
    f"Scores {rows[0]['note']}. Accuracy: % that a classifier trained on real"
    " samples puts in their class. R@k: % with a hit among the k nearest real"
    " samples. Frechet: Fréchet distance of the classifier's features to those"
    " of real samples. Diversity: mean distance within a class, relative to"
    " real samples.",
  ]
  groups: dict[str, dict[tuple[str, str], dict[str, Any]]] = {}
  for row in rows:
    key = row["representation"], row["source"]
    by_metric = groups.setdefault(row["target"], {}).setdefault(key, {})
    by_metric[row["metric"]] = row
  for target, by_key in groups.items():
    header = ["generator", "codes of", *names]
    lines += ["", f"## {target}", "", _row(header), _row(["---"] * len(header))]
    for (generator, source), by_metric in by_key.items():
      source = f"{source} (its own)" if source == target else source
      source = "" if generator in ("mean", "real") else source
      cells = (_spread(by_metric[name]) for name in names)
      lines.append(_row([generator, source, *cells]))
  return "\n".join(lines) + "\n"


def _spread(row):
  """A score, in % if it is a share, ± half of its interval."""
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
  """Task -> "source->target" -> its leading rows, one for each TOC mask."""
  tasks: dict[str, dict[str, list[Mapping[str, Any]]]] = {}
  for row in rows:
    if row["leads"]:
      pair = f"{row['source']}->{row['target']}"
      tasks.setdefault(row["task"], {}).setdefault(pair, []).append(row)
  return tasks


def _sharing(sharing) -> Iterator[str]:
  """Sharing of codes, and the index-only probes."""
  yield ""
  yield "## sharing: agreement of codes between modalities, % (chance)"
  yield ""
  for cells in (SHARING, ["---"] * len(SHARING), *_sharing_rows(sharing)):
    yield _row(cells)
  yield ""
  yield f"{SHARING_CAPTION} {_used_by_all(sharing)}"
  for pair, score in sharing["transfer"].items():
    yield (
      f"- {pair} by index: {_percent(score['accuracy'])} "
      f"(ceiling {_percent(score['ceiling'])}, "
      f"chance {_percent(score['chance'])})"
    )


def _verdicts(table, chosen):
  """A line for each direction across modalities: where does TOC help?"""
  for pair, rows in table.items():
    rows = [row for row in rows if row["keep"] is not None]
    if len(rows) < 2 or rows[0]["source"] == rows[0]["target"]:
      continue  # nothing to choose from, or a ceiling
    tuned = max(rows, key=lambda row: row["value"])
    nearest = min(rows, key=lambda row: abs(row["keep"] - chosen))
    groups: dict[str, list[str]] = {"better": [], "worse": [], "unclear": []}
    for row in rows[:-1]:
      groups[row["difference"]["verdict"]].append(str(row["keep"]))
    verdicts = "; ".join(
      f"{verdict} at {', '.join(keeps)}"
      for verdict, keeps in groups.items()
      if keeps
    )
    regret = 100 * (tuned["value"] - nearest["value"])
    yield (
      f"- {pair}: compared with all dimensions, TOC is {verdicts}. Best on the"
      f" test labels: {tuned['keep']}; chosen without labels:"
      f" {nearest['keep']}, regret {regret:.1f} points."
    )


def _interval(row):
  mean, low, high = (100 * row[k] for k in ("value", "low", "high"))
  if row["seeds"] < 2:
    return f"{mean:.1f}"
  return f"{mean:.1f} ({low:.1f} to {high:.1f})"


def _row(cells):
  return "| " + " | ".join(cells) + " |"
