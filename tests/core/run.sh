#!/usr/bin/env bash
# run.sh [plain|asan|ubsan|tsan|torture]...: build the C core's tests into a temporary directory and run them; all by default.
# TORTURE_KILLS, TORTURE_SEED, DEATH_STEPS and DEATH_SEED set how long and which way the random ones go.
# TSan does not follow what happens between processes, so it runs the tests whose threads act as processes; so do the others.
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
core=$here/../../csrc
build=$(mktemp -d)
trap 'rm -rf "$build"' EXIT
failed=()

flags=(-std=c11 -D_GNU_SOURCE -Wall -Wextra -Werror -g -O1 -I"$core" -I"$here")

build_core() { # flags...: the core and the runner, once per variant
    extra=("$@")
    objects=()
    for source in "$core"/{arena,pages,block,copy,process,counts,lock,condition,channel,ledger,names,platform_linux,platform_linux_memory,files_linux}.c "$here/runner.c"; do
        "${CC:-cc}" "${flags[@]}" "${extra[@]}" -c "$source" -o "$build/$(basename "$source").o"
        objects+=("$build/$(basename "$source").o")
    done
}

compile() { # name
    "${CC:-cc}" "${flags[@]}" "${extra[@]}" "$here/$1.c" "${objects[@]}" -o "$build/$1" -lpthread -lrt
}

run() { # name, arguments...
    local name=$1
    shift
    echo "== $variant: $name"
    "$build/$name" "$@" || failed+=("$variant:$name")
}

tests=(test_platform test_arena test_copy test_lock test_condition test_channel test_ledger test_names test_files)

for variant in "${@:-all}"; do
    [ "$variant" = all ] && set -- plain asan ubsan tsan torture && break
done

for variant in "$@"; do
    start=$SECONDS
    case $variant in
    plain)
        build_core -DPSN_CHECK_EVERY_UNLOCK
        for name in "${tests[@]}"; do
            compile "$name"
            run "$name"
        done
        compile test_layout
        echo "== plain: test_layout"
        "$build/test_layout" "$here/../../docs/layout.md" || failed+=(plain:test_layout)
        build_core -O2 # as it is shipped: the compiler may reorder more
        compile test_deaths
        run test_deaths
        ;;
    asan)
        build_core -fsanitize=address -fno-omit-frame-pointer
        for name in "${tests[@]}"; do
            compile "$name"
            ASAN_OPTIONS=detect_leaks=0:abort_on_error=1 run "$name" # the core allocates nothing, so there is nothing to leak
        done
        ;;
    ubsan)
        build_core -fsanitize=undefined -fno-sanitize-recover=all
        for name in "${tests[@]}"; do
            compile "$name"
            run "$name"
        done
        ;;
    tsan)
        build_core -fsanitize=thread
        for name in "${tests[@]}"; do
            compile "$name"
            TSAN_OPTIONS=halt_on_error=1 run "$name" threads_
        done
        ;;
    torture)
        build_core -O2 # as it is shipped: the compiler may reorder more
        compile torture
        run torture "${TORTURE_KILLS:-8000}" ${TORTURE_SEED:+"$TORTURE_SEED"}
        ;;
    *)
        echo "run.sh: no variant is named $variant (plain, asan, ubsan, tsan, torture)" >&2
        exit 2
        ;;
    esac
    echo "== $variant took $((SECONDS - start)) s"
done

if [ ${#failed[@]} -gt 0 ]; then
    echo "failed: ${failed[*]}"
    exit 1
fi
echo "all passed"
