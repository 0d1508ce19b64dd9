#!/usr/bin/env bash
# A run on all hosts of a Cloud TPU slice, which may be preempted.
#   ZONE=us-west4-a TYPE=v5litepod-16 bash launch/tpu_vm.sh NAME \
#     --config=configs/pretrain.py:size=paper --workdir=/mnt/runs/paper
# Asks for the slice as a queued resource, installs this checkout on every host,
# runs, and asks for a new slice when this one is preempted; the run goes on from
# its last checkpoint. Every host must see the work directory: a mounted bucket
# or share. Needs gcloud. --dry_run prints what would run.
#   VERSION (image), SPOT=false, KEEP=true (don't delete at the end) are optional.
set -euo pipefail
cd "$(dirname "$0")/.."

NAME="${1:?name of the slice}" && shift
: "${ZONE:?zone}" "${TYPE:?accelerator type, such as v5litepod-16}"
VERSION="${VERSION:-v2-alpha-tpuv5-lite}" SPOT="${SPOT:-true}" KEEP="${KEEP:-}"
AGAIN=75 # how unirep.main ends when its state is saved and it wants to go on
arguments=() dry_run=
for x in "$@"; do
  if [ "$x" = --dry_run ]; then dry_run=1; else arguments+=("$x"); fi
done

run() {
  if [ -n "$dry_run" ]; then printf '%q ' "$@" && echo; else "$@"; fi
}
tpu() { run gcloud compute tpus "$@" --zone="$ZONE"; }
everywhere() { tpu tpu-vm ssh "$NAME" --worker=all --command="$1"; }
state() {
  gcloud compute tpus queued-resources describe "$NAME" --zone="$ZONE" \
    --format='value(state.state)' 2>/dev/null || echo NONE
}

create() {
  local spot=() && [ "$SPOT" = true ] && spot=(--spot)
  tpu queued-resources create "$NAME" --node-id="$NAME" \
    --accelerator-type="$TYPE" --runtime-version="$VERSION" "${spot[@]}"
  until [ -n "$dry_run" ] || [ "$(state)" = ACTIVE ]; do sleep 30; done
  run git archive --output=unirep.tar.gz HEAD
  tpu tpu-vm scp unirep.tar.gz "$NAME": --worker=all
  everywhere 'mkdir -p unirep && tar xzf unirep.tar.gz -C unirep &&
    python3 -m pip install --quiet --editable "./unirep[tpu]"'
}
delete() { tpu queued-resources delete "$NAME" --force --quiet || true; }

line="cd unirep && python3 -m unirep.main $(printf '%q ' "${arguments[@]}")"
for _ in $(seq 100); do
  if [ -n "$dry_run" ] || [ "$(state)" != ACTIVE ]; then
    [ -n "$dry_run" ] || delete
    create
  fi
  code=0 && everywhere "$line" || code=$?
  # 75: saved after a notice. 255: the connection broke, the slice may be gone.
  if [ $code != $AGAIN ] && [ $code != 255 ]; then break; fi
done
[ -n "$KEEP" ] || delete
exit $code
