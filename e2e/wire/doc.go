// Package wire holds no code, only tests: they compare the API types and definitions of this repository with those that
// existing Flux installations and their tools use, so that every object of the one is an object of the other.
package wire
