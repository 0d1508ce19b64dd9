"""The frozen model: from features to codes and vectors.

    model = unirep.load("runs/digits")
    codes = model.encode(audio=audio, video=video)

It takes and returns NumPy arrays. Dimensions: B samples, T time, F feature
width, K codes, D code width.
"""

import functools
import hashlib
import json
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from unirep.configuration import build
from unirep.data import pipeline, presence
from unirep.data.sample import PRESENT, Source
from unirep.inference import codes as coded
from unirep.inference import export, inputs, media, nearest, similarity
from unirep.inference.codes import Codes
from unirep.inference.programs import Programs
from unirep.inference.similarity import States
from unirep.methods.network import Network
from unirep.quantizer.codebook import awake
from unirep.runtime.errors import InputError
from unirep.train import reading

ROWS = 64  # samples of a batch when a source is encoded


class Tokenizer:
  """A frozen model, which turns features into codes; see `load`.

  Attributes:
    modalities: names of its modalities.
    codebook: (K, D), the codes.
    awake: (K,) bool, False for codes that are asleep and never assigned.
    settings: the configuration of the run that trained it.
    network: the description of its network.
    params: the weights.
    programs: its compiled programs.
  """

  def __init__(
    self,
    network: Network,
    params: Mapping[str, Any],
    code_KxD: Any,
    settings: Mapping[str, Any],
    rows: int = ROWS,
  ):
    self.modalities = network.order
    self.codebook = np.asarray(code_KxD)
    self.awake = np.asarray(awake(code_KxD))
    self.settings = settings
    self.network, self.params = network, params
    self.programs = Programs(network, params, self.codebook, settings)
    self._rows = rows
    self._may_miss = presence.expected(settings["data"])

  def __repr__(self) -> str:
    K, D = self.codebook.shape
    return (
      f"<Tokenizer of {', '.join(self.modalities)}: {K} codes of {D}"
      f" dimensions, {int(self.awake.sum())} awake>"
    )

  def __reduce__(self):
    """Pickles the parts; programs are compiled again after unpickling."""
    parts = self.network, self.params, self.codebook, self.settings
    return type(self), jax.device_get((*parts, self._rows))

  @functools.cached_property
  def digest(self) -> str:
    """A digest of settings, weights and codebook, 16 hexadecimal digits."""
    text = json.dumps(self.settings, sort_keys=True, default=str)
    digest = hashlib.sha256(text.encode())
    for keys, x in jax.tree_util.tree_leaves_with_path(self.params):
      digest.update(jax.tree_util.keystr(keys).encode())
      digest.update(np.asarray(x).tobytes())
    digest.update(self.codebook.tobytes())
    return digest.hexdigest()[:16]

  def encode(
    self,
    features: Mapping[str, Any] | None = None,
    /,
    lengths: Mapping[str, Sequence[int]] | None = None,
    **named: Any,
  ) -> dict[str, Any]:
    """Codes of the steps of any of the modalities.

    Args:
      features: modality -> an array (B, T, F), or (B, T, H, W, F) of a grid, or
        a list of B arrays that may differ in T. B may differ between
        modalities. Without the axis of time, T is 1, as in training.
      lengths: modality -> number of valid steps of each sample, for padded
        arrays.
      **named: more features, as keywords.

    Returns:
      Modality -> int32 codes (B, T), or a list of B arrays (T,) for a list. A
      modality that is not fine-aligned, like text, has one code for each
      sample: T is 1. Codes of padding are -1. If the model was trained with
      `data.missing`, samples that are all NaN are missing, and their codes -1.

    Raises:
      InputError: for an unknown modality, a wrong rank or width, NaN, or no
        samples.
    """
    return self._codes({**(features or {}), **named}, lengths, clip=False)

  def encode_clips(
    self,
    features: Mapping[str, Any] | None = None,
    /,
    lengths: Mapping[str, Sequence[int]] | None = None,
    **named: Any,
  ) -> dict[str, np.ndarray]:
    """Codes of whole clips, one for each sample and modality.

    Args:
      features: as in `encode`.
      lengths: as in `encode`.
      **named: as in `encode`.

    Returns:
      Modality -> int32 codes (B,), for arrays and lists. For a modality that is
      not fine-aligned they are the codes that `encode` returns.

    Raises:
      InputError: as `encode` does.
    """
    return self._codes({**(features or {}), **named}, lengths, clip=True)

  def encode_files(
    self, paths: Sequence[str | pathlib.Path | Mapping[str, str]]
  ) -> list[dict[str, np.ndarray]]:
    """Codes of raw media, by the extractors that the model was trained on.

    Args:
      paths: samples: a file each, or a mapping from a modality (or "video",
        "image") to a file if a sample has several files.

    Returns:
      For each sample modality -> int32 codes: (T,) of all of its segments, or
      (1,) of a caption. Modalities that a sample lacks are left out.

    Raises:
      InputError: for a file that is broken or has nothing for the model.
    """
    return media.encode(self, paths)

  def decode(
    self, codes: Any, modality: str, /, like: Any, *, rows: int = 256
  ) -> np.ndarray:
    """Features that the decoders of pretraining restore from codes.

    A decoder also takes specific features, which codes don't hold. They are
    set to the mean over given samples, so that the result is an average.
    (`unirep.tasks.generation` draws samples.)

    Args:
      codes: (B, T) of any modality, -1 for none.
      modality: modality of the features.
      like: features of that modality, (N, T, ...) with the same T, all valid;
        the specific features are the mean of theirs.
      rows: number of samples of `like` to average, and of codes to decode at a
        time.

    Returns:
      Features (B, T, ...), 0 where the code is -1.

    Raises:
      InputError: for an unknown modality, codes out of range, or another
        number of steps.
    """
    if "decoder" not in self.params:
      raise InputError("the model was imported from a file without decoders")
    if isinstance(like, list) and len({len(x) for x in like}) == 1:
      like = np.stack(like)
    x = self.check({modality: like})[modality]
    idx_BxT = inputs.codes(codes, len(self.codebook))
    steps = x.shape[1] if isinstance(x, np.ndarray) else None
    if idx_BxT.shape[1] != (steps if modality in self.network.fine else 1):
      raise InputError(
        f"like: {modality!r} needs {idx_BxT.shape[1]} steps in each sample"
      )
    if rows < 1:
      raise InputError(f"rows={rows} must be at least 1")
    return self.programs.decode(modality, idx_BxT, x, rows)

  def similarity(
    self, a: Any, b: Any, representation: str = "vector", keep: Any = None
  ) -> np.ndarray:
    """Similarities (A, B) of samples, 1 for equal ones.

    Args:
      a: {modality: features} of one modality, as in `encode`, or its `states`.
      b: the same, of that modality or another one.
      representation: how to compare, see `similarity.REPRESENTATIONS`: code,
        vector, bag, steps, soft, general or clip.
      keep: a mask (D,) or indices of the dimensions that count; None for all.

    Raises:
      InputError: as `encode` does, or for an unknown representation.
    """
    return nearest.similarity(*self._items(a, b, representation, keep))

  def search(
    self,
    query: Any,
    gallery: Any,
    k: int = 10,
    representation: str = "vector",
    keep: Any = None,
  ) -> tuple[np.ndarray, np.ndarray]:
    """The k samples of a gallery that are most similar to each query.

    Args:
      query: as `a` in `similarity`.
      gallery: as `b` in `similarity`. To search a gallery more than once, pass
        its `states`.
      k: number of samples to find.
      representation: as in `similarity`.
      keep: as in `similarity`.

    Returns:
      Similarities (Q, k), best first, and indices (Q, k). Ties are common with
      codes; the sample with the lower index comes first.

    Raises:
      InputError: as `similarity`, or if the gallery has fewer than k samples.
    """
    items = self._items(query, gallery, representation, keep)
    return nearest.search(*items, k)

  def _items(self, a, b, representation, keep):
    if keep is not None:
      dims = self.codebook.shape[1]
      keep = np.isin(np.arange(dims), inputs.dimensions(keep, dims))
    states = (self._states_of(a), self._states_of(b))
    return similarity.items(*states, self.codebook, representation, keep)

  def _states_of(self, x: Any) -> States:
    if isinstance(x, States):
      return x
    if not isinstance(x, Mapping) or len(x) != 1:
      raise InputError(
        "give {modality: features} of one modality, or its states"
      )
    (states,) = self.states(x).values()
    return states

  def check(self, features: Mapping[str, Any]) -> dict[str, Any]:
    """The features as float32, see `inputs.checked`.

    Raises:
      InputError: as `encode` does.
    """
    unknown = [m for m in features if m not in self.modalities]
    if unknown or not features:
      problem = f"no modality {unknown[0]!r}" if unknown else "no features"
      raise InputError(f"{problem}; give any of {', '.join(self.modalities)}")
    return {
      m: inputs.checked(
        m, x, self.network.kind(m).axes, self.network.width(self.params, m)
      )
      for m, x in features.items()
    }

  def check_source(self, source: Source, where: str) -> None:
    """Checks the first sample of a source.

    Args:
      source: one sample or more.
      where: the name of the split, for the error.

    Raises:
      InputError: for features that the model does not take, or none that it
        takes.
    """
    given = source[0]["features"]
    names = [m for m in self.modalities if m in given]
    if not names:
      raise InputError(
        f"{where} split: it has only {', '.join(given)}, but the model takes"
        f" {', '.join(self.modalities)}"
      )
    try:
      self.check({m: given[m][None] for m in names})
    except InputError as error:
      raise InputError(f"{where} split: {error}") from error

  def embed(
    self,
    features: Mapping[str, Any] | None = None,
    /,
    lengths: Mapping[str, Sequence[int]] | None = None,
    *,
    keep: Any = None,
    **named: Any,
  ) -> dict[str, Any]:
    """Quantized vectors of steps: the code of each assignment.

    Args:
      features: as in `encode`.
      lengths: as in `encode`.
      keep: a mask (D,) or indices of the dimensions to return; None for all.
      **named: as in `encode`.

    Returns:
      Modality -> (B, T, D), or a list of (T, D), as `encode` returns codes;
      zeros where the code is -1.

    Raises:
      InputError: as `encode` does.
    """
    code_KxD = self.codebook
    if keep is not None:
      code_KxD = code_KxD[:, inputs.dimensions(keep, code_KxD.shape[1])]
    table = np.concatenate([code_KxD, np.zeros_like(code_KxD[:1])])  # [-1]
    return {
      m: [table[i] for i in idx] if isinstance(idx, list) else table[idx]
      for m, idx in self.encode(features, lengths, **named).items()
    }

  def export(self, folder: str | pathlib.Path) -> dict[str, Any]:
    """Writes the model as programs that run without this package.

    Args:
      folder: created if needed; `unirep.inference.export` lists its files.

    Returns:
      The contents of its `model.json`.

    Raises:
      InputError: if the folder can't be created or a package is missing.
    """
    return export.write(
      pathlib.Path(folder),
      self.network,
      self.params,
      self.codebook,
      self.settings,
    )

  def states(
    self,
    features: Mapping[str, Any] | None = None,
    /,
    lengths: Mapping[str, Sequence[int]] | None = None,
    **named: Any,
  ) -> dict[str, States]:
    """Codes and vectors of samples, to keep for `search` and `similarity`.

    Args:
      features: as in `encode`.
      lengths: as in `encode`.
      **named: as in `encode`.

    Raises:
      InputError: as `encode` does.
    """
    padded = self._padded({**(features or {}), **named}, lengths)
    return {m: self._states(m, x) for m, x in padded.items()}

  def codes(
    self,
    source: Source,
    *,
    dropout: jax.Array | None = None,
    passes: int = 1,
    first: int = 0,
  ) -> Codes:
    """Codes and labels of all samples of a source, in its order.

    Batches are split over all devices of this process.

    Args:
      source: N samples.
      dropout: PRNG key of dropout; None for no dropout.
      passes: how often to encode each sample, each time with other dropout.
      first: number of the first sample if `source` is a part of a larger one;
        the dropout of a sample depends on its number.

    Returns:
      Codes of passes * N samples, pass after pass.
    """
    results: list[list[Codes]] = [[] for _ in range(passes)]
    devices = jax.local_devices()[: max(-(-len(source) // self._rows), 1)]
    model = self.params, self.codebook
    sharding: Any = None
    if len(devices) > 1:
      mesh = Mesh(devices, ("data",), axis_types=(AxisType.Auto,))
      sharding = NamedSharding(mesh, PartitionSpec("data"))
      model = jax.device_put(model, NamedSharding(mesh, PartitionSpec()))
    rows = self._rows * len(devices)
    for batch, valid in pipeline.in_order(source, rows):
      features, present = batch["features"], batch.get(PRESENT, {})
      features = {m: x for m, x in features.items() if m in self.modalities}
      mask = self.programs.mask(batch["features"], batch["lengths"])
      steps = {m: mask[m][:valid] for m in {*mask} & {*self.network.fine}}
      present = {m: here_B[:valid] for m, here_B in present.items()}
      labels = {n: x[:valid] for n, x in batch["labels"].items()}
      # Copied to the devices once, for all passes.
      features, mask = jax.device_put((features, mask), sharding)
      for i, result in enumerate(results):
        keys_B = None
        if dropout is not None:
          row_B = first + jnp.arange(rows)
          key = jax.random.fold_in(dropout, i)
          keys_B = jax.vmap(jax.random.fold_in, (None, 0))(key, row_B)
          keys_B = jax.device_put(keys_B, sharding)
        # Weights are arguments: as constants they would slow compilation down.
        idx, clip = jax.tree.map(
          lambda x, n=valid: x[:n],
          jax.device_get(
            self.programs.encode_both(*model, features, mask, keys_B)
          ),
        )
        result.append(coded.masked(Codes(idx, clip, labels), steps, present))
      first += valid
    return coded.join([codes for result in results for codes in result])

  def _codes(self, features, lengths, *, clip: bool) -> dict[str, Any]:
    program = functools.partial(self.programs.encode, clip=clip)
    codes = {}
    for m, padded in self._padded(features, lengths).items():
      idx_BxT = self.programs.in_buckets(m, padded.x, padded.length_B, program)
      if m in self.network.fine and not clip:
        idx_BxT[~padded.valid_BxT] = -1
      idx_BxT[padded.missing_B] = -1
      codes[m] = idx_BxT[:, 0] if clip else padded.unpad(idx_BxT)
    return codes

  def _states(self, m: str, padded: inputs.Padded) -> States:
    steps, clips = self.programs.in_buckets(
      m, padded.x, padded.length_B, self.programs.states
    )
    idx_BxT, general_BxTxD, soft_BxTxK = steps
    clip_Bx1, whole_Bx1xD, _ = clips
    stepwise = m in self.network.fine
    here_BxT = np.broadcast_to(~padded.missing_B[:, None], idx_BxT.shape)
    if stepwise:
      here_BxT = here_BxT & padded.valid_BxT
    here_BxTx1 = here_BxT[..., None]
    steps_Bx1 = np.maximum(here_BxT.sum(1, keepdims=True), 1)
    return States(
      idx_NxT=np.where(here_BxT, idx_BxT, -1),
      clip_N=np.where(padded.missing_B, -1, clip_Bx1[:, 0]),
      general_NxTxD=np.where(here_BxTx1, general_BxTxD, 0),
      whole_NxD=np.where(padded.missing_B[:, None], 0, whole_Bx1xD[:, 0]),
      soft_NxK=np.where(here_BxTx1, soft_BxTxK, 0).sum(1) / steps_Bx1,
      steps=stepwise,
    )

  def _padded(self, features, lengths) -> dict[str, inputs.Padded]:
    """Checks the features of a call and pads them, by modality."""
    features, missing = inputs.fill_missing(features, self._may_miss)
    lengths, features = lengths or {}, self.check(features)
    for m in lengths:
      if m not in features:
        raise InputError(f"lengths[{m!r}] has no features of that name")
    return {
      m: inputs.padded(m, x, lengths.get(m), missing[m])
      for m, x in features.items()
    }


def load(path: str | pathlib.Path) -> Tokenizer:
  """Loads a frozen model.

  Args:
    path: the work directory of a pretraining run, or one of its checkpoints.

  Raises:
    InputError: if there is no checkpoint, or it is damaged.
  """
  params, codebook, settings = reading.read_model(
    pathlib.Path(path), build.shapes
  )
  network = build.network(build.from_json(settings))
  return Tokenizer(network, params, codebook["code_KxD"], settings)
