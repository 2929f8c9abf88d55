// Package upstream is how servers outside are asked over HTTP: with the TLS
// material and the proxy of a Secret, with answers that are bounded, and with
// patience: a server that asks to be left alone is left alone by everybody who
// has the same credentials, however many objects name it.
package upstream
