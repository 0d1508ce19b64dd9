"""The command line, `python -m unirep.main`.

    python -m unirep.main --config=configs/pretrain.py --workdir=DIR

This module imports no JAX, so that help and the name of a missing package come
at once.
"""

import sys

from unirep.runtime import errors, signals, streams

LEAST = (3, 11)


def main() -> None:
  """Runs the command line, and exits with its code."""
  streams.guard()
  listener = signals.Listener()
  listener.start()
  try:
    code = run(sys.argv)
  except SystemExit as end:
    code = end.code
  listener.code = code if isinstance(code, int) else int(code is not None)
  sys.exit(code)


def run(argv: list[str]) -> int:
  """Runs a command line; returns its exit code, 2 for a missing package."""
  if sys.version_info < LEAST:
    return _refuse(
      f"needs Python {'.'.join(map(str, LEAST))} or newer, this is "
      f"{sys.version.split()[0]}; make a virtual environment with a newer one"
    )
  # Alone it would train for minutes, which a first look does not ask for.
  helps = ("-h", "--help", "--helpfull")
  if len(argv) == 1 or any(x in helps for x in argv[1:]):
    from unirep.cli import help

    sys.stdout.write(help.text(argv[1:]))
    return 0
  if "--version" in argv[1:]:
    import unirep

    sys.stdout.write(f"unirep {unirep.__version__}\n")
    return 0
  try:
    import absl.app
    import absl.logging

    from unirep.cli import experiment, flags
  except ImportError as error:
    name = (error.name or "").split(".")[0]
    if name == "unirep":
      raise
    fault = (
      f"the package {name!r} is missing" if name else "a package is broken"
    )
    line = " ".join(str(error).split())
    return _refuse(
      f"{fault} ({line}); install unirep again: pip install -e . in its clone, "
      "or pip install unirep"
    )
  absl.logging.set_verbosity(absl.logging.WARNING)
  absl.app.run(experiment.main, argv=argv, flags_parser=flags.parse)
  return 0


def _refuse(line: str) -> int:
  errors.say(line)
  return errors.MENDABLE


if __name__ == "__main__":
  main()
