"""Tables as printed, cell by cell."""

import io

from rich.console import Console

from unirep.reports import tables
from unirep.tasks.rows import Row

CLIP = {
  "agreement": {"audio-text": 0.5},
  "agreement_chance": {"audio-text": 0.125},
  "overlap": {"audio-text": 0.75},
  "recall": {
    "audio->text": {
      **{"r@1": 0.25, "chance@1": 0.01},
      **{"r@5": 0.625, "chance@5": 0.05},
    },
    "text->audio": {"r@1": 0.375, "chance@1": 0.02},
  },
}
STEP = {
  "agreement": {"audio-text": 0.4},
  "agreement_chance": {"audio-text": 0.1},
  "agreement_same": {},
}
SUMMARY = {
  "sharing": {
    **{"clip": CLIP, "step": STEP},
    "codes": {"used_by_all": 7, "shared_effective": 5.25},
    "transfer": {
      "audio->text": {"accuracy": 0.8, "ceiling": 0.9, "chance": 0.2}
    },
  },
  "codebook": {"awake": 12, "size": 16, "usage": 11, "perplexity": 9.875},
  "cross_modal": {
    "audio->text": {"accuracy": 0.7, "ceiling": 0.85, "chance": 0.2},
    "text->audio": {"accuracy": 0.6, "ceiling": 0.95, "chance": 0.3},
  },
}


def row(value, **changes):
  """A row of three seeds, and its interval, in a table of one checkpoint."""
  checkpoint = changes.pop("checkpoint", "a")
  given = {
    **{"task": "classification", "source": "audio", "target": "text"},
    **{"representation": "vector", "metric": "accuracy", "leads": True},
    **{"keep": 4, "value": value, "std": 0.05, "low": value - 0.03},
    **{"high": value + 0.05, "seeds": 3, **changes},
  }
  return Row(**given)._asdict() | {"checkpoint": checkpoint}


def by_keep(values, **changes):
  return [
    row(value, keep=2 * i, chance=0.2, **changes)
    for i, value in enumerate(values, 1)
  ]


def averaged(rows):
  """Results of two checkpoints; each mean is half of the value."""
  mean = [{**x, "checkpoint": None, "value": x["value"] / 2} for x in rows]
  return {"split": "test", "checkpoints": ["a", "b"], "rows": mean + rows}


def printed(summary):
  """The cells of each line, as a terminal shows them."""
  console = Console(width=120, record=True, file=io.StringIO())
  console.print(tables.summary(summary))
  lines = console.export_text().replace("┃", "│").splitlines()
  return [
    [cell.strip() for cell in line.strip(" │").split("│")]
    for line in lines
    if line.strip("┏━┳┓┡╇┩└─┴┘ ")
  ]


GUESSES = ("ceiling", "chance")
TRANSFER = [
  ["Transfer across modalities by frozen codes (held-out accuracy, %)"],
  [*("trained -> tested", "by index", "ceiling", "by vector"), *GUESSES],
  ["audio->text", "80.0", "90.0", "70.0", "85.0", "20.0"],
  ["text->audio", "-", "-", "60.0", "95.0", "30.0"],
  ["By index: a linear probe on bags of codes, which sees no vectors; by"],
  ["vector: a probe on the codes' vectors. Ceiling: the probe trained and"],
  ["tested on the target; chance: the most frequent class."],
]
RETRIEVAL = [
  ["Retrieval by bags of codes, index-only (held-out samples, %)"],
  ["query -> gallery", "recall@1", "chance", "recall@5", "chance"],
  ["audio->text", "25.0", "1.0", "62.5", "5.0"],
  ["text->audio", "37.5", "2.0", "-", "-"],
  ["A hit is the same sample; tied samples count by expectation."],
]
ALIKE = [
  ["Agreement of codes (held-out samples, %; chance in brackets)"],
  ["pair", "clips", "steps", "steps of one event", "overlap"],
  ["audio-text", "50.0 (12.5)", "40.0 (10.0)", "-", "75.0"],
  ["Agreement: share of clips or steps with the same code in both modalities;"],
  ["overlap: share of their histograms of codes that is common. 12 of 16"],
  ["codes awake; training samples use 11, with perplexity 9.9. On held-out"],
  ["clips, all modalities use 7 codes, and the codes that they agree on have"],
  ["perplexity 5.2."],
]


def test_summary_shows_transfer_where_there_are_labels():
  assert printed(SUMMARY) == TRANSFER + ALIKE


def test_summary_shows_retrieval_where_there_are_none():
  assert printed({**SUMMARY, "cross_modal": {}}) == RETRIEVAL + ALIKE


def test_names_are_flush_left_and_numbers_right():
  first, *rest = tables.summary(SUMMARY).renderables[0].columns
  assert first.justify == "left"
  assert {column.justify for column in rest} == {"right"}


def test_markdown():
  verdicts = ("worse", "better", "better", "unclear")
  rows = by_keep((0.5, 0.725, 0.7, 0.625))
  for found, verdict in zip(rows, verdicts, strict=True):
    found["difference"] = {"verdict": verdict}
  rows += by_keep((0.875, 0.75, 0.5, 0.25), source="text", seeds=1)
  rows += [row(0.99, leads=False, metric="macro")]
  given = {"task": "localization", "note": "per second", "seeds": 2}
  rows += [row(0.4, keep=4, baseline=0.3, **given)]
  rows += [row(0.5, keep=8, baseline=0.3, **given)]
  rows[-2]["difference"] = {"verdict": "worse"}
  rows += [row(0.4, task="nothing to choose", keep=8, baseline=0.3)]
  results = {
    **{"protocol": "heldout", "checkpoint": "runs/x", "chosen_keep": 6},
    **{"asleep": 3, "sharing": SUMMARY["sharing"], "rows": rows},
  }
  expected = """\
Protocol: heldout. Checkpoint: runs/x.
Scores are means over the probes' seeds, with 95 % intervals. Columns are \
numbers of dimensions that TOC keeps (off: all). Without labels, TOC would \
keep 6 (3 codes are asleep).

## sharing: agreement of codes between modalities, % (chance)

| pair | clips | steps | steps of one event | overlap |
| --- | --- | --- | --- | --- |
| audio-text | 50.0 (12.5) | 40.0 (10.0) | - | 75.0 |

Agreement: share of clips or steps with the same code in both modalities; \
overlap: share of their histograms of codes that is common. On held-out \
clips, all modalities use 7 codes, and the codes that they agree on have \
perplexity 5.2.
- audio->text by index: 80.0 (ceiling 90.0, chance 20.0)

## classification: accuracy %

| trained -> tested | chance | 2 | 4 | 6 | 8 (off) |
| --- | --- | --- | --- | --- | --- |
| audio->text | 20.0 | 50.0 (47.0 to 55.0) | 72.5 (69.5 to 77.5) | 70.0 (67.0 \
to 75.0) | 62.5 (59.5 to 67.5) |
| text->text | 20.0 | 87.5 | 75.0 | 50.0 | 25.0 |

- audio->text: compared with all dimensions, TOC is better at 4, 6; worse at \
2. Best on the test labels: 4; chosen without labels: 6, regret 2.5 points.

## localization: accuracy % (per second)

| trained -> tested | clip's class in every segment | 4 | 8 (off) |
| --- | --- | --- | --- |
| audio->text | 30.0 | 40.0 (37.0 to 45.0) | 50.0 (47.0 to 55.0) |

- audio->text: compared with all dimensions, TOC is worse at 4. Best on the \
test labels: 8; chosen without labels: 4, regret 10.0 points.

## nothing to choose: accuracy %

| trained -> tested | clip's class in every segment | 8 (off) |
| --- | --- | --- |
| audio->text | 30.0 | 40.0 (37.0 to 45.0) |
"""
  assert tables.markdown(results) == expected


def test_retrieval():
  def of(keep, first, rank, way="vector"):
    given = {"keep": keep, "representation": way, "note": "ties share"}
    given |= {"task": "retrieval", "queries": 30, "gallery": 40}
    return [
      row(first, metric="r@1", chance=0.1, **given),
      row(rank, metric="median rank", leads=False, chance=20.5, **given),
    ]

  rows = of(4, 0.5, 3.0) + of(8, 0.25, 5.0) + of(None, 0.125, 7.0, "index")
  one = {"split": "test", "checkpoints": ["a"], "rows": rows}
  expected = """\
Split: test. Checkpoints: a.
Shares in %, ranks from 1, chance in brackets. Intervals are 95 % over \
queries; ties share.

## audio -> text (30 queries, gallery of 40)

| representation | r@1 | median rank | interval of r@1 |
| --- | --- | --- | --- |
| vector | 25.0 (10.0) | 5.0 (20.5) | 22.0 to 30.0 |
| index | 12.5 (10.0) | 7.0 (20.5) | 9.5 to 17.5 |

r@1 of vector by dimensions that TOC keeps: 4: 50.0, 8: 25.0.
"""
  assert tables.retrieval(one) == expected
  expected = """\
Split: test. Checkpoints: a, b.
Shares in %, ranks from 1, chance in brackets. Intervals are 95 % over 2 \
checkpoints; ties share.

## audio -> text (30 queries, gallery of 40)

| representation | r@1 | median rank | interval of r@1 |
| --- | --- | --- | --- |
| vector | 12.5 (10.0) | 2.5 (20.5) | 22.0 to 30.0 |
| index | 6.2 (10.0) | 3.5 (20.5) | 9.5 to 17.5 |

r@1 of vector by dimensions that TOC keeps: 4: 25.0, 8: 12.5.
"""
  assert tables.retrieval(averaged(rows)) == expected


def test_generation():
  def of(way, source, accuracy, frechet, **changes):
    given = {"source": source, "representation": way, "note": "of 40"}
    given |= {"task": "generation", "keep": None, **changes}
    return [
      row(accuracy, **given),
      row(frechet, metric="frechet", **given),
    ]

  rows = [
    *of("flow", "audio", 0.5, 1.5),
    *of("flow", "text", 0.6, 1.25, seeds=1),
    *of("real", "text", 0.9, 0.125, seeds=2),
    *of("mean", "text", 0.3, 2.5),
    *of("flow", "text", 0.4, 2.25, target="audio"),
  ]
  one = {"split": "test", "checkpoints": ["a"], "rows": rows}
  expected = """\
Split: test. Checkpoints: a.
Scores of 40. Accuracy: % that a classifier trained on real samples puts in \
their class. R@k: % with a hit among the k nearest real samples. Frechet: \
Fréchet distance of the classifier's features to those of real samples. \
Diversity: mean distance within a class, relative to real samples.

## text

| generator | codes of | accuracy | frechet |
| --- | --- | --- | --- |
| flow | audio | 50.0 ± 4.0 | 1.50 ± 0.04 |
| flow | text (its own) | 60.0 | 1.25 |
| real |  | 90.0 ± 4.0 | 0.12 ± 0.04 |
| mean |  | 30.0 ± 4.0 | 2.50 ± 0.04 |

## audio

| generator | codes of | accuracy | frechet |
| --- | --- | --- | --- |
| flow | text | 40.0 ± 4.0 | 2.25 ± 0.04 |
"""
  assert tables.generation(one) == expected
  expected = """\
Split: test. Checkpoints: a, b.
Scores of 40. Accuracy: % that a classifier trained on real samples puts in \
their class. R@k: % with a hit among the k nearest real samples. Frechet: \
Fréchet distance of the classifier's features to those of real samples. \
Diversity: mean distance within a class, relative to real samples.

## text

| generator | codes of | accuracy | frechet |
| --- | --- | --- | --- |
| flow | audio | 25.0 ± 4.0 | 0.75 ± 0.04 |
| flow | text (its own) | 30.0 | 0.62 |
| real |  | 45.0 ± 4.0 | 0.06 ± 0.04 |
| mean |  | 15.0 ± 4.0 | 1.25 ± 0.04 |

## audio

| generator | codes of | accuracy | frechet |
| --- | --- | --- | --- |
| flow | text | 20.0 ± 4.0 | 1.12 ± 0.04 |
"""
  assert tables.generation(averaged(rows)) == expected
