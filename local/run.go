package main

import (
	"fmt"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/weirhq/weir/local/internal/demo"
)

func runCommand() *cobra.Command {
	o := demo.Options{Out: os.Stdout}
	c := &cobra.Command{
		Use:   "run",
		Short: "Run Weir on this machine and show what it does",
		Long: `Starts a control plane, the four controllers, a Git server and a registry on this machine, and shows
an example application on its way from a commit to running objects: a new commit, a hand edit, a new
image tag, a bad commit and its revert. With --repo it follows that repository instead.

The API server and the controllers are real; Pods are simulated, nothing is run in containers.
Everything ends with Ctrl-C.`,
		Example: `  # the example, and out again: 0 if every step did what it says
  weir-local run --once

  # a repository on this machine: what is committed on the branch that is checked out
  weir-local run --repo ~/src/app --path ./overlays/dev

  # one elsewhere, by https or SSH
  weir-local run --repo https://github.com/stefanprodan/podinfo --path ./kustomize
  weir-local run --repo ssh://git@git.example.com/org/app.git --identity ~/.ssh/id_ed25519 --known-hosts ~/.ssh/known_hosts`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			program, err := os.Executable()
			if err != nil {
				return fmt.Errorf("finding this program: %w", err)
			}
			o.Program = program
			return demo.Run(c.Context(), o)
		},
	}
	f := c.Flags()
	f.StringVar(&o.Repo, "repo", "", "directory (work tree or bare) or URL (http, https, ssh) of a repository to follow instead of the example")
	f.StringVar(&o.Path, "path", "", "directory to apply, relative to the root of --repo (default: the root)")
	f.StringVar(&o.Identity, "identity", "", "file with the SSH private key for --repo")
	f.StringVar(&o.KnownHosts, "known-hosts", "", "file with the SSH host's key for --repo")
	f.BoolVar(&o.Once, "once", false, "end after the demonstration, with 0 only if every step did what it says")
	f.StringVar(&o.BinDir, "bin-dir", "bin", "directory with the four controllers")
	f.StringVar(&o.ConfigDir, "config-dir", "config/crd/bases", "directory with the custom resource definitions")
	f.StringVar(&o.Dir, "dir", "", "directory for data and logs (default: below the user's state directory; with --once a temporary one)")
	f.DurationVar(&o.Timeout, "timeout", time.Minute, "how long each step may take")
	return c
}
