"""What readers make of broken files: PYTHONPATH=tests python -m fuzz.table."""

import sys

from fuzz import targets, trial

COUNT = 1000


def main(count):
  print("| reader | tried | refused | accepted | wrong | MiB | slowest, s |")
  print("|---|---|---|---|---|---|---|")
  for name in targets.TARGETS:
    x = trial.run(name, count)
    print(
      f"| {name} | {count} | {x.refused} | {x.accepted} | {len(x.wrong)}"
      f" | {x.peak / 2**20:.0f} | {x.slowest:.2f} |",
      flush=True,
    )
    for number, what in [*x.wrong.items()][:5]:
      print(f"  {name} {number}: {what}", file=sys.stderr)


if __name__ == "__main__":
  main(int(sys.argv[1]) if len(sys.argv) > 1 else COUNT)
