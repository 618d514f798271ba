#!/usr/bin/env bash
# Stands in for d2r in the tests of what Slurm does with its exit codes: the number of the element says how it ends.
echo "element $SLURM_ARRAY_TASK_ID of $D2R_SHARDS, try ${SLURM_RESTART_COUNT:-0}: $*"
first=${SLURM_RESTART_COUNT:+no}
until_term() {
  trap 'echo "TERM arrived"; exit 143' TERM
  sleep 600 &
  wait
}
case $SLURM_ARRAY_TASK_ID in
  1) exit 99 ;;                                   # nothing to do
  2) exit 65 ;;                                   # bad data
  3) exit 75 ;;                                   # temporary, each time
  4) [ -n "$first" ] || kill -KILL $$ ;;          # killed once
  5) until_term ;;                                # cancelled by the test
  6) [ -n "$first" ] || until_term ;;             # stopped at the time limit once
  7) [ -n "$first" ] || exit 75 ;;                # temporary once; the last element has the array's own number
esac
exit 0
