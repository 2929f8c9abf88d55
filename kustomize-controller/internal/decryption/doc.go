// Package decryption decrypts what was encrypted with SOPS: objects of a build
// and the files that its secretGenerators read.
//
// The keys come from Secrets, in the keys of the wire API: OpenPGP keys in
// "*.asc", age identities in "*.agekey", and in "sops.vault-token",
// "sops.aws-kms", "sops.azure-kv" and "sops.gcp-kms" what authenticates to a
// key management service. A key is used only where the file names it, and with
// nothing but what the Secrets hold: no program is started, no file, agent or
// environment of the process is asked, and the identity of the controller is
// not lent. Services are reached by a transport of this package, which follows
// no redirect and does not connect to link-local addresses.
//
// Errors name the key that a file wants and never quote content. Message
// authentication codes over whole documents are not compared, since a build
// changes documents; each value is authenticated together with its path.
// (Format: SOPS, https://getsops.io/docs.)
package decryption
