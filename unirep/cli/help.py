"""The help: configurations, and every key with its default."""

import ast
import io
import pathlib
import tokenize

HERE = pathlib.Path(__file__).resolve().parent.parent
USAGE = """unirep: one discrete code for audio, video and text.

  unirep --config=FILE[:VARIANT,...] [--config.KEY=VALUE ...] [--workdir=DIR]

`python -m unirep` is the same. FILE has a function get_config; these come with
the package:

"""
FLAGS = """
Other flags: --workdir=DIR (where results go), --coordinator=HOST:PORT,
--num_processes=N, --process_id=I, --init_timeout=SECONDS (runs of several
processes), --version. `--help --config=FILE` lists the keys of another file.
"""


def packaged(name: str) -> str:
  """The file of a configuration: NAME[:arg] or configs/NAME.py[:arg].

  A file in the current directory wins over that of the package.
  """
  path, colon, arg = name.partition(":")
  if path and "/" not in path and not path.endswith(".py"):
    path = f"configs/{path}.py"
    name = f"{path}{colon}{arg}"
  own = HERE / path
  here = pathlib.Path(path).exists()
  if path.startswith("configs/") and not here and own.is_file():
    return f"{own}{colon}{arg}"
  return name


def located(argv: list[str]) -> list[str]:
  """Arguments with `packaged` applied to the one of --config."""
  found, last = [], ""
  for argument in argv:
    name, is_, value = argument.partition("=")
    if is_ and name in ("--config", "-config"):
      argument = f"{name}={packaged(value)}"
    elif last in ("--config", "-config"):
      argument = packaged(argument)
    found.append(argument)
    last = argument
  return found


def named(argv: list[str]) -> str:
  """The configuration that they name last, or ""."""
  name, last = "", ""
  for argument in argv:
    key, is_, value = argument.partition("=")
    if is_ and key in ("--config", "-config"):
      name = value
    elif last in ("--config", "-config"):
      name = argument
    last = argument
  return name


def text(argv: list[str]) -> str:
  """The whole of it, for the configuration that `argv` names."""
  named = [x.partition("=")[2] for x in argv if x.startswith("--config=")]
  name = named[-1] if named else "configs/pretrain.py"
  path = pathlib.Path(packaged(name).partition(":")[0])
  lines = [USAGE]
  for file in sorted((HERE / "configs").glob("[!_]*.py")):
    doc = ast.get_docstring(ast.parse(file.read_text())) or ""
    lines.append(f"  configs/{file.name:14}{doc.splitlines()[0]}\n")
  lines.append(FLAGS)
  try:
    source = path.read_text()
    doc = ast.get_docstring(ast.parse(source)) or ""
    lines.append(f"\n{name.partition(':')[0]}\n\n{doc}\n\n")
    lines += [line + "\n" for line in keys(source)]
  except (OSError, SyntaxError, ValueError) as error:
    lines.append(f"\n{name}: cannot be read ({error})\n")
  return "".join(lines)


def keys(source: str) -> list[str]:
  """Lines of a configuration file that set keys, function by function.

  They are its code: each value stands as it is written there, beside its
  comment.
  """
  lines = source.splitlines()
  comments = {
    token.start[0]
    for token in tokenize.generate_tokens(io.StringIO(source).readline)
    if token.type == tokenize.COMMENT
  }
  found: list[str] = []
  for function in ast.parse(source).body:
    if not isinstance(function, ast.FunctionDef):
      continue
    shown: set[int] = set()
    for node in ast.walk(function):
      if isinstance(node, ast.stmt) and _sets(node):
        first = node.lineno
        while first - 1 in comments and lines[first - 2].strip()[:1] == "#":
          first -= 1  # the comment above it
        shown |= {*range(first, (node.end_lineno or first) + 1)}
    if shown:
      doc = (ast.get_docstring(function) or "").splitlines()
      title = function.name.replace("get_config", "always")
      found += ["", f"{title}: {doc[0]}" if doc else f"{title}:"]
      found += [lines[n - 1].rstrip() for n in sorted(shown)]
  return found


def _sets(node) -> bool:
  """Whether a statement sets a key of `config`."""
  if isinstance(node, ast.Assign):
    return any(ast.unparse(t).startswith("config") for t in node.targets) and (
      not isinstance(node.targets[0], ast.Name)
    )
  return (
    isinstance(node, ast.Expr)
    and isinstance(node.value, ast.Call)
    and ast.unparse(node.value.func).startswith("config.")
    and ast.unparse(node.value.func).endswith(".update")
  )
