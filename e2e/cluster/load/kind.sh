#!/bin/sh
# Brings an image (a name, an OCI archive) to the nodes of a kind cluster.
# KIND_CLUSTER_NAME names it; "kind" by default.
set -eu
exec kind load image-archive "$2" --name "${KIND_CLUSTER_NAME:-kind}"
