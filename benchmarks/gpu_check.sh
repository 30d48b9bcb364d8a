#!/bin/bash
# Test and measure on a GPU, in at most six minutes:
#
#   benchmarks/gpu_check.sh OUTPUT [WHEELS]
#
# OUTPUT  folder for the results: log, failures.txt, tests.xml and a JSON file of each table
# WHEELS  folder of wheels that this Python lacks; they are installed into a temporary folder
#
# Each part has a time limit, so that one that hangs costs no other part. Environment:
#   PYTHON=python3   interpreter, with torch and torchvision
#   PARTS="tests query"   run only these parts; "compiled" and "compiler-tests" are further ones
#   SMALL=1          a small model and few repetitions, to try the script on a CPU
set -u

output=${1:?usage: gpu_check.sh OUTPUT [WHEELS]}
wheels=${2:-}
python=${PYTHON:-python3}
parts=${PARTS:-inference query training tests index}
mkdir -p "$output" || exit 1
output=$(cd "$output" && pwd)
[ -z "$wheels" ] || wheels=$(cd "$wheels" && pwd) || exit 1
cd "$(dirname "$0")/.." || exit 1
exec > >(tee "$output/log") 2>&1
export PYTHONPATH=$PWD PYTHONUNBUFFERED=1
unfinished=0

# run SECONDS NAME COMMAND...
run() {
  local limit=$1 name=$2 start=$SECONDS status
  shift 2
  echo "== $name (at most $limit s)"
  timeout --signal=INT --kill-after=5 "$limit" "$@"  # as Ctrl+C: pytest still reports
  status=$?
  echo "== $name: exit status $status after $((SECONDS - start)) s"
  [ "$status" -eq 0 ] || unfinished=$((unfinished + 1))
}

# benchmark SECONDS NAME SUBJECT OPTIONS...
benchmark() {
  local limit=$1 name=$2 subject=$3
  shift 3
  run "$limit" "$name" "$python" tools/benchmark.py "$subject" --json "$output/$name.json" "$@"
}

if [ -n "${SMALL:-}" ]; then
  demo="--config-file clsa_small_synthetic_demo --size 96 128 --boxes 2 --repeat 1"
  inference="$demo --batch-sizes 1 2 --dtypes float32"
  training="$demo --batch 2 --branches crop --dtypes float32"
  index="$demo --images 1 --threads 2"
  query="--detections 2000 --widths 64 --repeat 2"
else
  model="--config-file clsa_crop_R50_cuhk_sysu"
  inference="$model --batch-sizes 1 8 16 --dtypes float32 float16 --repeat 15"
  training="$model --batch 8 --branches crop --dtypes float32 float16 --repeat 8"
  index="$model --images 80 --rate 25 --repeat 1 --opts TEST.DTYPE float16"
  query="--detections 200000 --widths 768 --repeat 20"
fi

if [ -n "$wheels" ]; then
  site=$(mktemp -d)
  trap 'rm -rf "$site"' EXIT
  run 30 install "$python" -m pip install --quiet --no-index --no-deps --no-compile \
    --no-cache-dir --target "$site" "$wheels"/*.whl
  PYTHONPATH=$PYTHONPATH:$site
fi

processes=8  # of the tests; more threads than cores would wait for each other
threads=$((($(nproc) + processes - 1) / processes))
tests=(-m gpu -v --tb=short -p no:cacheprovider -p benchmarks.failure_log --durations=15
  --continue-on-collection-errors --junitxml "$output/tests.xml")
has() { "$python" -c "import $1" 2>/dev/null; }
has xdist && tests+=(-n $processes --dist worksteal)
has pytest_timeout && tests+=(--timeout 60)
has pytest_benchmark && tests+=(-p no:benchmark)

# run_tests SECONDS NAME CHOICE: the tests of a GPU whose names match a choice
run_tests() {
  run "$1" "$2" env OMP_NUM_THREADS=$threads FAILURE_LOG="$output/failures.txt" \
    "$python" -m pytest "${tests[@]}" -k "$3"
}

for part in $parts; do
  case $part in
    tests) run_tests 100 tests "not compiled" ;;
    compiler-tests) run_tests 150 compiler-tests compiled ;;
    query) benchmark 60 query query $query ;;
    inference) benchmark 40 inference inference $inference ;;
    training) benchmark 60 training training $training ;;
    compiled) benchmark 150 compiled training $training --opts SOLVER.COMPILE True ;;
    index) benchmark 50 index index $index ;;
    *) echo "unknown part: $part" && exit 1 ;;
  esac
done
echo "== $unfinished parts failed or ran out of time; $SECONDS s in all; results in $output"
exit $((unfinished > 0))
