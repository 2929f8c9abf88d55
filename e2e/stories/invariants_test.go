package stories

import (
	"context"
	"encoding/base64"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/fluxcd/pkg/apis/meta"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"github.com/weirhq/weir/api/duration"
	imagev1 "github.com/weirhq/weir/api/image/v1"
	kustomizev1 "github.com/weirhq/weir/api/kustomize/v1"
	notificationv1 "github.com/weirhq/weir/api/notification/v1"
	sourcev1 "github.com/weirhq/weir/api/source/v1"
	"github.com/weirhq/weir/e2e/cluster"
	"github.com/weirhq/weir/internal/apply"
	"github.com/weirhq/weir/internal/testenv"
	"github.com/weirhq/weir/internal/toolkit"
)

// controlInterval is how often the control object is reconciled.
const controlInterval = 2 * time.Second

// usage is what the programs hold.
type usage map[string]float64

// watchInvariants checks when the story is over:
//
//	I1 the programs deleted nothing that the story did not plan (where there is an audit log)
//	I2 inventories hold all live objects with our owner labels
//	I3 the planted secret is nowhere to be seen
//	I4 an object in another namespace kept being reconciled
//	I5 open files, goroutines and temporary files went back to where they were
func (s *story) watchInvariants() {
	s.Helper()
	audited := 0
	if !cluster.Wanted() { // a cluster of others shows us no audit log
		audited = len(testenv.Audit(s.T))
	}
	control := s.controlObject()
	before := s.settled()
	s.Cleanup(func() {
		s.deletedOnlyPlanned(audited)
		s.inventoriesAreComplete()
		s.secretIsNowhere()
		s.keepsReconciling(control)
		s.cleanUp()
		s.usesNoMoreThan(before)
	})
}

// controlObject makes a GitRepository in a namespace of its own.
func (s *story) controlObject() client.ObjectKey {
	s.Helper()
	ns := testenv.Namespace(s.T)
	if err := s.git.Init("control", map[string]string{"README.md": "control\n"}); err != nil {
		s.Fatal(err)
	}
	secret := &corev1.Secret{StringData: map[string]string{"username": "weir", "password": planted}}
	secret.Name, secret.Namespace = "git", ns
	s.create(secret)
	repo := &sourcev1.GitRepository{Spec: sourcev1.GitRepositorySpec{
		URL: s.git.URL("control"), Interval: duration.New(controlInterval),
		Reference: &sourcev1.GitRepositoryRef{Branch: "main"},
	}}
	repo.Spec.SecretRef = &meta.LocalObjectReference{Name: "git"}
	repo.Name, repo.Namespace = "control", ns
	s.create(repo)
	s.ready(repo)
	return client.ObjectKeyFromObject(repo)
}

func (s *story) keepsReconciling(control client.ObjectKey) {
	count := func() uint64 {
		families, err := s.tools.Metrics(context.Background(), toolkit.Source)
		if err != nil {
			s.Errorf("I4: %v", err)
			return 0
		}
		for _, m := range families["gotk_reconcile_duration_seconds"].GetMetric() {
			labels := map[string]string{}
			for _, l := range m.Label {
				labels[l.GetName()] = l.GetValue()
			}
			if labels["name"] == control.Name && labels["namespace"] == control.Namespace {
				return m.Histogram.GetSampleCount()
			}
		}
		return 0
	}
	before := count()
	for deadline := time.Now().Add(2 * controlInterval); count() == before; time.Sleep(50 * time.Millisecond) {
		if time.Now().After(deadline) {
			s.Errorf("I4: the control object %s was not reconciled within twice its interval", control)
			return
		}
	}
}

// programs whose deletions count. Events expire and leases are released by
// themselves.
func (s *story) deletedOnlyPlanned(since int) {
	if cluster.Wanted() {
		return
	}
	for _, e := range testenv.Audit(s.T)[since:] {
		agent, _, _ := strings.Cut(e.UserAgent, "/")
		if !strings.HasPrefix(e.Verb, "delete") || !slices.Contains(toolkit.All, agent) || strings.Contains(e.URI, "dryRun") {
			continue
		}
		if !s.plan[e.Resource+"/"+e.Name] {
			s.Errorf("I1: %s deleted %s %s/%s, which the story did not plan", agent, e.Resource, e.Namespace, e.Name)
		}
	}
}

func (s *story) inventoriesAreComplete() {
	ctx := context.Background()
	var all kustomizev1.KustomizationList
	if err := s.List(ctx, &all, client.InNamespace(s.ns)); err != nil {
		s.Errorf("I2: %v", err)
		return
	}
	known := map[types.NamespacedName]map[string]bool{}
	for _, k := range all.Items {
		ids := map[string]bool{}
		if k.Status.Inventory != nil {
			for _, e := range k.Status.Inventory.Entries {
				ids[e.ID] = true
			}
		}
		known[client.ObjectKeyFromObject(&k)] = ids
	}
	for _, list := range []client.ObjectList{&corev1.ConfigMapList{}, &corev1.ServiceList{}, &appsv1.DeploymentList{}} {
		if err := s.List(ctx, list, client.InNamespace(s.ns), client.HasLabels{kustomizev1.GroupVersion.Group + "/name"}); err != nil {
			s.Errorf("I2: %v", err)
			continue
		}
		for _, obj := range items(list) {
			gvk, err := s.GroupVersionKindFor(obj)
			if err != nil {
				s.Errorf("I2: %v", err)
				continue
			}
			labels := obj.GetLabels()
			owner := types.NamespacedName{Namespace: labels[kustomizev1.GroupVersion.Group+"/namespace"], Name: labels[kustomizev1.GroupVersion.Group+"/name"]}
			ref := apply.Ref{GroupVersionKind: gvk, Namespace: obj.GetNamespace(), Name: obj.GetName()}
			if ids, ok := known[owner]; ok && !ids[ref.ID()] {
				s.Errorf("I2: %s carries the labels of Kustomization %s and is not in its inventory", ref, owner)
			}
		}
	}
}

func items(list client.ObjectList) []client.Object {
	var out []client.Object
	switch l := list.(type) {
	case *corev1.ConfigMapList:
		for i := range l.Items {
			out = append(out, &l.Items[i])
		}
	case *corev1.ServiceList:
		for i := range l.Items {
			out = append(out, &l.Items[i])
		}
	case *appsv1.DeploymentList:
		for i := range l.Items {
			out = append(out, &l.Items[i])
		}
	}
	return out
}

// secretIsNowhere looks at everything that people and other programs see.
func (s *story) secretIsNowhere() {
	ctx := context.Background()
	forms := []string{planted, url.QueryEscape(planted), url.PathEscape(planted),
		base64.StdEncoding.EncodeToString([]byte(planted)), base64.StdEncoding.EncodeToString([]byte("weir:" + planted))}
	check := func(where, text string) {
		for _, form := range forms {
			if strings.Contains(text, form) {
				s.Errorf("I3: the planted secret is in %s", where)
			}
		}
	}
	for _, list := range []client.ObjectList{
		&sourcev1.GitRepositoryList{}, &kustomizev1.KustomizationList{}, &notificationv1.ReceiverList{},
		&imagev1.ImageRepositoryList{}, &imagev1.ImagePolicyList{}, &imagev1.ImageUpdateAutomationList{}, &corev1.EventList{},
	} {
		if err := s.List(ctx, list, client.InNamespace(s.ns)); err != nil {
			s.Errorf("I3: %v", err)
			continue
		}
		text, err := yaml.Marshal(list)
		if err != nil {
			s.Errorf("I3: %v", err)
		}
		check(fmt.Sprintf("a %T", list), string(text))
	}
	for _, name := range toolkit.All {
		log, err := s.tools.Log(ctx, name)
		if err != nil {
			s.Errorf("I3: %v", err)
		}
		check("the log of "+name, log)
		metrics, err := s.fetch(ctx, s.tools.URL(name, "metrics")+"/metrics")
		if err != nil {
			s.Errorf("I3: %v", err)
		}
		check("the metrics of "+name, metrics)
		state, err := s.fetch(ctx, s.tools.URL(name, "metrics")+"/debug/state")
		if err != nil {
			s.Errorf("I3: %v", err)
		}
		check("the state of "+name, state)
	}
	if log, err := s.git.Git("app", "log", "--all", "--format=%B%an%ae"); err == nil {
		check("a commit message", log)
	}
}

func (s *story) fetch(ctx context.Context, address string) (string, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return "", err
	}
	resp, err := s.tools.HTTPClient().Do(req)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	return string(data), err
}

// cleanUp deletes the story's objects and waits until they are gone.
func (s *story) cleanUp() {
	ctx := context.Background()
	kinds := []client.Object{
		&imagev1.ImageUpdateAutomation{}, &imagev1.ImagePolicy{}, &imagev1.ImageRepository{},
		&notificationv1.Receiver{}, &kustomizev1.Kustomization{}, &sourcev1.GitRepository{},
	}
	for _, kind := range kinds {
		if err := s.DeleteAllOf(ctx, kind, client.InNamespace(s.ns)); err != nil {
			s.Errorf("cleaning up: %v", err)
		}
	}
	lists := []client.ObjectList{
		&imagev1.ImageUpdateAutomationList{}, &imagev1.ImagePolicyList{}, &imagev1.ImageRepositoryList{},
		&notificationv1.ReceiverList{}, &kustomizev1.KustomizationList{}, &sourcev1.GitRepositoryList{},
	}
	for _, list := range lists {
		for deadline := time.Now().Add(patience); ; time.Sleep(20 * time.Millisecond) {
			if err := s.List(ctx, list, client.InNamespace(s.ns)); err != nil {
				s.Errorf("cleaning up: %v", err)
				break
			}
			if left := apimeta.LenList(list); left == 0 {
				break
			} else if time.Now().After(deadline) {
				s.Errorf("cleaning up: %d objects of %T do not go away", left, list)
				break
			}
		}
	}
}

// settled reads what the programs hold once that has stopped growing: their
// workers start after they have said that they are ready.
func (s *story) settled() usage {
	before := s.usage()
	for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); {
		time.Sleep(500 * time.Millisecond)
		now, grown := s.usage(), false
		for what := range now {
			grown = grown || now[what] > before[what]+slack/4
		}
		if before = now; !grown {
			break
		}
	}
	return before
}

// usage reads what the programs hold now.
func (s *story) usage() usage {
	out := usage{}
	for _, name := range toolkit.All {
		families, err := s.tools.Metrics(context.Background(), name)
		if err != nil {
			s.Errorf("I5: %v", err)
			continue
		}
		for _, metric := range []string{"process_open_fds", "go_goroutines"} {
			if out[name+" "+metric], err = toolkit.Value(families, metric); err != nil {
				s.Errorf("I5: %s: %v", name, err)
			}
		}
		files, err := s.tools.TemporaryFiles(name)
		if err != nil {
			s.Errorf("I5: %v", err)
		}
		out[name+" temporary files"] = float64(files)
	}
	return out
}

// slack is what idle connections, watches of newly seen kinds and their
// goroutines may hold after a story; a leak per object or per run exceeds it.
const slack = 60

func (s *story) usesNoMoreThan(before usage) {
	deadline := time.Now().Add(10 * time.Second)
	for {
		var over []string
		for what, now := range s.usage() {
			allowed := before[what] + slack
			if strings.HasSuffix(what, "temporary files") {
				allowed = before[what]
			}
			if now > allowed {
				over = append(over, fmt.Sprintf("%s: %.0f, was %.0f", what, now, before[what]))
			}
		}
		if len(over) == 0 {
			return
		}
		if time.Now().After(deadline) {
			s.Errorf("I5: %s", strings.Join(over, "; "))
			return
		}
		time.Sleep(100 * time.Millisecond)
	}
}
