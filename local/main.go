// Command weir-local runs a Kubernetes control plane and the whole of Weir on one machine, without
// containers: `weir-local control-plane` is an API server with its controllers for tests,
// `weir-local run` shows Weir at work on an application.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"runtime"
	"syscall"

	"github.com/spf13/cobra"
)

// Children that ask the kernel for a signal when their parent dies get it when the thread that
// started them ends, so everything is started from the main thread, which lives as long as the process.
func init() { runtime.LockOSThread() }

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	root := &cobra.Command{
		Use:           "weir-local",
		Short:         "A Kubernetes control plane and Weir in one place, for tests and for trying things out",
		SilenceUsage:  true,
		SilenceErrors: true,
	}
	root.AddCommand(controlPlaneCommand(), runCommand())
	if err := root.ExecuteContext(ctx); err != nil {
		if !errors.Is(err, context.Canceled) {
			fmt.Fprintln(os.Stderr, "weir-local: "+err.Error())
		}
		os.Exit(1)
	}
}
