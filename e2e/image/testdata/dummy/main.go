// Dummy is a small program with a dependency.
package main

import (
	"fmt"

	"github.com/opencontainers/go-digest"
)

func main() { fmt.Println(digest.FromString("dummy")) }
