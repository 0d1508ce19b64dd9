"""Pictures and sounds of generated samples, beside the real ones.

Dimensions: R samples to draw, T time, F frames, J joints, S samples of a sound.
"""

import importlib
import importlib.util
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from unirep.data import raw
from unirep.data.raw import Shown
from unirep.data.sample import Source
from unirep.reports import charts
from unirep.runtime import atomic
from unirep.runtime.errors import InputError
from unirep.tasks.generation.table import DECODER, FLOW

FRAMES = 5  # frames of a series that are drawn side by side
CELL = 0.55  # height of a row, in inches
NAMES = {FLOW: "codes of {}", DECODER: "codes of {}, decoder of pretraining"}


@charts.styled
def draw(
  path: pathlib.Path,
  source: Source,
  results: Sequence[tuple[str, Any, Mapping[tuple[str, str], np.ndarray]]],
  row_R: np.ndarray,
  at: Mapping[str, Sequence[slice]],
) -> None:
  """Draws generated samples: a panel for each pair of modalities.

  The rows of a panel are the raw source, if there is one, the target generated
  from its own codes and from those of the source, and the real target.

  Args:
    path: a PNG; a PDF is written beside it.
    source: the samples.
    results: for each target modality its name, its `jobs.generators.Learned`,
      and (generator, modality of the codes) -> samples (N, T, H, W, C).
    row_R: numbers of the samples to draw, a column for each.
    at: modality -> for each of these the steps to draw.
  """
  raws = getattr(source, "raw", dict)()
  parts = []
  for target, learned, generated in results:
    columns = [*zip(row_R.tolist(), at[target], strict=True)]
    others = [m for way, m in generated if way == FLOW and m != target]
    for m in others:
      rows = {}
      if m in raws:
        rows[m] = [raws[m].show(raws[m].at(r)[steps]) for r, steps in columns]
      for way, owner in ((FLOW, target), (FLOW, m), (DECODER, m)):
        x = generated[way, owner]
        rows[NAMES[way].format("its own" if owner == target else m)] = [
          learned.raw.show(x[r][steps]) for r, steps in columns
        ]
      rows[f"real {target}"] = [
        learned.raw.show(learned.x[r][steps]) for r, steps in columns
      ]
      panel = _panel(f"{m} to {target}", rows)
      parts.append((CELL * len(rows) + 0.4, panel))
  charts.stacked(parts, path)


def _panel(title, rows):
  """The function that draws a panel; rows are name -> cells."""

  def fill(figure):
    figure.suptitle(title)
    count = len(next(iter(rows.values())))
    axes = figure.subplots(len(rows), count, squeeze=False)
    for line, (name, cells) in zip(axes, rows.items(), strict=True):
      for axis, cell in zip(line, cells, strict=True):
        axis.set_xticks([])
        axis.set_yticks([])
        for side in axis.spines.values():
          side.set_visible(False)
        DRAWN[cell.kind](axis, cell)
      line[0].set_ylabel(
        name, rotation=0, ha="right", va="center", wrap=True, fontsize=6
      )

  return fill


def _pictures(axis, shown: Shown) -> None:
  x_FxHxW = _some(shown.values)
  # Ink on paper, as for everything else.
  wide = np.concatenate([*x_FxHxW], 1)
  axis.imshow(
    wide, cmap="gray_r" if len(x_FxHxW) == 1 else "gray", aspect="equal"
  )


def _sound(axis, shown: Shown) -> None:
  loud_KxF = np.log(np.maximum(shown.values.T, 1e-3))
  axis.imshow(loud_KxF, origin="lower", aspect="auto")


def _joints(axis, shown: Shown) -> None:
  frames = _some(shown.values)
  for i, joint_Jx3 in enumerate(frames):
    shade = str(0.7 * (1 - (i + 1) / len(frames)))
    for one, other in shown.bones:
      ends = joint_Jx3[[one, other]]
      axis.plot(ends[:, 0] + 0.8 * i, ends[:, 1], color=shade, lw=0.7)
  axis.set_aspect("equal")


def _curves(axis, shown: Shown) -> None:
  for i, curve in enumerate(shown.values.T):
    axis.plot(curve, color=charts.COLORS[i % len(charts.COLORS)], lw=0.5)


DRAWN = {
  raw.PICTURES: _pictures,
  raw.SOUND: _sound,
  raw.JOINTS: _joints,
  raw.CURVES: _curves,
}


def _some(frames):
  """A few frames, spread over all of them."""
  place = np.linspace(0, len(frames) - 1, min(FRAMES, len(frames)))
  return frames[place.round().astype(int)]


def sounds(folder: pathlib.Path, results, row_R: np.ndarray) -> list[str]:
  """Writes generated and real sounds as wav files.

  Without librosa nothing is written, see `audible`.

  Args:
    folder: created if needed.
    results: as in `draw`; modalities that are no sounds are left out.
    row_R: numbers of the samples.

  Returns:
    Names of the files.
  """
  if not audible():
    return []
  written = []
  for target, learned, generated in results:
    keys = [key for key in generated if key[0] == FLOW] + [("real", target)]
    for way, m in keys:
      for i, r in enumerate(row_R):
        x = learned.x[r] if way == "real" else generated[way, m][r]
        cell = learned.raw.show(x)
        if cell.kind != raw.SOUND:
          continue
        name = "real" if way == "real" else f"from_{m}"
        folder.mkdir(parents=True, exist_ok=True)
        write_sound(folder / f"{i:02d}_{name}.wav", cell)
        written.append(f"{i:02d}_{name}.wav")
  return written


def audible() -> bool:
  """Whether librosa, which recovers the phase of a spectrum, is installed."""
  return importlib.util.find_spec("librosa") is not None


def wave(shown: Shown) -> np.ndarray:
  """The waveform (S,) in [-1, 1] of a magnitude spectrum, by Griffin-Lim.

  Raises:
    InputError: without librosa, or if `shown` is no spectrum.
  """
  if shown.kind != raw.SOUND or shown.spectrum is None:
    raise InputError(f"{shown.kind} can't be heard")
  if not audible():
    raise InputError("sounds need librosa: pip install 'unirep[sound]'")
  librosa: Any = importlib.import_module("librosa")
  spectrum = shown.spectrum
  x_S = librosa.griffinlim(
    shown.values.T.astype(np.float32),
    n_iter=64,
    hop_length=spectrum.hop,
    win_length=spectrum.window,
    n_fft=spectrum.size,
    random_state=0,
  )
  return x_S / max(float(np.abs(x_S).max()), 1e-6)


def write_sound(path: pathlib.Path, shown: Shown) -> None:
  """Writes a 16 bit wav file; arguments and errors as in `wave`."""
  import soundfile

  if shown.spectrum is None:
    raise InputError(f"{shown.kind} can't be heard")
  x_S = wave(shown)
  with atomic.whole(path) as part:
    soundfile.write(part, x_S, shown.spectrum.rate, "PCM_16", format="WAV")
