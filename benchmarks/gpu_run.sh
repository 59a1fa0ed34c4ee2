#!/usr/bin/env bash
# Everything that needs a GPU, in stages, each within a number of seconds. A second call continues the first.
#
#   benchmarks/gpu_run.sh                            # all stages, with the seconds below
#   benchmarks/gpu_run.sh tests=300 steps=200        # two stages, each with its own seconds
#   benchmarks/gpu_run.sh --minutes 15               # all within 15 minutes: 150, 150 and 90 s, then training
#   benchmarks/gpu_run.sh --dry-run                  # print the commands only
#
#   tests     the tests marked gpu, which fail here without a GPU
#   steps     time of a training step, batches of 256 and 512, in float32 and in TF32
#   mismatch  the gradient estimators against the CPU
#   train     VGG-7 on CIFAR-10 by its authors' recipe: baseline and BinaryDuo, float and binary weights, seeds 0 to 2
#
# OUT (./gpu_results) receives a log for each stage and a folder for each training run. PYTHON (python3) is a Python
# with the requirements and CuPy. DATA is a folder with the files of CIFAR-10; without it, they are downloaded. FLAGS
# are added to every training, such as FLAGS=--tf32, which needs a separate OUT.
set -euo pipefail
cd "$(dirname "$0")/.."

out=${OUT:-gpu_results}
python=${PYTHON:-python3}
data=(${DATA:+--data "$DATA"})
flags=${FLAGS:-}
dry=
if [ "${1:-}" = --dry-run ]; then
    dry=1
    shift
fi
minutes=
if [ "${1:-}" = --minutes ]; then
    minutes=${2:-}
    if ! [[ $minutes =~ ^[1-9][0-9]{0,4}$ ]] || [ $# -ne 2 ]; then
        echo "gpu_run.sh: expected a whole number of minutes alone after --minutes, got ${*:2}" >&2
        exit 2
    fi
    set -- tests=$((10 * minutes)) steps=$((10 * minutes)) mismatch=$((6 * minutes)) train=$((60 * minutes))
fi
[ $# -gt 0 ] || set -- tests=1200 steps=1200 mismatch=1800 train=86400
for stage in "$@"; do
    if ! [[ $stage =~ ^(tests|steps|mismatch|train)=[1-9][0-9]*$ ]]; then
        echo "gpu_run.sh: expected tests=, steps=, mismatch= or train= and seconds, got $stage" >&2
        exit 2
    fi
done

# Run a command within some seconds, its output in a log as well. A command that ran out of time is not an error.
within() {
    local seconds=$1 log=$2 status=0
    shift 2
    echo "+ [$seconds s] $*"
    [ -z "$dry" ] || return 0
    timeout -k 30 "$seconds" "$@" 2>&1 | tee -a "$out/$log" || status=$?
    [ "$status" != 124 ] || echo "out of time after $seconds s: call again" | tee -a "$out/$log"
    return "$status"
}

# Run a command once: later calls leave out a command that succeeded.
once() {
    local name=$1 seconds=$2
    shift 2
    if [ -e "$out/$name.done" ]; then
        echo "$name is done"
    elif within "$seconds" "$name.log" "$@"; then
        [ -n "$dry" ] || touch "$out/$name.done"
    else
        failed="$failed $name"
    fi
}

# Train one network after another, in the order in which an early end leaves the most to compare.
train() {
    local until=$((SECONDS + $1)) seed weights method run
    for seed in 0 1 2; do
        for weights in float binary; do
            for method in baseline binaryduo; do
                run=$out/runs/$method-$weights-$seed
                if [ -e "$run/result.json" ]; then
                    echo "$run is done"
                    continue
                fi
                if [ $((until - SECONDS)) -le 0 ]; then
                    echo "$run waits for another call"
                    continue
                fi
                if [ -e "$run/settings.toml" ]; then
                    set -- --resume "$run" "${data[@]}"
                else
                    set -- vgg7 cifar10 --method "$method" --weights "$weights" --seed "$seed" \
                        --device gpu --out "$run" "${data[@]}" $flags
                fi
                within $((until - SECONDS)) train.log "$python" -m duonet train "$@" || failed="$failed $run"
            done
        done
    done
    for weights in float binary; do
        set -- "$out"/runs/*-"$weights"-[0-2]/result.json
        if [ -e "$1" ]; then
            set -- "${@%/result.json}"
            within 600 train.log "$python" -m duonet runs "$@" --figure "$out/runs-$weights.png" ||
                failed="$failed runs-$weights"
            [ -n "$dry" ] || "$python" -m duonet runs "$@" --json > "$out/runs-$weights.json"
        fi
    done
}

failed=
[ -n "$dry" ] || mkdir -p "$out/runs"
within 60 machine.log nvidia-smi || true
for stage in "$@"; do
    seconds=${stage#*=}
    case $stage in
    tests=*) once tests "$seconds" env DUONET_REQUIRE_GPU=1 "$python" -m pytest -q -m gpu ;;
    steps=*)
        for batch in 256 512; do
            for tf32 in "" --tf32; do
                once "steps-$batch$tf32" "$((seconds / 4))" "$python" benchmarks/train_step.py --device gpu \
                    --batch "$batch" $tf32
            done
        done
        ;;
    mismatch=*) once mismatch "$seconds" "$python" benchmarks/mismatch.py --device gpu --rounds 3 ;;
    train=*) train "$((minutes ? 60 * minutes - SECONDS : seconds))" ;;
    esac
done
[ -z "$failed" ] || { echo "not finished:$failed"; exit 1; }
