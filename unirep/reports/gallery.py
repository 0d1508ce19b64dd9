"""Pictures and sounds of what was generated, beside what it should be like.

Dimensions: R samples, T time, F frames, S samples of a sound.
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

FRAMES = 5  # of a series, side by side
CELL = 0.55  # height of a row, in inches
MADE = {FLOW: "codes of {}", DECODER: "codes of {}, decoder of pretraining"}


@charts.styled
def draw(
  path: pathlib.Path,
  source: Source,
  shown: Sequence[tuple[str, Any, Mapping[tuple[str, str], np.ndarray]]],
  row_R: np.ndarray,
  at: Mapping[str, Sequence[slice]],
) -> None:
  """A panel a pair of modalities: source, made of each one's codes, and real.

  Args:
    path: a PNG; a PDF is written beside it.
    source: the samples.
    shown: modality, its `jobs.generate.Learned`, and what was made of it.
    row_R: samples to draw, a column each.
    at: modality -> which steps of each sample.
  """
  known = getattr(source, "raw", dict)()
  parts = []
  for target, learned, made in shown:
    others = [m for way, m in made if way == FLOW and m != target]
    for m in others:
      rows = {}
      if m in known:
        rows[m] = [
          known[m].show(known[m].at(int(r))[steps])
          for r, steps in zip(row_R, at[target], strict=True)
        ]
      for way, whose in ((FLOW, target), (FLOW, m), (DECODER, m)):
        x = made[way, whose]
        rows[MADE[way].format("its own" if whose == target else m)] = [
          learned.raw.show(x[r][steps])
          for r, steps in zip(row_R, at[target], strict=True)
        ]
      rows[f"real {target}"] = [
        learned.raw.show(learned.x[r][steps])
        for r, steps in zip(row_R, at[target], strict=True)
      ]
      title = f"{m} to {target}"
      parts.append((CELL * len(rows) + 0.4, _panel(title, rows)))
  charts.stacked(parts, path)


def _panel(title, rows):
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


def sounds(folder: pathlib.Path, shown, row_R: np.ndarray) -> list[str]:
  """Writes what can be heard as wav files: made of each one's codes, and real.

  Nothing where librosa is not installed; see `audible`.
  """
  if not audible():
    return []
  written = []
  for target, learned, made in shown:
    for way, m in [key for key in made if key[0] == FLOW] + [("real", target)]:
      for i, r in enumerate(row_R):
        x = learned.x[r] if way == "real" else made[way, m][r]
        cell = learned.raw.show(x)
        if cell.kind != raw.SOUND:
          continue
        name = "real" if way == "real" else f"from_{m}"
        folder.mkdir(parents=True, exist_ok=True)
        write_sound(folder / f"{i:02d}_{name}.wav", cell)
        written.append(f"{i:02d}_{name}.wav")
  return written


def audible() -> bool:
  """Whether librosa is there, which finds the phase of a spectrum."""
  return importlib.util.find_spec("librosa") is not None


def wave(shown: Shown) -> np.ndarray:
  """A waveform (S,) of magnitudes, from -1 to 1, by Griffin and Lim's method.

  Raises:
    InputError: without librosa, or for what can't be heard.
  """
  if shown.kind != raw.SOUND or shown.spectrum is None:
    raise InputError(f"{shown.kind} can't be heard")
  if not audible():
    raise InputError("sounds need librosa: pip install 'unirep[sound]'")
  librosa: Any = importlib.import_module("librosa")
  how = shown.spectrum
  x_S = librosa.griffinlim(
    shown.values.T.astype(np.float32),
    n_iter=64,
    hop_length=how.hop,
    win_length=how.window,
    n_fft=how.size,
    random_state=0,
  )
  return x_S / max(float(np.abs(x_S).max()), 1e-6)


def write_sound(path: pathlib.Path, shown: Shown) -> None:
  """Writes a 16 bit wav file, see `wave`."""
  import soundfile

  if shown.spectrum is None:
    raise InputError(f"{shown.kind} can't be heard")
  x_S = wave(shown)
  with atomic.whole(path) as part:
    soundfile.write(part, x_S, shown.spectrum.rate, "PCM_16", format="WAV")
