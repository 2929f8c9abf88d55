// Package cluster installs the controllers on a real cluster, as people do, and
// reaches them there. Its own tests cover what only a cluster shows: installs,
// upgrades, removal. The stories of e2e/stories run on it, too.
//
// Everything here happens only when it is asked for (make e2e-cluster), by these
// variables of the environment:
//
//	WEIR_E2E_CLUSTER   1 to use the cluster of KUBECONFIG at all
//	E2E_LOAD_IMAGE     a command that gets the name of an image and an OCI archive
//	                   with it, and brings it to the nodes
//	E2E_HOST           the address of this machine as pods see it; by default the
//	                   one from which the API server is reached
//	E2E_DIST           the folder with the archives of make images; dist by default
package cluster
