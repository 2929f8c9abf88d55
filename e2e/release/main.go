// Release makes what is published: images with their bills of materials,
// manifests for kubectl, and a chart for Helm.
//
//	go run ./e2e/release manifests -version v1.2.3
//	go run ./e2e/release chart -version v1.2.3
//	go run ./e2e/release images -version v1.2.3
//
// It is run at the root of the workspace and writes below dist/.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/weirhq/weir/e2e/chart"
	"github.com/weirhq/weir/e2e/manifests"
)

// options are the flags of both subcommands.
type options struct {
	version, registry, config, out string
	chart                          string
	only, platforms, certificates  string
	revision, source               string
	created                        int64
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:]); err != nil {
		fmt.Fprintf(os.Stderr, "release: %v\n", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	if len(args) == 0 {
		return fmt.Errorf("say what to make: manifests, chart or images")
	}
	var o options
	fs := flag.NewFlagSet(args[0], flag.ContinueOnError)
	fs.StringVar(&o.version, "version", "v0.1.0", "The version of images and labels.")
	fs.StringVar(&o.registry, "registry", manifests.Registry, "The registry and folder of the images.")
	fs.StringVar(&o.out, "out", "dist", "The folder for what is made.")
	switch args[0] {
	case "manifests":
		fs.StringVar(&o.config, "config", "config", "The folder of the configuration.")
	case "chart":
		fs.StringVar(&o.config, "config", "config", "The folder of the configuration.")
		fs.StringVar(&o.chart, "chart", "charts/weir", "The folder of the chart.")
		fs.Int64Var(&o.created, "created", 0, "The date of the source in seconds since 1970, in place of the time of the build.")
	case "images":
		fs.StringVar(&o.only, "only", strings.Join(manifests.Controllers, ","), "The controllers to make images of.")
		fs.StringVar(&o.platforms, "platforms", "linux/amd64,linux/arm64", "The platforms of the images.")
		fs.StringVar(&o.certificates, "certificates", "/etc/ssl/certs/ca-certificates.crt", "The file with the trusted authorities that go into the images.")
		fs.StringVar(&o.revision, "revision", "unknown", "The commit of the source.")
		fs.StringVar(&o.source, "source", "https://github.com/weirhq/weir", "Where the source is.")
		fs.Int64Var(&o.created, "created", 0, "The date of the source in seconds since 1970, in place of the time of the build.")
	default:
		return fmt.Errorf("%q cannot be made: say manifests, chart or images", args[0])
	}
	if err := fs.Parse(args[1:]); err != nil {
		return err
	}
	if !strings.HasPrefix(o.version, "v") {
		return fmt.Errorf("-version %q: it starts with v, such as v1.2.3", o.version)
	}
	if err := os.MkdirAll(o.out, 0o755); err != nil {
		return err
	}
	switch args[0] {
	case "manifests":
		return o.manifests()
	case "chart":
		return o.packageChart()
	}
	return o.images(ctx)
}

// packageChart writes the Helm chart.
func (o *options) packageChart() error {
	files, err := chart.Build(o.chart, o.config, o.version)
	if err != nil {
		return err
	}
	data, err := files.Archive(time.Unix(o.created, 0).UTC())
	if err != nil {
		return err
	}
	return o.write(chart.Name+"-"+strings.TrimPrefix(o.version, "v")+".tgz", data)
}

// manifests writes install.yaml with everything, and a file per controller.
func (o *options) manifests() error {
	folders := map[string]string{"install": "default"}
	for _, name := range manifests.Controllers {
		folders[name] = "standalone/" + name
	}
	for name, folder := range folders {
		m, err := manifests.Render(o.config, folder, manifests.Options{Version: o.version, Registry: o.registry})
		if err != nil {
			return err
		}
		data, err := m.YAML()
		if err != nil {
			return err
		}
		if err := o.write(name+".yaml", data); err != nil {
			return err
		}
	}
	return nil
}

func (o *options) write(name string, data []byte) error {
	path := filepath.Join(o.out, name)
	if err := os.WriteFile(path, data, 0o644); err != nil {
		return err
	}
	fmt.Printf("%s  %s, %.1f MB\n", time.Now().Format(time.TimeOnly), path, float64(len(data))/1e6)
	return nil
}
