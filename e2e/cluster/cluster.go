package cluster

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/weirhq/weir/e2e/manifests"
)

// Namespace is where everything is installed.
const Namespace = "flux-system"

// fieldManager is the one of `kubectl apply --server-side`.
const fieldManager = client.FieldOwner("kubectl")

// tick is how often something is looked at that is waited for.
const tick = 200 * time.Millisecond

// Wanted says whether a cluster is to be used.
func Wanted() bool { return os.Getenv("WEIR_E2E_CLUSTER") == "1" }

// Cluster is the cluster of KUBECONFIG.
type Cluster struct {
	client.Client
	// Host is the address of this machine as pods see it.
	Host string

	config *rest.Config
	http   *http.Client
	load   string // the command that brings images to the nodes
	dist   string
}

// Open reads the environment.
func Open() (*Cluster, error) {
	kubeconfig := os.Getenv("KUBECONFIG")
	if kubeconfig == "" {
		return nil, errors.New("KUBECONFIG is not set: it names the cluster to use")
	}
	config, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	if err != nil {
		return nil, fmt.Errorf("kubeconfig %q: %w", kubeconfig, err)
	}
	config.QPS = -1
	c := &Cluster{config: config, Host: os.Getenv("E2E_HOST"), load: os.Getenv("E2E_LOAD_IMAGE"), dist: os.Getenv("E2E_DIST")}
	if c.dist == "" {
		c.dist = filepath.Join("..", "..", "dist")
	}
	if c.Host == "" {
		if c.Host, err = addressTowards(config.Host); err != nil {
			return nil, fmt.Errorf("the address of this machine as pods see it is not known, set E2E_HOST: %w", err)
		}
	}
	scheme := runtime.NewScheme()
	if err := clientgoscheme.AddToScheme(scheme); err != nil {
		return nil, err
	}
	if c.Client, err = client.New(config, client.Options{Scheme: scheme}); err != nil {
		return nil, err
	}
	c.http, err = rest.HTTPClientFor(config)
	return c, err
}

// addressTowards returns the own address on the way to the API server. Nothing
// is sent.
func addressTowards(server string) (string, error) {
	u, err := url.Parse(server)
	if err != nil {
		return "", err
	}
	conn, err := net.Dial("udp", net.JoinHostPort(u.Hostname(), "9"))
	if err != nil {
		return "", err
	}
	defer conn.Close()
	ip := conn.LocalAddr().(*net.UDPAddr).IP
	if ip.IsLoopback() {
		return "", fmt.Errorf("the API server is at %s, where no pod can call back", u.Host)
	}
	return ip.String(), nil
}

// Install applies a folder of config/ and waits until the Deployments in it are
// available.
func (c *Cluster) Install(ctx context.Context, folder string, o manifests.Options) ([]*unstructured.Unstructured, error) {
	objects, err := Render(folder, o)
	if err != nil {
		return nil, err
	}
	for _, obj := range objects {
		if err := c.apply(ctx, obj); err != nil {
			return nil, err
		}
	}
	for _, obj := range objects {
		if obj.GetKind() == "Deployment" {
			if err := c.Available(ctx, obj.GetName()); err != nil {
				return nil, err
			}
		}
	}
	return objects, nil
}

// Render renders a folder of config/ in the order in which it is applied.
func Render(folder string, o manifests.Options) ([]*unstructured.Unstructured, error) {
	m, err := manifests.Render(filepath.Join("..", "..", "config"), folder, o)
	if err != nil {
		return nil, err
	}
	return m.Objects()
}

// apply tries again while the kind or the namespace of obj is being made.
func (c *Cluster) apply(ctx context.Context, obj *unstructured.Unstructured) error {
	for {
		err := c.Apply(ctx, client.ApplyConfigurationFromUnstructured(obj.DeepCopy()), client.ForceOwnership, fieldManager)
		if err == nil {
			return nil
		}
		if !apimeta.IsNoMatchError(err) && !apierrors.IsNotFound(err) && !apierrors.IsForbidden(err) {
			return fmt.Errorf("applying %s %s: %w", obj.GetKind(), obj.GetName(), err)
		}
		if err := sleep(ctx); err != nil {
			return fmt.Errorf("applying %s %s: %w", obj.GetKind(), obj.GetName(), err)
		}
	}
}

// Available waits until a Deployment of Namespace has rolled out.
func (c *Cluster) Available(ctx context.Context, name string) error {
	for {
		d := &appsv1.Deployment{}
		err := c.Get(ctx, client.ObjectKey{Namespace: Namespace, Name: name}, d)
		s := d.Status
		if err == nil && s.ObservedGeneration == d.Generation && s.UpdatedReplicas == *d.Spec.Replicas &&
			s.AvailableReplicas == *d.Spec.Replicas && s.Replicas == *d.Spec.Replicas {
			return nil
		}
		if client.IgnoreNotFound(err) != nil {
			return err
		}
		if err := sleep(ctx); err != nil {
			return fmt.Errorf("the Deployment %s is not available: %d updated, %d available of %d; %w",
				name, s.UpdatedReplicas, s.AvailableReplicas, s.Replicas, err)
		}
	}
}

// Remove deletes objects, those applied last first, and waits until they are
// gone.
func (c *Cluster) Remove(ctx context.Context, objects []*unstructured.Unstructured) error {
	for _, obj := range slices.Backward(objects) {
		if err := c.Delete(ctx, obj.DeepCopy(), client.PropagationPolicy("Background")); client.IgnoreNotFound(err) != nil && !apimeta.IsNoMatchError(err) {
			return fmt.Errorf("deleting %s %s: %w", obj.GetKind(), obj.GetName(), err)
		}
	}
	for _, obj := range slices.Backward(objects) {
		if err := c.Gone(ctx, obj.DeepCopy()); err != nil {
			return err
		}
	}
	return nil
}

// Gone waits until an object is not there any more.
func (c *Cluster) Gone(ctx context.Context, obj *unstructured.Unstructured) error {
	for {
		err := c.Get(ctx, client.ObjectKeyFromObject(obj), obj)
		if apierrors.IsNotFound(err) || apimeta.IsNoMatchError(err) {
			return nil
		}
		if err != nil {
			return err
		}
		if err := sleep(ctx); err != nil {
			return fmt.Errorf("%s %s/%s does not go away, its finalizers are %v: %w",
				obj.GetKind(), obj.GetNamespace(), obj.GetName(), obj.GetFinalizers(), err)
		}
	}
}

func sleep(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(tick):
		return nil
	}
}
