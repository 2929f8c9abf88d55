#!/bin/sh
# Writes what is generated from the Go types: deep copies next to them, and the definitions of the kinds below config/crd.
# Run it from anywhere; it uses the controller-gen that tools/go.mod pins.
set -eu
cd "$(dirname "$0")/.."

GOBIN="$PWD/bin" GOWORK=off go -C tools install sigs.k8s.io/controller-tools/cmd/controller-gen

rm -f config/crd/bases/*.yaml
bin/controller-gen object crd paths=./api/... output:crd:dir=config/crd/bases

{
	echo '# The definitions of all kinds, as they are generated. To install them take ../crds, which adds the labels that'
	echo '# command lines look for.'
	echo 'apiVersion: kustomize.config.k8s.io/v1beta1'
	echo 'kind: Kustomization'
	echo 'resources:'
	for definition in config/crd/bases/*.yaml; do
		echo "- bases/${definition##*/}"
	done
} >config/crd/kustomization.yaml
