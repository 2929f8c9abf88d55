#!/usr/bin/env bash
# Builds the programs into bin/ and says how far it is: the first build
# compiles Kubernetes, which takes minutes in which one wants to see that
# something goes on.
set -euo pipefail
cd "$(dirname "$0")/.."
mkdir -p bin

kubernetes=$(sed -n 's/^\tk8s.io\/kubernetes //p' local/go.mod)
minor=${kubernetes#v1.}
minor=${minor%%.*}
version=k8s.io/component-base/version

elapsed() { printf '%d:%02d' $((SECONDS / 60)) $((SECONDS % 60)); }

# progress counts the packages that go build -v names, and passes on all else.
progress() {
	local name=$1 packages=0 last=$SECONDS line
	while IFS= read -r line; do
		if [[ $line =~ ^[A-Za-z0-9./_~+-]+$ ]]; then
			packages=$((packages + 1))
			if ((SECONDS - last >= 10)); then
				last=$SECONDS
				printf '%s  %s: %d packages compiled\n' "$(elapsed)" "$name" "$packages"
			fi
		else
			printf '%s\n' "$line"
		fi
	done
}

build() {
	local name=$1 folder=$2 flags=$3
	printf '%s  building %s\n' "$(elapsed)" "$name"
	go build -v -ldflags "$flags" -o "bin/$name" "./$folder" 2>&1 | progress "$name"
}

for program in source-controller kustomize-controller notification-controller image-automation-controller; do
	build "$program" "$program" '-s -w'
done
# etcd, the API server and its controllers in one program.
build weir-local local "-s -w -X $version.gitMajor=1 -X $version.gitMinor=$minor -X $version.gitVersion=$kubernetes"

printf '%s  built:\n' "$(elapsed)"
for program in source-controller kustomize-controller notification-controller image-automation-controller weir-local; do
	printf '          %-32s %6.1f MB\n' "bin/$program" "$(($(wc -c <"bin/$program") / 100000))e-1"
done
