#!/usr/bin/env bash
# Fuzzes every target below the folders given: each for $FUZZTIME (such as 60s or 1000x), on one
# processor of those that are there. A failing input is kept in testdata/fuzz of its package.
set -euo pipefail
cd "$(dirname "$0")/.."
time=${FUZZTIME:-60s}
bin=$(mktemp -d)
trap 'rm -rf "$bin"' EXIT
cache=$(go env GOCACHE)/fuzz

# fuzz runs the targets of one package; the instrumented program is linked once.
fuzz() {
	local dir=$1 program out target
	program=$bin/$(tr / - <<<"$dir").test out=$bin/$(tr / - <<<"$dir").out
	printf '%s  building the fuzz targets of %s\n' "$(date +%H:%M:%S)" "$dir"
	go test -c -fuzz=Fuzz -o "$program" "./$dir" || return 1
	for target in $(sed -nE 's/^func (Fuzz[A-Za-z0-9_]*)\(.*/\1/p' "$dir"/*_test.go); do
		printf '%s  fuzzing %s in %s (%s)\n' "$(date +%H:%M:%S)" "$target" "$dir" "$time"
		(cd "$dir" && "$program" -test.run '^$' -test.fuzz "^$target\$" -test.fuzztime "$time" -test.parallel 1 \
			-test.fuzzcachedir "$cache/$dir" -test.paniconexit0) >"$out" 2>&1 || { cat "$out"; return 1; }
	done
}

# Two runners take the packages in turn; the first failure ends both.
lane() {
	local n=0 dir
	while read -r dir; do
		if ((n++ % lanes == $1)); then fuzz "$dir" || return 1; fi
	done <<<"$packages"
}
lanes=$(($(nproc) < 2 ? 1 : 2))
packages=$(grep -rlE --include='*_test.go' '^func Fuzz' "$@" | xargs -n1 dirname | sort -u)
pids=()
for ((i = 0; i < lanes; i++)); do
	lane "$i" &
	pids+=($!)
done
for pid in "${pids[@]}"; do
	wait "$pid" || { kill "${pids[@]}" 2>/dev/null || true; exit 1; }
done
