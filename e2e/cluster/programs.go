package cluster

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"

	dto "github.com/prometheus/client_model/go"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/kubernetes"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/weirhq/weir/internal/toolkit"
)

// Programs reaches the controllers of a cluster through its API server, which
// hands requests on to pods and services: no port of theirs has to be open.
type Programs struct {
	c       *Cluster
	clients *kubernetes.Clientset
}

// Programs returns the controllers that are installed.
func (c *Cluster) Programs() (*Programs, error) {
	clients, err := kubernetes.NewForConfig(c.config)
	if err != nil {
		return nil, err
	}
	return &Programs{c: c, clients: clients}, nil
}

// URL is where a program is reached for a purpose, as for toolkit.Toolkit.
func (p *Programs) URL(name, purpose string) string {
	base := strings.TrimSuffix(p.c.config.Host, "/") + "/api/v1/namespaces/" + Namespace
	switch purpose {
	case "webhooks":
		return base + "/services/webhook-receiver:80/proxy"
	case "events", "artifacts":
		return base + "/services/" + name + ":80/proxy"
	}
	port := map[string]string{"metrics": "8080", "health": "9440"}[purpose]
	pod, err := p.pod(context.Background(), name)
	if err != nil {
		pod = name // the request will tell that it is not there
	}
	return base + "/pods/" + pod + ":" + port + "/proxy"
}

// HTTPClient sends requests to what URL returns.
func (p *Programs) HTTPClient() *http.Client { return p.c.http }

// pod returns the name of the one pod of a controller that is not on its way out.
func (p *Programs) pod(ctx context.Context, name string) (string, error) {
	var pods corev1.PodList
	if err := p.c.List(ctx, &pods, client.InNamespace(Namespace), client.MatchingLabels{"app": name}); err != nil {
		return "", err
	}
	for _, pod := range pods.Items {
		if pod.DeletionTimestamp.IsZero() && pod.Status.Phase == corev1.PodRunning {
			return pod.Name, nil
		}
	}
	return "", fmt.Errorf("%s has no running pod", name)
}

// Metrics scrapes a program's metrics endpoint.
func (p *Programs) Metrics(ctx context.Context, name string) (map[string]*dto.MetricFamily, error) {
	return toolkit.Scrape(ctx, p.c.http, p.URL(name, "metrics")+"/metrics")
}

// Log returns what the pod of a program has written.
func (p *Programs) Log(ctx context.Context, name string) (string, error) {
	pod, err := p.pod(ctx, name)
	if err != nil {
		return "", err
	}
	stream, err := p.clients.CoreV1().Pods(Namespace).GetLogs(pod, &corev1.PodLogOptions{}).Stream(ctx)
	if err != nil {
		return "", err
	}
	defer stream.Close()
	data, err := io.ReadAll(stream)
	return string(data), err
}

// TemporaryFiles cannot be counted from outside of a pod.
func (p *Programs) TemporaryFiles(string) (int, error) { return 0, nil }

// Kill deletes the pod of a program without time to end well, and waits until
// another one is ready.
func (p *Programs) Kill(ctx context.Context, name string) error {
	pod, err := p.pod(ctx, name)
	if err != nil {
		return err
	}
	obj := &corev1.Pod{}
	obj.Name, obj.Namespace = pod, Namespace
	if err := p.c.Delete(ctx, obj, client.GracePeriodSeconds(0)); err != nil {
		return err
	}
	for {
		if now, err := p.pod(ctx, name); err == nil && now != pod {
			return p.c.Available(ctx, name)
		}
		if err := sleep(ctx); err != nil {
			return errors.Join(fmt.Errorf("no pod came after %s", pod), err)
		}
	}
}

// Stop leaves the controllers as they are: they were not started here.
func (p *Programs) Stop() error { return nil }
