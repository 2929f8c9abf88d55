#!/bin/sh
# Brings an image (a name, an OCI archive) into the containerd of a node on this
# machine. CTR is how ctr is called there.
set -eu
exec ${CTR:-ctr} -n k8s.io images import --local "$2"
