// Package build turns a directory of an artifact into Kubernetes objects: what
// `kustomize build` prints, with the fields of a Kustomization laid over it,
// variables substituted, and the result brought into the form the API server is
// sent.
//
// A build is a function of what it reads. Every question that kustomize asks of
// the source (what a path is, where it leads, what a file holds, what a
// directory lists) goes through a file system that notes question and answer.
// A result stays good for every later tree that gives the same answers, so a
// commit costs the builds whose files it touched and no others.
//
// The source is hostile. A build can reach nothing outside its tree: the file
// system has no way out of it, and every file is looked at before kustomize
// sees it: no remote reference, no program, no expansion of YAML aliases without
// bound. What is left of kustomize's own ways out is closed for the whole
// process by [Confine], which a program calls from main.
//
// kustomize keeps the OpenAPI document of a build in process-wide variables.
// Builds on the built-in document only read it and run at the same time; a build
// that brings its own runs alone, and what it changed is put back.
package build
