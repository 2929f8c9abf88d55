// Package pods stands in for kubelet, scheduler, volume binder and cloud on a control plane without
// nodes: Pods become Running and Ready a moment after they are created although nothing runs, Pods of
// Jobs succeed, volume claims become Bound, and Services of type LoadBalancer get an address. One Node
// is made up so that DaemonSets have a place.
//
// The annotation weir.dev/simulate on a Pod makes it go wrong; see Next.
package pods

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/util/workqueue"
	"k8s.io/klog/v2"
)

// Options of the simulation. Zero delays mean the defaults of 50 and 250 ms.
type Options struct {
	MinDelay, MaxDelay time.Duration // each step of an object takes a random time between these
}

// workersPerKind is how many objects of a kind are taken a step further at the same time.
const workersPerKind = 2

// simulator does for the objects of one kind what a cluster would do.
type simulator struct {
	informer cache.SharedIndexInformer
	queue    workqueue.TypedRateLimitingInterface[string] // of namespace/name
	options  Options
	// step takes an object, which it must not change, one step further. It does nothing for one that is settled.
	step func(ctx context.Context, obj any) error
}

// Run simulates until ctx ends. An error means that it could not start.
func Run(ctx context.Context, cfg *rest.Config, o Options) error {
	if o.MaxDelay == 0 {
		o.MinDelay, o.MaxDelay = 50*time.Millisecond, 250*time.Millisecond
	}
	client, err := kubernetes.NewForConfig(cfg)
	if err != nil {
		return fmt.Errorf("client of the pod simulator: %w", err)
	}
	if err := createNode(ctx, client); err != nil {
		return fmt.Errorf("creating the simulated node: %w", err)
	}
	var ips addresses
	factory := informers.NewSharedInformerFactory(client, 0)
	core := factory.Core().V1()
	kinds := []*simulator{
		{informer: core.Pods().Informer(), step: func(ctx context.Context, obj any) error {
			return stepPod(ctx, client, obj.(*corev1.Pod), &ips)
		}},
		{informer: core.PersistentVolumeClaims().Informer(), step: func(ctx context.Context, obj any) error {
			return stepClaim(ctx, client, obj.(*corev1.PersistentVolumeClaim))
		}},
		{informer: core.Services().Informer(), step: func(ctx context.Context, obj any) error {
			return stepService(ctx, client, obj.(*corev1.Service), &ips)
		}},
	}
	for _, s := range kinds {
		s.options = o
		if err := s.prepare(); err != nil {
			return fmt.Errorf("watching for objects to simulate: %w", err)
		}
	}
	factory.Start(ctx.Done())
	var group sync.WaitGroup
	for _, s := range kinds {
		group.Go(func() { s.run(ctx) })
	}
	group.Wait()
	factory.Shutdown()
	return nil
}

func (s *simulator) prepare() error {
	s.queue = workqueue.NewTypedRateLimitingQueue(workqueue.DefaultTypedControllerRateLimiter[string]())
	enqueue := func(obj any) {
		if name, err := cache.MetaNamespaceKeyFunc(obj); err == nil {
			s.queue.AddAfter(name, s.options.MinDelay+rand.N(s.options.MaxDelay-s.options.MinDelay+1))
		}
	}
	_, err := s.informer.AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc:    enqueue,
		UpdateFunc: func(_, obj any) { enqueue(obj) },
	})
	return err
}

func (s *simulator) run(ctx context.Context) {
	if !cache.WaitForCacheSync(ctx.Done(), s.informer.HasSynced) {
		return
	}
	var group sync.WaitGroup
	for range workersPerKind {
		group.Go(func() { s.work(ctx) })
	}
	<-ctx.Done()
	s.queue.ShutDown()
	group.Wait()
}

func (s *simulator) work(ctx context.Context) {
	for {
		name, end := s.queue.Get()
		if end {
			return
		}
		err := s.one(ctx, name)
		switch {
		case err == nil:
			s.queue.Forget(name)
		case ctx.Err() == nil:
			if !apierrors.IsConflict(err) {
				klog.ErrorS(err, "simulating", "object", name)
			}
			s.queue.AddRateLimited(name)
		}
		s.queue.Done(name)
	}
}

func (s *simulator) one(ctx context.Context, name string) error {
	obj, exists, err := s.informer.GetStore().GetByKey(name)
	if err != nil || !exists {
		return err
	}
	err = s.step(ctx, obj)
	if apierrors.IsNotFound(err) {
		return nil // gone meanwhile
	}
	return err
}

func stepPod(ctx context.Context, c kubernetes.Interface, pod *corev1.Pod, ips *addresses) error {
	pods := c.CoreV1().Pods(pod.Namespace)
	if pod.DeletionTimestamp != nil {
		// Only Pods with a node get here: the API server removes the others at once. It waits for the
		// kubelet to say that the containers have ended.
		return pods.Delete(ctx, pod.Name, metav1.DeleteOptions{
			GracePeriodSeconds: new(int64),
			Preconditions:      metav1.NewUIDPreconditions(string(pod.UID)),
		})
	}
	status := Next(pod, metav1.Now())
	if status.Phase == corev1.PodRunning && status.PodIP == "" {
		status.PodIP = ips.pod()
		status.PodIPs = []corev1.PodIP{{IP: status.PodIP}}
	}
	if equality.Semantic.DeepEqual(status, pod.Status) {
		return nil
	}
	pod = pod.DeepCopy()
	pod.Status = status
	_, err := pods.UpdateStatus(ctx, pod, metav1.UpdateOptions{})
	return err
}

func stepClaim(ctx context.Context, c kubernetes.Interface, claim *corev1.PersistentVolumeClaim) error {
	if claim.DeletionTimestamp != nil || claim.Status.Phase == corev1.ClaimBound {
		return nil
	}
	claim = claim.DeepCopy()
	claim.Status.Phase = corev1.ClaimBound
	claim.Status.AccessModes = claim.Spec.AccessModes
	claim.Status.Capacity = claim.Spec.Resources.Requests
	_, err := c.CoreV1().PersistentVolumeClaims(claim.Namespace).UpdateStatus(ctx, claim, metav1.UpdateOptions{})
	return err
}

func stepService(ctx context.Context, c kubernetes.Interface, service *corev1.Service, ips *addresses) error {
	if service.DeletionTimestamp != nil || service.Spec.Type != corev1.ServiceTypeLoadBalancer ||
		len(service.Status.LoadBalancer.Ingress) > 0 {
		return nil
	}
	service = service.DeepCopy()
	service.Status.LoadBalancer.Ingress = []corev1.LoadBalancerIngress{{IP: ips.balancer()}}
	_, err := c.CoreV1().Services(service.Namespace).UpdateStatus(ctx, service, metav1.UpdateOptions{})
	return err
}

// addresses gives out addresses that nothing listens on. They repeat after 64,770 Pods and 254 load
// balancers.
type addresses struct {
	mu              sync.Mutex
	pods, balancers int
}

// pod returns an address of 10.244.0.0/16, where clusters commonly have their Pods.
func (a *addresses) pod() string {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.pods++
	return fmt.Sprintf("10.244.%d.%d", a.pods/254%255, a.pods%254+1)
}

// balancer returns an address of 192.0.2.0/24, which RFC 5737 keeps for documentation.
func (a *addresses) balancer() string {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.balancers++
	return fmt.Sprintf("192.0.2.%d", a.balancers%254+1)
}
