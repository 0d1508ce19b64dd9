"""Missing modalities: rows of features that are all NaN.

Dimensions: N samples.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from unirep.runtime.errors import InputError


def expected(data: Mapping[str, Any]) -> bool:
  """Whether NaN means a missing modality in a source with these settings."""
  return data.get("missing", data["source"] == "media")


def absent(
  features: Mapping[str, np.ndarray], lengths: Mapping[str, np.ndarray]
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray], dict[str, np.ndarray]]:
  """Finds missing modalities: features of a sample that are all NaN.

  Other NaN stay, and `Arrays` refuses them.

  Args:
    features: per modality (N, ...).
    lengths: per modality (N,), of any value where the modality is missing.

  Returns:
    Features with zeros in the place of missing ones, lengths with 1 there, and
    per modality that a sample lacks (N,) bool, False where it is missing.
  """
  features, lengths, present = dict(features), dict(lengths), {}
  for m, x in features.items():
    if x.dtype.kind != "f" or x.ndim < 2 or not x.size:
      continue  # nothing is missing, or `Arrays` refuses it
    here_N = ~np.isnan(x.reshape(len(x), -1)[:, 0])
    maybe = np.flatnonzero(~here_N)  # only these are looked at as a whole
    here_N[maybe] = [not np.isnan(x[i]).all() for i in maybe]
    if here_N.all():
      continue
    present[m] = here_N
    features[m] = x.copy()
    features[m][~here_N] = 0
    if m in lengths and np.shape(lengths[m]) == here_N.shape:
      lengths[m] = np.where(here_N, lengths[m], 1)
  return features, lengths, present


def check(
  features: Mapping[str, Any], present: Mapping[str, np.ndarray]
) -> None:
  """Raises InputError for an unknown modality, or a sample without any.

  Args:
    features: per modality.
    present: per modality that samples lack (N,) bool.
  """
  for m, here_N in present.items():
    if m not in features:
      raise InputError(f"present[{m!r}] has no modality of that name")
    if here_N.dtype != bool or here_N.ndim != 1:
      raise InputError(
        f"present[{m!r}] must be (N,) bool, got {here_N.dtype} of shape"
        f" {here_N.shape}"
      )
    if not here_N.any():
      raise InputError(
        f"features[{m!r}] is missing from all {len(here_N)} samples"
      )
  if present and present.keys() >= features.keys():
    none_N = ~np.any([*present.values()], 0)
    if none_N.any():
      raise InputError(f"sample {none_N.argmax()} lacks every modality")
