#!/usr/bin/env bash
# Preemption under a real Slurm, which lives on this machine during the test.
#   bash tests/slurm/run.sh        two processes on one node
#   bash tests/slurm/run.sh 2      one process on each of two nodes
# Needs root, `apt-get install -y slurm-wlm munge`, and a python on the path with
# unirep. Two cores take about eight minutes. What it leaves: nothing, or after
# a failure the directory that it names.
set -euo pipefail
cd "$(dirname "$0")/../.."
nodes="${1:-1}"
place="$(mktemp -d /tmp/unirep-slurm.XXXXXX)"
export SLURM_CONF="$place/slurm.conf" # no other Slurm is asked, whatever fails
export JAX_PLATFORMS=cpu TF_CPP_MIN_LOG_LEVEL=3

leave() {
  local code=$?
  scancel --quiet --user="$(id -un)" 2>/dev/null || true
  SECONDS=0
  while [ -n "$(timeout 5 squeue --noheader 2>/dev/null)" ] && [ $SECONDS -lt 90 ]; do
    sleep 1 # without munged, what still runs could not say good-bye
  done
  bash tests/slurm/setup.sh stop "$place"
  if [ $code = 0 ]; then rm -rf "$place"; else echo "FAILED; logs are in $place"; fi
}
trap leave EXIT
trap 'exit 143' TERM INT
bash tests/slurm/setup.sh start "$place" "$nodes"
began=$SECONDS
say() { echo "$(date +%T) $*"; }

submit() { # submit NAME: prints the job's number
  sbatch --parsable --nodes="$nodes" --ntasks=2 --ntasks-per-node=$((2 / nodes)) \
    --time=20 --output="$place/$1.log" launch/slurm.sbatch \
    --config=configs/pretrain.py:size=tiny --config.steps=40 \
    --config.checkpoint_every=15 --config.data.train_size=64 \
    --config.data.test_size=16 --workdir="$place/$1"
}

LIMIT=1500 # seconds that a stage may wait, on a machine that does other things

steps() { # steps NAME COUNT: returns when so many are logged
  local end=$((SECONDS + LIMIT))
  until [ "$(cat "$place/$1/metrics.jsonl" 2>/dev/null | wc -l)" -ge "$2" ]; do
    sleep 0.3
    [ $SECONDS -lt $end ] || { echo "no step $2 in $1"; return 1; }
  done
}

finish() { # finish JOB RESTARTS: it completes, with so many restarts
  local end=$((SECONDS + LIMIT))
  while [ -n "$(squeue --noheader --jobs="$1" 2>/dev/null)" ]; do
    sleep 1
    [ $SECONDS -lt $end ] || { echo "job $1 does not end"; return 1; }
  done
  scontrol show job "$1" | grep -q "JobState=COMPLETED" ||
    { scontrol show job "$1"; return 1; }
  scontrol show job "$1" | grep -q "Restarts=$2 " ||
    { scontrol show job "$1"; return 1; }
}

same() { # same NAME: as the run that nothing happened to
  grep -q ": resuming after step" "$place/$1.log"
  python tests/slurm/compare.py "$place/plain" "$place/$1" 2>>"$place/compare.log"
}

bash launch/slurm.sbatch --dry_run --config=x.py |
  grep -q "^srun .*python -m unirep.main --config=x.py"

say "two processes on $nodes node(s), undisturbed"
finish "$(submit plain)" 0
grep -m1 "processes" "$place/plain.log"

say "SIGTERM in the middle, as before the time limit"
job="$(submit noticed)"
steps noticed 10
scancel --signal=TERM "$job"
finish "$job" 1
grep -m1 "saved after step" "$place/noticed.log"
same noticed

say "requeued in the middle, as by preemption"
job="$(submit requeued)"
steps requeued 10
scontrol requeue "$job"
finish "$job" 1
grep -m1 "saved after step" "$place/requeued.log"
same requeued

say "cancelled: saved, and stays so"
job="$(submit cancelled)"
steps cancelled 5
scancel "$job"
while [ -n "$(squeue --noheader --jobs="$job" 2>/dev/null)" ]; do sleep 1; done
scontrol show job "$job" | grep -q "JobState=CANCELLED"
grep -m1 "saved after step" "$place/cancelled.log"

say "a sweep as an array job"
cat >"$place/sweep.py" <<'PY'
from unirep.launch.grid import grid

def get_sweep():
  base = {"config": "configs/pretrain.py:size=tiny"}
  base |= {"data.train_size": 32, "data.test_size": 16}
  return [base | x for x in grid(seed=[0, 1])]
PY
sweep=(python -m unirep.launch.sweep --sweep="$place/sweep.py" --workdir="$place/sweep")
"${sweep[@]}" --how=slurm --jobs=2
while [ -n "$(squeue --noheader 2>/dev/null)" ]; do sleep 1; done
"${sweep[@]}" --how=table
say "all is well, $((SECONDS - began)) s"
