#!/usr/bin/env bash
# Builds Flux's own kustomize-controller for the story TestTakeOverFromALivingFlux:
#
#   tools/flux.sh /tmp/flux
#   WEIR_FLUX_BIN=/tmp/flux go test -count=1 -run TestTakeOverFromALivingFlux ./e2e/stories
#
# Its source comes through the Go module proxy. It is compiled beside the modules
# of this workspace, with the newer one of two versions of a library, so that
# Kubernetes is not compiled again.
set -euo pipefail
name=kustomize-controller version=v1.9.4
[ $# = 1 ] || { echo "usage: $0 FOLDER" >&2; exit 2; }
mkdir -p "$1"
out=$(cd "$1" && pwd)
root=$(cd "$(dirname "$0")/.." && pwd)
work=$(mktemp -d)
trap 'chmod -R u+w "$work"; rm -rf "$work"' EXIT

cd "$work"
go mod init download >/dev/null 2>&1
source=$(go mod download -json "github.com/fluxcd/$name@$version" | sed -n 's/^\t"Dir": "\(.*\)",$/\1/p')
rm -f go.mod
cp -r "$source" "$name"
chmod -R u+w "$name"
go mod edit -dropreplace="github.com/fluxcd/$name/api" "$name/go.mod"
{
	sed -n '/^go /p' "$root/go.work"
	for module in $(sed -n 's#^\t\./##p' "$root/go.work"); do echo "use $root/$module"; done
	echo "use ./$name"
} >go.work
sort -u "$root/go.work.sum" "$name/go.sum" >go.work.sum
cd "$name"
go build -ldflags '-s -w' -o "$out/$name" .
echo "$out/$name is Flux's $name $version"
