"""The cache of compiled programs."""

import hashlib
import os
import pathlib

import jax

from unirep.runtime import atomic


def open_default() -> None:
  """Keeps compiled programs in the user's cache directory, if it is writable.

  `JAX_COMPILATION_CACHE_DIR` names another directory, and
  `JAX_ENABLE_COMPILATION_CACHE=false` keeps none. Programs for several CPU
  devices are not kept: this JAX reads wrong programs back.
  """
  several = jax.default_backend() == "cpu" and jax.device_count() > 1
  if jax.config.values["jax_compilation_cache_dir"] or several:
    return
  if not _writable(place := directory()):
    return  # JAX would print a warning for every program
  jax.config.update("jax_compilation_cache_dir", str(place))
  # Small programs too: there are dozens, and they add up.
  jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
  jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)


def _writable(place: pathlib.Path | None) -> bool:
  if place is None:
    return False
  try:
    place.mkdir(parents=True, exist_ok=True)
  except OSError:
    return False
  return os.access(place, os.W_OK | os.X_OK)


def directory() -> pathlib.Path | None:
  """The directory for this kind of processor; None for a user without a home.

  Machines that share a home may have processors of other kinds.
  """
  kind = hashlib.sha256(_processor().encode()).hexdigest()[:8]
  try:
    return atomic.cache() / f"programs-{kind}"
  except RuntimeError:
    return None


def _processor() -> str:
  try:
    lines = pathlib.Path("/proc/cpuinfo").read_text().splitlines()
  except OSError:
    return " ".join(os.uname())
  kind = {x for x in lines if x.startswith(("flags", "model name", "Features"))}
  return "\n".join(sorted(kind))
