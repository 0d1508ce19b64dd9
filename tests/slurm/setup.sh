#!/usr/bin/env bash
# A Slurm cluster on this one machine, for tests: no systemd, no cgroups.
#   bash tests/slurm/setup.sh start DIR [NODES]
#   export SLURM_CONF=DIR/slurm.conf              for sbatch and the others
#   bash tests/slurm/setup.sh stop DIR
# Everything (configuration, key, socket, logs) lies in DIR, so that a Slurm
# that the machine may have is left alone. Several NODES are as many slurmd that
# share the machine, with names in /etc/hosts until they stop. Needs root and
# `apt-get install -y slurm-wlm munge`.
set -euo pipefail
verb="${1:?start or stop}" dir="$(realpath -m "${2:?directory}")" nodes="${3:-1}"
host="$(hostname -s)"
mark="# unirep's tests of Slurm" # of lines in /etc/hosts

stop() { # slurmd first: it needs munged to say good-bye
  for pid in "$dir"/slurmd-*.pid "$dir"/slurmctld.pid "$dir"/munged.pid; do
    [ -s "$pid" ] || continue
    number="$(cat "$pid")"
    kill "$number" 2>/dev/null || continue
    # Nobody may wait for its end in a container: then it stays, without a name.
    await 10 bash -c "! grep -qs . /proc/$number/cmdline" || kill -KILL "$number"
  done
  if grep -q "$mark" /etc/hosts; then # in place: containers mount it
    grep -v "$mark" /etc/hosts >"$dir/hosts" && cat "$dir/hosts" >/etc/hosts
  fi
}

await() { # await SECONDS COMMAND...: until it succeeds
  local end=$((SECONDS + $1))
  until "${@:2}" >/dev/null 2>&1; do
    [ $SECONDS -lt $end ] || { echo "setup: no success in time: ${*:2}" >&2; return 1; }
    sleep 0.3
  done
}

node_names() { # one node is the machine itself; more are told apart by name
  if [ "$nodes" = 1 ]; then echo "$host"; else seq -f "${host}-%g" 1 "$nodes"; fi
}

configure() {
  cat <<CONF
ClusterName=unirep
SlurmctldHost=$host(127.0.0.1)
SlurmctldPort=26817
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
CredType=cred/munge
# A requeued job waits for as long as credentials live: by default two minutes.
AuthInfo=socket=$dir/munge.socket,cred_expire=5
StateSaveLocation=$dir/state
SlurmctldPidFile=$dir/slurmctld.pid
SlurmctldLogFile=$dir/slurmctld.log
SlurmdPidFile=$dir/slurmd-%n.pid
SlurmdSpoolDir=$dir/spool-%n
SlurmdLogFile=$dir/slurmd-%n.log
SlurmdParameters=config_overrides
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
SwitchType=switch/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SchedulerType=sched/builtin
SchedulerParameters=batch_sched_delay=0,sched_interval=1
JobRequeue=1
ReturnToService=2
KillWait=60
MinJobAge=3600
PropagateResourceLimits=NONE
CONF
  local port=26818 name
  for name in $(node_names); do
    echo "NodeName=$name NodeHostname=$host NodeAddr=127.0.0.1 Port=$port CPUs=$((nodes == 1 ? 2 : 1))"
    port=$((port + 1))
  done
  echo "PartitionName=all Nodes=ALL Default=YES MaxTime=60 State=UP"
}

start() {
  command -v munged slurmctld slurmd >/dev/null ||
    { echo "setup: apt-get install -y slurm-wlm munge" >&2; exit 2; }
  mkdir -p "$dir/state"
  chmod 755 "$dir" # munged trusts no socket below a directory others may write
  configure >"$dir/slurm.conf"
  export SLURM_CONF="$dir/slurm.conf"
  [ -s "$dir/munge.key" ] || (umask 077 && head -c 1024 /dev/urandom >"$dir/munge.key")
  munged --force --key-file="$dir/munge.key" --socket="$dir/munge.socket" \
    --pid-file="$dir/munged.pid" --log-file="$dir/munged.log" \
    --seed-file="$dir/munged.seed"
  slurmctld -f "$SLURM_CONF"
  for name in $(node_names); do
    grep -qw "$name" /etc/hosts || echo "127.0.0.1 $name $mark" >>/etc/hosts
    mkdir -p "$dir/spool-$name"
    slurmd -f "$SLURM_CONF" -N "$name"
  done
  await 30 scontrol ping
  await 30 bash -c "[ \$(sinfo -h -N -o %T | grep -c idle) = $nodes ]"
}

case "$verb" in
start) start ;;
stop) stop ;;
*) echo "setup: start or stop, not $verb" >&2; exit 2 ;;
esac
