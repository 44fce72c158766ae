#!/bin/bash
# Train on one or more nodes of a SLURM cluster; preempted or out of time, save and queue again.
#
#   sbatch --nodes 2 --gpus-per-node 4 scripts/slurm/train.sh cr-jepa ben-14k --seed 0
#
# Everything after the script's name goes to `crbench train`. The run's folder (and the cache) must
# lie on a file system that all nodes share; rank 0 writes. The batch of the card is the batch of
# all ranks together: the number of GPUs must divide it. A run that is there is gone on with.
#
# SLURM sends SIGUSR1 to this script three minutes before the time is up, and SIGTERM when it
# preempts; either becomes SIGTERM for the ranks, which agree on a step, save and end. Then the job
# goes back into the queue, and the same command line goes on from the checkpoint. Ranks that die
# end the others by name after at most CRBENCH_RANK_TIMEOUT_S seconds; such a job is not queued.
#
#SBATCH --job-name=crbench
#SBATCH --ntasks-per-node=1
#SBATCH --cpus-per-task=16
#SBATCH --time=24:00:00
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --output=crbench-%j.log
#SBATCH --signal=B:USR1@180

set -u -o pipefail

if [ "$#" -lt 2 ]; then
  echo "usage: sbatch [options] $0 METHOD DATASET [options of crbench train]" >&2
  exit 2
fi

nodes="${SLURM_JOB_NUM_NODES:-1}"
per_node="${RANKS_PER_NODE:-${SLURM_GPUS_ON_NODE:-1}}"
head_node="$(scontrol show hostnames "${SLURM_JOB_NODELIST:?this is a script for sbatch}" | head -n 1)"
port=$((20000 + SLURM_JOB_ID % 20000))  # two jobs on one node do not meet

asked=""
stop() {
  asked="$1"
  echo "SIG$1: the ranks save and stop" >&2
  scancel --signal=TERM "$SLURM_JOB_ID"  # reaches the steps, not this script
}
trap 'stop USR1' USR1
trap 'stop TERM' TERM

# --max-restarts 0: a rank that fails is not started again in place; --resume is the way on
srun --kill-on-bad-exit=1 \
  python -m torch.distributed.run \
    --nnodes "$nodes" --nproc-per-node "$per_node" --max-restarts 0 \
    --rdzv-backend c10d --rdzv-id "$SLURM_JOB_ID" --rdzv-endpoint "$head_node:$port" \
    -m crbench train "$@" --resume &
step=$!

# a trapped signal ends `wait`, so it is asked again until the step itself has ended
code=0
while true; do
  wait "$step"
  code=$?
  kill -0 "$step" 2>/dev/null || break
done

if [ -n "$asked" ] && [ "$code" -ne 0 ]; then
  echo "queued again after SIG$asked" >&2
  scontrol requeue "$SLURM_JOB_ID"
  exit 0
fi
exit "$code"
