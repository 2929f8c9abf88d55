#!/usr/bin/env bash
# Builds Flux's own source-controller and kustomize-controller for the story
# TestTakeOverFromALivingFlux:
#
#   tools/flux.sh /tmp/flux
#   WEIR_FLUX_BIN=/tmp/flux go test -count=1 -run TestTakeOverFromALivingFlux ./e2e/stories
#
# Their source comes through the Go module proxy. They are compiled beside the
# modules of this workspace, with the newer one of two versions of a library, so
# that Kubernetes is not compiled again.
set -euo pipefail
version=v1.9.4
# The version that Flux asks for is not on every proxy.
artifact=github.com/fluxcd/pkg/artifact@v0.20.0
[ $# = 1 ] || { echo "usage: $0 FOLDER" >&2; exit 2; }
mkdir -p "$1"
out=$(cd "$1" && pwd)
root=$(cd "$(dirname "$0")/.." && pwd)
work=$(mktemp -d)
trap 'chmod -R u+w "$work"; rm -rf "$work"' EXIT

# field prints a field of what go mod download says of a module.
field() { (cd "$work" && GOWORK=off go mod download -json "$1") | sed -n "s/^\t\"$2\": \"\(.*\)\",\{0,1\}\$/\1/p"; }

cd "$work"
for name in source-controller kustomize-controller; do
	cp -r "$(field "github.com/fluxcd/$name@$version" Dir)" "$name"
	chmod -R u+w "$name"
	go mod edit -dropreplace="github.com/fluxcd/$name/api" "$name/go.mod"
done
go mod edit -require="$artifact" source-controller/go.mod
{
	sed -n '/^go /p' "$root/go.work"
	for module in $(sed -n 's#^\t\./##p' "$root/go.work"); do echo "use $root/$module"; done
	printf 'use ./%s\n' source-controller kustomize-controller
} >go.work
{
	cat "$root/go.work.sum" ./*/go.sum
	echo "${artifact/@/ } $(field "$artifact" Sum)"
	echo "${artifact/@/ }/go.mod $(field "$artifact" GoModSum)"
} | sort -u >go.work.sum
for name in source-controller kustomize-controller; do
	(cd $name && go build -ldflags '-s -w' -o "$out/$name" .)
	echo "$out/$name is Flux's $version"
done
