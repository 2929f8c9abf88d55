package build

import (
	"os"
	"testing"
)

// Every test runs as a program does, behind Confine.
func TestMain(m *testing.M) {
	Confine()
	os.Exit(m.Run())
}
