package kustomization

import (
	"bytes"
	"flag"
	"fmt"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"filippo.io/age"
	"github.com/fluxcd/pkg/apis/meta"
	"github.com/getsops/sops/v3"
	"github.com/getsops/sops/v3/config"
	"github.com/getsops/sops/v3/stores/dotenv"
	sopsyaml "github.com/getsops/sops/v3/stores/yaml"
	"github.com/google/go-cmp/cmp"
	"golang.org/x/tools/txtar"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	kustomizev1 "github.com/weirhq/weir/api/kustomize/v1"
	"github.com/weirhq/weir/internal/apply"
)

var update = flag.Bool("update", false, "rewrite what the scenarios expect")

// scenarioDir holds the corpus; its README.md says how a case is written.
const scenarioDir = "../../../e2e/scenarios"

// TestScenarios plays every case of the corpus against the reconciler and a
// real API server.
func TestScenarios(t *testing.T) {
	names, err := filepath.Glob(filepath.Join(scenarioDir, "*.txtar"))
	if err != nil || len(names) < 60 {
		t.Fatalf("%d scenarios, want 60 at least: %v", len(names), err)
	}
	for _, name := range names {
		t.Run(strings.TrimSuffix(filepath.Base(name), ".txtar"), func(t *testing.T) {
			t.Parallel()
			play(t, name)
		})
	}
}

// stage is where one case is played.
type stage struct {
	*rig
	source   map[string]string // the files of the source, by path
	stale    bool              // source is not published
	revision int
	names    []string // of Kustomizations, in the order in which they were made
	results  map[string]ctrl.Result
	seen     map[string]apply.Ref // every object that was in an inventory, by id
	identity *age.X25519Identity
	web      *web // what kustomizations name by URL; nil without
}

func play(t *testing.T, name string) {
	ar, err := txtar.ParseFile(name)
	if err != nil {
		t.Fatal(err)
	}
	s := &stage{rig: newRig(t), source: map[string]string{}, results: map[string]ctrl.Result{}, seen: map[string]apply.Ref{}}
	for i, f := range ar.Files {
		text := strings.ReplaceAll(string(f.Data), "$NS", s.ns)
		if s.web != nil {
			text = strings.ReplaceAll(text, "$WEB", s.web.URL)
		}
		switch kind, rest, _ := strings.Cut(f.Name, "/"); kind {
		case "options":
			s.options(text)
		case "source":
			s.source[rest], s.stale = text, true
		case "web":
			s.serve("/"+rest, text)
		case "sealed":
			s.source[rest], s.stale = s.seal(rest, text), true
		case "cluster":
			s.put(strings.TrimSuffix(rest, path.Ext(rest)), text)
		case "kustomization.yaml":
			s.declare(text)
		case "do":
			for line := range strings.Lines(text) {
				s.do(strings.Fields(line))
			}
		case "want", "show": // as it stands, or as it becomes
			if kind == "want" {
				s.settle()
			}
			got := s.outcome()
			if *update {
				ar.Files[i].Data = []byte(got)
			} else if want := string(f.Data); want != got {
				t.Errorf("want number %d (-want +got):\n%s", i, cmp.Diff(want, got))
			}
		default:
			t.Fatalf("%q is not a part of a scenario", f.Name)
		}
	}
	if *update {
		if err := os.WriteFile(name, txtar.Format(ar), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// options are settings of the controller, one a line.
func (s *stage) options(text string) {
	for line := range strings.Lines(text) {
		switch name, value, _ := strings.Cut(strings.TrimSpace(line), "="); name {
		case "no-cross-namespace-refs":
			s.o.NoCrossNamespaceRefs = true
		case "default-service-account":
			s.o.DefaultServiceAccount = value
		case "loose-substitution":
			s.o.LooseSubstitution = true
		case "group-changes":
			s.o.GroupChanges = true
		case "additive-readiness":
			s.o.AdditiveReadiness = true
		case "patient-health":
			s.o.PatientHealth = true
		case "external-artifacts":
			s.o.ExternalArtifacts = true
		default:
			s.Fatalf("option %q is not known", name)
		}
	}
	s.restart()
}

// seal encrypts a file for the case's identity, which the Secret "sops-keys" holds.
func (s *stage) seal(name, plain string) string {
	if s.identity == nil {
		var err error
		if s.identity, err = age.GenerateX25519Identity(); err != nil {
			s.Fatal(err)
		}
		s.setSecret("sops-keys", map[string][]byte{"id.agekey": []byte(s.identity.String())})
	}
	var store sops.Store = sopsyaml.NewStore(&config.YAMLStoreConfig{})
	if path.Ext(name) == ".env" {
		store = dotenv.NewStore(&config.DotenvStoreConfig{})
	}
	return sealed(s.T, store, plain, s.identity)
}

// put writes objects to the cluster as a field manager would; an object with
// status has that written, too. A manager "x.update" creates them as x did
// before there was server-side apply.
func (s *stage) put(manager, text string) {
	s.Helper()
	for _, u := range s.objects(text) {
		status := u.Object["status"]
		delete(u.Object, "status")
		if updater, ok := strings.CutSuffix(manager, ".update"); ok {
			if err := s.Create(s.Context(), u, client.FieldOwner(updater)); err != nil {
				s.Fatal(err)
			}
		} else if err := s.Apply(s.Context(), client.ApplyConfigurationFromUnstructured(u), client.FieldOwner(manager), client.ForceOwnership); err != nil {
			s.Fatal(err)
		}
		if status == nil {
			continue
		}
		u.Object["status"] = status
		u.SetManagedFields(nil)
		if err := s.Status().Update(s.Context(), u); err != nil {
			s.Fatal(err)
		}
	}
}

func (s *stage) objects(text string) (out []*unstructured.Unstructured) {
	s.Helper()
	for doc := range strings.SplitSeq(text, "\n---\n") {
		u := &unstructured.Unstructured{}
		if err := yaml.Unmarshal([]byte(doc), &u.Object); err != nil {
			s.Fatal(err)
		}
		if len(u.Object) == 0 {
			continue
		}
		if u.GetNamespace() == "" && namespaced(u.GetKind()) {
			u.SetNamespace(s.ns)
		}
		out = append(out, u)
	}
	return out
}

func namespaced(kind string) bool {
	return !slices.Contains([]string{"Namespace", "CustomResourceDefinition", "ClusterRole", "ClusterRoleBinding",
		"ValidatingAdmissionPolicy", "ValidatingAdmissionPolicyBinding", "APIService"}, kind)
}

// declare makes Kustomizations or changes their spec. What they leave out is
// filled in: name app, path ./app, the case's source and namespace, prune.
func (s *stage) declare(text string) {
	s.Helper()
	for doc := range strings.SplitSeq(text, "\n---\n") {
		fields := map[string]any{"spec": map[string]any{}}
		if err := yaml.Unmarshal([]byte(doc), &fields); err != nil {
			s.Fatal(err)
		}
		spec, _ := fields["spec"].(map[string]any)
		for field, value := range map[string]any{"interval": "1h", "prune": true, "path": "./app",
			"targetNamespace": s.ns, "sourceRef": map[string]any{"kind": "GitRepository", "name": "source"}} {
			if _, ok := spec[field]; !ok {
				spec[field] = value
			}
		}
		if spec["targetNamespace"] == "" {
			delete(spec, "targetNamespace")
		}
		u := &unstructured.Unstructured{Object: fields}
		u.SetGroupVersionKind(kustomizev1.GroupVersion.WithKind(kustomizev1.KustomizationKind))
		if u.GetName() == "" {
			u.SetName("app")
		}
		u.SetNamespace(s.ns)
		if err := s.Apply(s.Context(), client.ApplyConfigurationFromUnstructured(u), client.FieldOwner("user"), client.ForceOwnership); err != nil {
			s.Fatal(err)
		}
		if !slices.Contains(s.names, u.GetName()) {
			s.names = append(s.names, u.GetName())
		}
	}
}

// do is one command of a case.
func (s *stage) do(words []string) {
	s.Helper()
	switch {
	case len(words) == 0:
	case words[0] == "remove" && len(words) == 2: // a file of the source
		delete(s.source, words[1])
		s.stale = true
	case words[0] == "restart":
		s.restart()
	case words[0] == "once" && len(words) == 2: // without waiting for health
		s.publishSource()
		s.results[words[1]] = s.note(s.reconcile(words[1]))
	case words[0] == "delete" && len(words) == 4: // apiVersion Kind name
		if err := s.Delete(s.Context(), s.named(words[1:])); err != nil {
			s.Fatal(err)
		}
	case words[0] == "release" && len(words) == 4: // from its finalizers
		if err := s.Patch(s.Context(), s.named(words[1:]), client.RawPatch(types.MergePatchType, []byte(`{"metadata":{"finalizers":null}}`))); err != nil {
			s.Fatal(err)
		}
	case words[0] == "request" && len(words) == 2:
		s.edit(words[1], func(k *kustomizev1.Kustomization) {
			metav1.SetMetaDataAnnotation(&k.ObjectMeta, meta.ReconcileRequestAnnotation, fmt.Sprint(time.Now().UnixNano()))
		})
	case words[0] == "await-bell" && len(words) == 2:
		s.awaitBell(words[1])
	default:
		s.Fatalf("command %q is not known", words)
	}
}

// named is an object by apiVersion, Kind and name.
func (s *stage) named(words []string) *unstructured.Unstructured {
	u := &unstructured.Unstructured{}
	u.SetGroupVersionKind(schema.FromAPIVersionAndKind(words[0], words[1]))
	u.SetName(words[2])
	if namespaced(words[1]) {
		u.SetNamespace(s.ns)
	}
	return u
}

func (s *stage) publishSource() {
	s.Helper()
	if !s.stale {
		return
	}
	s.revision++
	s.publish(fmt.Sprintf("v%d", s.revision), maps.Clone(s.source))
	s.stale = false
}

// settle runs every Kustomization until it no longer waits for health.
func (s *stage) settle() {
	s.Helper()
	s.publishSource()
	for _, name := range s.names {
		for deadline := time.Now().Add(patience); ; {
			k, result := s.reconcile(name)
			s.results[name] = s.note(k, result)
			ready := apimeta.FindStatusCondition(k.Status.Conditions, meta.ReadyCondition)
			switch {
			case result.Priority != nil && *result.Priority < 0 && result.RequeueAfter <= time.Millisecond:
				continue // it lets others past
			case k.Spec.Suspend, ready == nil, ready.Status != metav1.ConditionUnknown:
			case time.Now().After(deadline):
				s.Fatalf("%s is not settled: %+v", name, ready)
			default:
				s.awaitBellOr(name, result.RequeueAfter)
				continue
			}
			break
		}
	}
}

// awaitBellOr waits until the object is called for, or for the time given.
func (s *stage) awaitBellOr(name string, after time.Duration) {
	timeout := time.After(after)
	for {
		select {
		case key := <-s.rung:
			if key == s.key(name) {
				return
			}
		case <-timeout:
			return
		}
	}
}

// note remembers what the inventory holds.
func (s *stage) note(k *kustomizev1.Kustomization, result ctrl.Result) ctrl.Result {
	refs, err := inventory(k)
	if err != nil {
		s.Fatal(err)
	}
	for _, ref := range refs {
		s.seen[ref.ID()] = ref
	}
	return result
}

// live reads an object; nil when it is not there.
func (s *stage) live(ref apply.Ref) *unstructured.Unstructured {
	s.Helper()
	u := &unstructured.Unstructured{}
	u.SetGroupVersionKind(ref.GroupVersionKind)
	err := s.Get(s.Context(), client.ObjectKey{Namespace: ref.Namespace, Name: ref.Name}, u)
	switch {
	case apierrors.IsNotFound(err) || apimeta.IsNoMatchError(err):
		return nil
	case err != nil:
		s.Fatal(err)
	}
	return u
}

// outcome is what a user sees after a step: conditions, inventories, events
// and objects, without what differs from run to run.
func (s *stage) outcome() string {
	s.Helper()
	var b bytes.Buffer
	for _, name := range s.names {
		s.tellStatus(&b, name)
	}
	s.tellEvents(&b)
	for _, id := range slices.Sorted(maps.Keys(s.seen)) {
		s.tellObject(&b, s.seen[id])
	}
	return s.stable(b.String())
}
