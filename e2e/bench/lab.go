package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/controller-runtime/pkg/client"

	kustomizev1 "github.com/weirhq/weir/api/kustomize/v1"
	notificationv1beta3 "github.com/weirhq/weir/api/notification/v1beta3"
	sourcev1 "github.com/weirhq/weir/api/source/v1"
	"github.com/weirhq/weir/internal/crd"
	"github.com/weirhq/weir/internal/gitserver"
	"github.com/weirhq/weir/internal/toolkit"
)

const namespace = "default"

// columns are the processes whose CPU time is shown; "" is the control plane.
var columns = []struct{ short, program string }{
	{"source", toolkit.Source}, {"kustomize", toolkit.Kustomize}, {"notific.", toolkit.Notification},
	{"image", toolkit.ImageAutomation}, {"apiserver", ""},
}

// lab is where the jobs run. All objects are followed by one watch each, so
// that looking does not count.
type lab struct {
	o     options
	plane *toolkit.ControlPlane
	tools *toolkit.Toolkit
	git   *gitserver.Server
	c     client.WithWatch
	http  *http.Client
	seen  *seen
}

func newLab(ctx context.Context, o options, dir string) (_ *lab, err error) {
	l := &lab{o: o}
	defer func() {
		if err != nil {
			l.close()
		}
	}()
	fmt.Println("starting the control plane and the controllers")
	if l.plane, err = toolkit.StartControlPlane(ctx, toolkit.ControlPlaneOptions{
		Program: filepath.Join(o.binDir, "weir-local"), Dir: filepath.Join(dir, "cluster"), LogDir: dir,
	}); err != nil {
		return nil, err
	}
	cfg, err := clientcmd.BuildConfigFromFlags("", l.plane.Kubeconfig)
	if err != nil {
		return nil, err
	}
	cfg.QPS = -1
	if _, err := crd.Install(ctx, cfg, o.crds); err != nil {
		return nil, err
	}
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{corev1.AddToScheme, sourcev1.AddToScheme, kustomizev1.AddToScheme, notificationv1beta3.AddToScheme} {
		if err := add(scheme); err != nil {
			return nil, err
		}
	}
	if l.c, err = client.NewWithWatch(cfg, client.Options{Scheme: scheme}); err != nil {
		return nil, err
	}
	if l.http, err = rest.HTTPClientFor(cfg); err != nil {
		return nil, err
	}
	if l.git, err = gitserver.Start(gitserver.Options{}); err != nil {
		return nil, err
	}
	l.tools, err = toolkit.Start(ctx, toolkit.Options{BinDir: o.binDir, WorkDir: dir, Kubeconfig: l.plane.Kubeconfig})
	if err != nil {
		return nil, err
	}
	l.seen, err = follow(ctx, l.c)
	return l, err
}

func (l *lab) close() {
	var errs []error
	if l.tools != nil {
		errs = append(errs, l.tools.Stop())
	}
	if l.git != nil {
		errs = append(errs, l.git.Close())
	}
	if l.plane != nil {
		errs = append(errs, l.plane.Stop())
	}
	if err := errors.Join(errs...); err != nil {
		fmt.Fprintln(os.Stderr, "stopping:", err)
	}
}

// cost is a reading of the meters.
type cost struct {
	at       time.Time
	requests float64 // of the controllers, by their own count
	all      float64 // of everybody, by the API server's count, without watches
	cpu      map[string]float64
}

func (l *lab) read(ctx context.Context) (cost, error) {
	c := cost{at: time.Now(), cpu: map[string]float64{}}
	for _, column := range columns {
		if column.program == "" {
			continue
		}
		families, err := l.tools.Metrics(ctx, column.program)
		if err != nil {
			return c, err
		}
		for _, m := range families["process_cpu_seconds_total"].GetMetric() {
			c.cpu[column.program] += m.GetCounter().GetValue()
		}
		for _, m := range families["rest_client_requests_total"].GetMetric() {
			c.requests += m.GetCounter().GetValue()
		}
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, l.plane.URL+"/metrics", nil)
	if err != nil {
		return c, err
	}
	resp, err := l.http.Do(req)
	if err != nil {
		return c, err
	}
	defer resp.Body.Close()
	parser := expfmt.NewTextParser(model.LegacyValidation)
	families, err := parser.TextToMetricFamilies(resp.Body)
	if err != nil {
		return c, err
	}
	for _, m := range families["process_cpu_seconds_total"].GetMetric() {
		c.cpu[""] += m.GetCounter().GetValue()
	}
	for _, m := range families["apiserver_request_total"].GetMetric() {
		watch := false
		for _, label := range m.Label {
			watch = watch || label.GetName() == "verb" && label.GetValue() == "WATCH"
		}
		if !watch {
			c.all += m.GetCounter().GetValue()
		}
	}
	return c, nil
}

// measure runs a job and prints what it cost until it says that it is done.
func (l *lab) measure(ctx context.Context, what string, job func() error) error {
	before, err := l.read(ctx)
	if err != nil {
		return err
	}
	start := time.Now()
	if err := job(); err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	took := time.Since(start)
	time.Sleep(time.Second) // what comes after the job is part of its cost: status, events
	after, err := l.read(ctx)
	if err != nil {
		return err
	}
	fmt.Printf("%-52s %9.2f %9.0f %9.0f", what, took.Seconds(), after.requests-before.requests, after.all-before.all)
	for _, column := range columns {
		fmt.Printf(" %9.2f", after.cpu[column.program]-before.cpu[column.program])
	}
	fmt.Println()
	return nil
}
