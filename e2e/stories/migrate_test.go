package stories

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/fluxcd/pkg/ssa"
	"github.com/fluxcd/pkg/ssa/normalize"
	"github.com/fluxcd/pkg/ssa/utils"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	imagev1 "github.com/weirhq/weir/api/image/v1"
	kustomizev1 "github.com/weirhq/weir/api/kustomize/v1"
	notificationv1 "github.com/weirhq/weir/api/notification/v1"
	sourcev1 "github.com/weirhq/weir/api/source/v1"
	"github.com/weirhq/weir/internal/gitserver"
	"github.com/weirhq/weir/internal/toolkit"
)

// managed is what a Kustomization of the old installation has applied: kinds
// with and without generation, status and defaulted fields, in all stages.
const managed = `apiVersion: v1
kind: ConfigMap
metadata: {name: settings, namespace: default, annotations: {note: "kept"}}
data: {level: info}
---
apiVersion: v1
kind: Secret
metadata: {name: password, namespace: default}
stringData: {password: opened}
---
apiVersion: v1
kind: Service
metadata: {name: web, namespace: default}
spec: {selector: {app: web}, ports: [{port: 80}]}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, namespace: default}
spec:
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec: {containers: [{name: web, image: "example.com/web:1", resources: {limits: {cpu: 500m, memory: 0.5Gi}}}]}
---
apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
metadata: {name: web, namespace: default}
spec:
  scaleTargetRef: {apiVersion: apps/v1, kind: Deployment, name: web}
  maxReplicas: 3
---
apiVersion: batch/v1
kind: CronJob
metadata: {name: nightly, namespace: default}
spec:
  schedule: "0 3 * * *"
  jobTemplate: {spec: {template: {spec: {restartPolicy: Never, containers: [{name: c, image: example.com/c}]}}}}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {name: "app:reader"}
rules: [{apiGroups: [""], resources: [pods], verbs: [get]}]
---
apiVersion: v1
kind: Namespace
metadata: {name: team}
---
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: things.example.com}
spec:
  group: example.com
  scope: Namespaced
  names: {kind: Thing, plural: things}
  versions: [{name: v1, served: true, storage: true, schema: {openAPIV3Schema: {type: object, x-kubernetes-preserve-unknown-fields: true}}}]
---
apiVersion: example.com/v1
kind: Thing
metadata: {name: one, namespace: default}
spec: {size: 3}
`

// flux applies manifests as Flux's kustomize-controller does: with its own
// library, its field manager and its options. It returns what was done to each.
func flux(t *testing.T, c client.Client, owner string) (*ssa.ChangeSet, []*unstructured.Unstructured) {
	t.Helper()
	objects, err := utils.ReadObjects(strings.NewReader(managed))
	if err != nil {
		t.Fatal(err)
	}
	if err := normalize.UnstructuredList(objects); err != nil {
		t.Fatal(err)
	}
	manager := ssa.NewResourceManager(c, nil, ssa.Owner{Field: "kustomize-controller", Group: "kustomize.toolkit.fluxcd.io"})
	manager.SetOwnerLabels(objects, owner, "default")
	o := ssa.DefaultApplyOptions()
	o.Cleanup = ssa.ApplyCleanupOptions{
		Annotations: []string{corev1.LastAppliedConfigAnnotation, "fluxcd.io/sync-checksum"},
		Labels:      []string{"fluxcd.io/sync-gc-mark"},
		FieldManagers: []ssa.FieldManager{
			{Name: "kubectl", OperationType: metav1.ManagedFieldsOperationApply}, {Name: "kubectl", OperationType: metav1.ManagedFieldsOperationUpdate},
			{Name: "before-first-apply", OperationType: metav1.ManagedFieldsOperationUpdate},
			{Name: "kustomize-controller", OperationType: metav1.ManagedFieldsOperationUpdate},
		},
	}
	// Kinds that a definition makes come after it; its library waits for that by itself
	// only with a status poller.
	all := ssa.NewChangeSet()
	for _, part := range [][]*unstructured.Unstructured{pickKinds(objects, true), pickKinds(objects, false)} {
		var set *ssa.ChangeSet
		for deadline := time.Now().Add(patience); ; time.Sleep(50 * time.Millisecond) {
			if set, err = manager.ApplyAll(t.Context(), part, o); err == nil {
				break
			}
			if time.Now().After(deadline) {
				t.Fatal(err)
			}
		}
		all.Append(set.Entries)
	}
	return all, objects
}

func pickKinds(objects []*unstructured.Unstructured, first bool) (out []*unstructured.Unstructured) {
	for _, u := range objects {
		if (u.GetKind() == "CustomResourceDefinition" || u.GetKind() == "Namespace") == first {
			out = append(out, u)
		}
	}
	return out
}

// identity is what must not change when nothing has to be done.
type identity struct{ UID, Version, Managers string }

// identities reads the objects. Controllers of the cluster write status as they
// please, so the version counts only for kinds that nobody else writes to.
func identities(t *testing.T, c client.Client, objects []*unstructured.Unstructured) map[string]identity {
	t.Helper()
	out := map[string]identity{}
	for _, o := range objects {
		u := &unstructured.Unstructured{}
		u.SetGroupVersionKind(o.GroupVersionKind())
		if err := c.Get(t.Context(), client.ObjectKeyFromObject(o), u); err != nil {
			t.Fatal(err)
		}
		id := identity{UID: string(u.GetUID())}
		for _, e := range u.GetManagedFields() {
			if e.Subresource == "" && e.Manager == "kustomize-controller" {
				id.Managers += fmt.Sprintf("%s %s %s %s\n", e.Operation, e.APIVersion, e.Time, e.FieldsV1)
			}
		}
		switch u.GetKind() {
		case "Deployment", "HorizontalPodAutoscaler", "CronJob", "Namespace", "CustomResourceDefinition":
		default:
			id.Version = u.GetResourceVersion()
		}
		out[u.GetKind()+"/"+u.GetName()] = id
	}
	return out
}

// statuses are written by hand here, in the form that the controllers of Flux
// leave behind.
const finalizers = "finalizers: [finalizers.fluxcd.io]"

func (m *migration) objects() string {
	conditions := func(reason, message string) string {
		return fmt.Sprintf("[{type: Ready, status: \"True\", reason: %s, message: %q, lastTransitionTime: \"2026-01-01T00:00:00Z\", observedGeneration: 1}]", reason, message)
	}
	var inventory strings.Builder
	for _, o := range m.applied {
		fmt.Fprintf(&inventory, "    - {id: %q, v: %s}\n", inventoryID(o), o.GroupVersionKind().Version)
	}
	return strings.NewReplacer("FINALIZERS", finalizers, "GIT", m.git.URL("app"), "REVISION", "main@sha1:"+m.head, "HASH", m.head,
		"INVENTORY", strings.TrimSpace(inventory.String()), "IMAGE", m.image, "HOOK", m.hook(),
		"STORED", conditions("Succeeded", "stored artifact for revision 'main@sha1:"+m.head+"'"),
		"APPLIED", conditions("ReconciliationSucceeded", "Applied revision: main@sha1:"+m.head),
		"FINE", conditions("Succeeded", "fine")).Replace(`apiVersion: source.toolkit.fluxcd.io/v1
kind: GitRepository
metadata: {name: app, namespace: default, FINALIZERS}
spec: {url: "GIT", interval: 1h, ref: {branch: main}}
status:
  observedGeneration: 1
  artifact:
    digest: sha256:1111111111111111111111111111111111111111111111111111111111111111
    lastUpdateTime: "2026-01-01T00:00:00Z"
    path: gitrepository/default/app/HASH.tar.gz
    revision: REVISION
    size: 1000
    url: http://source-controller.flux-system.svc.cluster.local./gitrepository/default/app/HASH.tar.gz
  conditions: STORED
---
apiVersion: source.toolkit.fluxcd.io/v1
kind: HelmRepository
metadata: {name: oci, namespace: default, FINALIZERS}
spec: {type: oci, url: "oci://example.com/charts"}
---
apiVersion: kustomize.toolkit.fluxcd.io/v1
kind: Kustomization
metadata: {name: app, namespace: default, FINALIZERS}
spec: {sourceRef: {kind: GitRepository, name: app}, path: ./app, interval: 1h, prune: true}
status:
  observedGeneration: 1
  lastAppliedRevision: REVISION
  lastAttemptedRevision: REVISION
  conditions: APPLIED
  inventory:
    entries:
    INVENTORY
---
apiVersion: v1
kind: Secret
metadata: {name: hook, namespace: default}
stringData: {token: a-webhook-token-of-some-length, address: "https://hooks.example.com/x"}
---
apiVersion: notification.toolkit.fluxcd.io/v1
kind: Receiver
metadata: {name: hook, namespace: default, FINALIZERS}
spec: {type: github, events: [push], secretRef: {name: hook}, resources: [{kind: GitRepository, name: app}]}
status: {observedGeneration: 1, webhookPath: "HOOK", conditions: FINE}
---
apiVersion: notification.toolkit.fluxcd.io/v1beta3
kind: Provider
metadata: {name: chat, namespace: default}
spec: {type: generic, secretRef: {name: hook}}
---
apiVersion: notification.toolkit.fluxcd.io/v1beta3
kind: Alert
metadata: {name: chat, namespace: default}
spec: {providerRef: {name: chat}, eventSources: [{kind: Kustomization, name: "*"}]}
---
apiVersion: image.toolkit.fluxcd.io/v1
kind: ImageRepository
metadata: {name: web, namespace: default, FINALIZERS}
spec: {image: IMAGE, interval: 1h, insecure: true}
status:
  observedGeneration: 1
  canonicalImageName: IMAGE
  lastScanResult: {latestTags: [1.0.0], revision: "sha256:1", scanTime: "2026-01-01T00:00:00Z", tagCount: 1}
  conditions: FINE
---
apiVersion: image.toolkit.fluxcd.io/v1
kind: ImagePolicy
metadata: {name: web, namespace: default, FINALIZERS}
spec: {imageRepositoryRef: {name: web}, policy: {semver: {range: ">=1.0.0"}}}
status:
  observedGeneration: 1
  latestRef: {name: IMAGE, tag: 1.0.0}
  conditions: FINE
---
apiVersion: image.toolkit.fluxcd.io/v1
kind: ImageUpdateAutomation
metadata: {name: web, namespace: default, FINALIZERS}
spec:
  interval: 1h
  sourceRef: {kind: GitRepository, name: app}
  git: {checkout: {ref: {branch: main}}, commit: {author: {name: Bot, email: bot@example.com}}}
  update: {path: ./app, strategy: Setters}
status:
  observedGeneration: 1
  lastAutomationRunTime: "2026-01-01T00:00:00Z"
  observedSourceRevision: REVISION
  observedPolicies: {web: {name: IMAGE, tag: 1.0.0}}
  conditions: FINE
`)
}

// inventoryID is the id of an object in the form of the wire API.
func inventoryID(u *unstructured.Unstructured) string {
	return fmt.Sprintf("%s_%s_%s_%s", u.GetNamespace(), strings.ReplaceAll(u.GetName(), ":", "__"), u.GroupVersionKind().Group, u.GetKind())
}

// migration is a cluster on which Flux was at work.
type migration struct {
	*story
	kubeconfig, audit, head, image string
	applied                        []*unstructured.Unstructured
}

// hook is the path of the Receiver, as the wire API has it.
func (m *migration) hook() string {
	return fmt.Sprintf("/hook/%x", sha256.Sum256([]byte("a-webhook-token-of-some-length"+"hook"+"default")))
}

// writes lists the requests of our programs that changed something which the
// API server stored, as the audit log has them.
func (m *migration) writes(kind func(resource string) bool) (out []string) {
	m.Helper()
	lines, err := os.ReadFile(m.audit)
	if err != nil {
		m.Fatal(err)
	}
	for line := range strings.Lines(string(lines)) {
		var e struct {
			Verb, UserAgent, RequestURI, Stage string
			ObjectRef                          struct{ Resource, Name string }
		}
		if json.Unmarshal([]byte(line), &e) != nil || e.Stage != "ResponseComplete" || strings.Contains(e.RequestURI, "dryRun") {
			continue
		}
		agent, _, _ := strings.Cut(e.UserAgent, "/")
		if e.Verb != "get" && e.Verb != "list" && e.Verb != "watch" && strings.HasSuffix(agent, "-controller") && kind(e.ObjectRef.Resource) {
			out = append(out, e.Verb+" "+e.RequestURI)
		}
	}
	return out
}

// A cluster on which Flux was at work is taken over without a single write to
// what Flux had applied, and handed back in the same way. That Flux was there is
// played by its own library for applying, and by statuses in its form.
func TestTakeOverAndHandBack(t *testing.T) {
	onProcesses(t)
	m := beginMigration(t)
	before := identities(t, m.Client, m.applied)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	local, err := toolkit.Start(ctx, toolkit.Options{BinDir: bin(t), WorkDir: t.TempDir(), Kubeconfig: m.kubeconfig})
	if err != nil {
		t.Fatal(err)
	}
	m.tools = local
	stopped := false
	t.Cleanup(func() {
		if !stopped {
			_ = local.Stop()
		}
	})

	repo := &sourcev1.GitRepository{ObjectMeta: m.meta("app")}
	m.eventually("the artifact is ours", func() string {
		if err := m.Get(t.Context(), client.ObjectKeyFromObject(repo), repo); err != nil {
			return err.Error()
		}
		if !strings.Contains(repo.Status.Artifact.URL, local.Address(toolkit.Source, "artifacts")) {
			return repo.Status.Artifact.URL
		}
		return ""
	})
	k := &kustomizev1.Kustomization{ObjectMeta: m.meta("app")}
	m.ready(k)
	m.eventually("the Kustomization was looked at", func() string {
		if err := m.Get(t.Context(), client.ObjectKeyFromObject(k), k); err != nil || len(k.Status.History) == 0 {
			return fmt.Sprintf("no history: %v", err)
		}
		return ""
	})
	for _, obj := range []conditioned{repo, &notificationv1.Receiver{ObjectMeta: m.meta("hook")}, &imagev1.ImageRepository{ObjectMeta: m.meta("web")},
		&imagev1.ImagePolicy{ObjectMeta: m.meta("web")}, &imagev1.ImageUpdateAutomation{ObjectMeta: m.meta("web")}} {
		m.ready(obj)
		if obj.GetGeneration() != 1 {
			t.Errorf("the spec of %T was changed", obj)
		}
	}
	if diff := cmp.Diff(before, identities(t, m.Client, m.applied)); diff != "" {
		t.Errorf("applied objects (-Flux +Weir):\n%s", diff)
	}
	m.keepsItsRecords(k, repo)

	stopped = true
	if err := local.Stop(); err != nil {
		t.Error(err)
	}
	// A resumed Flux finds nothing to do either.
	set, _ := flux(t, m.Client, "app")
	for _, e := range set.Entries {
		if e.Action != ssa.UnchangedAction {
			t.Errorf("Flux, back again, finds %s %s", e.Subject, e.Action)
		}
	}
	if diff := cmp.Diff(before, identities(t, m.Client, m.applied)); diff != "" {
		t.Errorf("applied objects (-before +after all):\n%s", diff)
	}
}

// keepsItsRecords checks what the statuses say now, and what was asked of the
// API server for it.
func (m *migration) keepsItsRecords(k *kustomizev1.Kustomization, repo *sourcev1.GitRepository) {
	m.Helper()
	want := map[string]string{}
	for _, o := range m.applied {
		want[inventoryID(o)] = o.GroupVersionKind().Version
	}
	got := map[string]string{}
	for _, e := range k.Status.Inventory.Entries {
		got[e.ID] = e.Version
	}
	if diff := cmp.Diff(want, got); diff != "" {
		m.Errorf("inventory (-Flux +Weir):\n%s", diff)
	}
	if want := "main@sha1:" + m.head; k.Status.LastAppliedRevision != want || repo.Status.Artifact.Revision != want {
		m.Errorf("revisions %q and %q, want %q", k.Status.LastAppliedRevision, repo.Status.Artifact.Revision, want)
	}
	receiver := &notificationv1.Receiver{ObjectMeta: m.meta("hook")}
	policy := &imagev1.ImagePolicy{ObjectMeta: m.meta("web")}
	for _, obj := range []client.Object{receiver, policy} {
		if err := m.Get(m.Context(), client.ObjectKeyFromObject(obj), obj); err != nil {
			m.Fatal(err)
		}
	}
	if receiver.Status.WebhookPath != m.hook() {
		m.Errorf("webhook path %q, want %q", receiver.Status.WebhookPath, m.hook())
	}
	if r := policy.Status.LatestRef; r == nil || r.Tag != "1.0.0" {
		m.Errorf("latest image %+v", r)
	}
	// An OCI HelmRepository is not reconciled any more; what was left of that goes.
	static := &sourcev1.HelmRepository{ObjectMeta: m.meta("oci")}
	m.eventually("it has no finalizer", func() string {
		if err := m.Get(m.Context(), client.ObjectKeyFromObject(static), static); err != nil {
			return err.Error()
		}
		return strings.Join(static.GetFinalizers(), " ")
	})
	ours := func(resource string) bool {
		switch resource {
		case "configmaps", "secrets", "services", "deployments", "horizontalpodautoscalers", "cronjobs", "clusterroles", "namespaces",
			"customresourcedefinitions", "things":
			return true
		}
		return false
	}
	if writes := m.writes(ours); len(writes) > 0 {
		m.Errorf("writes to applied objects:\n%s", strings.Join(writes, "\n"))
	}
	if log, err := m.git.Git("app", "rev-list", "--count", "main"); err != nil || strings.TrimSpace(log) != "1" {
		m.Errorf("the branch has %s commits: %v", strings.TrimSpace(log), err)
	}
}

// beginMigration makes a cluster as Flux leaves it.
func beginMigration(t *testing.T) *migration {
	t.Helper()
	git, err := gitserver.Start(gitserver.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { git.Close() })
	reg := httptest.NewServer(registry.New(registry.Logger(log.New(io.Discard, "", 0))))
	t.Cleanup(reg.Close)
	m := &migration{image: strings.TrimPrefix(reg.URL, "http://") + "/org/web"}
	ref, err := name.ParseReference(m.image + ":1.0.0")
	if err != nil {
		t.Fatal(err)
	}
	if err := remote.Write(ref, empty.Image); err != nil {
		t.Fatal(err)
	}
	kubeconfig, audit, c := bareCluster(t, "")
	m.kubeconfig, m.audit = kubeconfig, audit
	m.story = &story{T: t, Client: c, ns: "default", git: git, plan: map[string]bool{}}
	if err := git.Init("app", map[string]string{"app/all.yaml": managed}); err != nil {
		t.Fatal(err)
	}
	hash, err := git.Git("app", "rev-parse", "main")
	if err != nil {
		t.Fatal(err)
	}
	m.head = hash[:40]
	_, m.applied = flux(t, c, "app")
	for doc := range strings.SplitSeq(m.objects(), "\n---\n") {
		u := &unstructured.Unstructured{}
		if err := yaml.Unmarshal([]byte(doc), &u.Object); err != nil {
			t.Fatalf("%v in\n%s", err, doc)
		}
		status := u.Object["status"]
		delete(u.Object, "status")
		if err := c.Create(t.Context(), u, client.FieldOwner("flux")); err != nil {
			t.Fatal(err)
		}
		if status != nil {
			u.Object["status"] = status
			if err := c.Status().Update(t.Context(), u, client.FieldOwner("gotk-kustomize-controller")); err != nil {
				t.Fatal(err)
			}
		}
	}
	return m
}
