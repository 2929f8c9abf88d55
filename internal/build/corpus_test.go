package build

import (
	"bytes"
	"fmt"
	"maps"
	"math/rand/v2"
	"path"
	"slices"
	"strings"
)

// source is one directory to build in one set of files.
type source struct {
	name  string
	files map[string][]byte
	dir   string
}

func deployment(name, ns, image string) string {
	s := fmt.Sprintf(`apiVersion: apps/v1
kind: Deployment
metadata:
  name: %[1]s
  labels: {app: %[1]s}
spec:
  replicas: 1
  selector: {matchLabels: {app: %[1]s}}
  template:
    metadata: {labels: {app: %[1]s}}
    spec:
      serviceAccountName: %[1]s
      containers:
      - name: main
        image: %[2]s:1.0
        args: ["--on=yes", "0123"]
        env:
        - name: MODE
          valueFrom: {configMapKeyRef: {name: %[1]s, key: mode}}
        ports: [{containerPort: 8080}]
      volumes:
      - name: conf
        configMap: {name: %[1]s}
`, name, image)
	if ns != "" {
		s = strings.Replace(s, "metadata:\n", "metadata:\n  namespace: "+ns+"\n", 1)
	}
	return s
}

func manifest(kind, api, name, ns, rest string) string {
	s := fmt.Sprintf("apiVersion: %s\nkind: %s\nmetadata:\n  name: %s\n", api, kind, name)
	if ns != "" {
		s += "  namespace: " + ns + "\n"
	}
	return s + rest
}

// app returns the manifests of one application, one string per object.
func app(name, ns string) []string {
	return []string{
		deployment(name, ns, "example.org/"+name),
		manifest("Service", "v1", name, ns, "spec:\n  selector: {app: "+name+"}\n  ports: [{port: 80, targetPort: 8080}]\n"),
		manifest("ConfigMap", "v1", name, ns, "data:\n  mode: \"on\"\n  n: \"1e3\"\n"),
		manifest("ServiceAccount", "v1", name, ns, ""),
		manifest("RoleBinding", "rbac.authorization.k8s.io/v1", name, ns,
			"roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: "+name+"}\nsubjects:\n- {kind: ServiceAccount, name: "+name+"}\n"),
		manifest("Role", "rbac.authorization.k8s.io/v1", name, ns, "rules:\n- apiGroups: [\"\"]\n  resources: [configmaps]\n  resourceNames: ["+name+"]\n  verbs: [get]\n"),
		manifest("Ingress", "networking.k8s.io/v1", name, ns, "spec:\n  defaultBackend: {service: {name: "+name+", port: {number: 80}}}\n"),
		manifest("Widget", "example.org/v1", name, ns, "spec: {size: 1.50, on: true, when: 2001-12-14, who: null, big: 12345678901234567890, small: 1e-7, octal: 0o17, text: \"0x1F\"}\n"),
	}
}

// generatedSource combines, by its seed, a base, sometimes a second base and a
// component, and an overlay with a mix of every feature.
func generatedSource(seed int) source {
	g := &generator{r: rand.New(rand.NewPCG(uint64(seed), 7)), files: map[string][]byte{}}
	g.base("base/one", 1+g.r.IntN(4))
	k := "resources: [../../base/one"
	if g.on(.4) {
		g.base("base/two", 1+g.r.IntN(3))
		k += ", ../../base/two"
	}
	g.files["over/prod/kustomization.yaml"] = []byte(k + "]\n" + g.overlay())
	return source{fmt.Sprintf("seed %d", seed), g.files, "over/prod"}
}

type generator struct {
	r     *rand.Rand
	files map[string][]byte
}

func (g *generator) on(p float64) bool { return g.r.Float64() < p }

func (g *generator) base(dir string, apps int) {
	k, name := "resources:\n", path.Base(dir)
	add := func(p, text string) {
		g.files[dir+"/"+p] = []byte(text)
		k += "- " + p + "\n"
	}
	for i := range apps {
		ns := ""
		if g.on(.3) {
			ns = fmt.Sprintf("ns%d", g.r.IntN(2))
		}
		docs := app(fmt.Sprintf("%s%d", name, i), ns)
		if g.on(.5) {
			add(fmt.Sprintf("all%d.yaml", i), strings.Join(docs, "---\n"))
			continue
		}
		for j, d := range docs {
			add(fmt.Sprintf("a%d-%d.yaml", i, j), d)
		}
	}
	extra := map[string]string{
		"list.yaml":  "apiVersion: v1\nkind: List\nitems:\n- {apiVersion: v1, kind: ConfigMap, metadata: {name: " + name + "-l1}}\n- {apiVersion: v1, kind: Namespace, metadata: {name: " + name + "-l2}}\n",
		"local.yaml": manifest("ConfigMap", "v1", name+"-local", "", "  annotations: {config.kubernetes.io/local-config: \"true\"}\n"),
		"hook.yaml":  manifest("ValidatingWebhookConfiguration", "admissionregistration.k8s.io/v1", name, "", "webhooks:\n- name: a.example.org\n  clientConfig: {service: {name: "+name+"0, path: /x}}\n"),
	}
	for _, p := range slices.Sorted(maps.Keys(extra)) { // a seed is one source
		if g.on(.3) {
			add(p, extra[p])
		}
	}
	if g.on(.4) {
		k += "labels:\n- pairs: {team: blue}\n  includeSelectors: " + fmt.Sprint(g.on(.5)) + "\n"
	}
	if g.on(.3) {
		k += "commonAnnotations: {note: \"from " + dir + "\"}\n"
	}
	g.files[dir+"/kustomization.yaml"] = []byte(k)
}

// overlay returns fields of the kustomization in over/prod, and adds the files
// they name.
func (g *generator) overlay() string {
	k := ""
	for _, f := range []struct {
		p     float64
		text  string
		files map[string]string
	}{
		{.4, "namespace: target\n", nil},
		{.5, "images:\n- {name: example.org/one0, newName: mirror.example.org/one0, newTag: \"2.1\"}\n", nil},
		{.4, "namePrefix: pre-\n", nil},
		{.2, "nameSuffix: -post\n", nil},
		{.4, "configMapGenerator:\n- name: gen\n  literals: [a=b]\n  files: [x.txt, y=x.txt]\n  envs: [e.env]\nsecretGenerator:\n- name: sec\n  literals: [p=q]\n",
			map[string]string{"over/prod/x.txt": "hello\n", "over/prod/e.env": "A=1\nB=2\n"}},
		{.4, "patches:\n- path: p.yaml\n- target: {kind: Service}\n  patch: |-\n    - {op: add, path: /spec/type, value: NodePort}\n",
			map[string]string{"over/prod/p.yaml": "apiVersion: example.org/v1\nkind: Widget\nmetadata: {name: one0" + g.namespace() + "}\nspec: {size: 9}\n"}},
		{.3, "replicas:\n- {name: one0, count: 3}\n", nil},
		{.3, "replacements:\n- source: {kind: ConfigMap, name: one0, fieldPath: data.mode}\n  targets:\n  - select: {kind: Widget}\n    fieldPaths: [spec.mode]\n    options: {create: true}\n", nil},
		{.3, "components: [../../comp]\n",
			map[string]string{"comp/kustomization.yaml": "apiVersion: kustomize.config.k8s.io/v1alpha1\nkind: Component\npatches:\n- target: {kind: Deployment}\n  patch: |-\n    - {op: add, path: /spec/paused, value: true}\n"}},
		{.2, "sortOptions: {order: legacy}\n", nil},
		{.2, "buildMetadata: [originAnnotations]\n", nil},
	} {
		if !g.on(f.p) {
			continue
		}
		k += f.text
		for p, text := range f.files {
			g.files[p] = []byte(text)
		}
	}
	return k
}

// namespace repeats the namespace that the first app of base one was given.
func (g *generator) namespace() string {
	for _, p := range []string{"base/one/all0.yaml", "base/one/a0-7.yaml"} {
		if _, after, ok := bytes.Cut(g.files[p], []byte("namespace: ")); ok {
			ns, _, _ := bytes.Cut(after, []byte("\n"))
			return ", namespace: " + string(ns)
		}
	}
	return ""
}

// monorepo returns n small applications over one shared base.
func monorepo(n int) map[string][]byte {
	f := map[string][]byte{"base/kustomization.yaml": []byte("resources: [all.yaml]\n"),
		"base/all.yaml": []byte(strings.Join(app("web", "")[:4], "---\n"))}
	for i := range n {
		d := fmt.Sprintf("apps/app%03d/", i)
		f[d+"kustomization.yaml"] = fmt.Appendf(nil, "namePrefix: a%d-\nnamespace: team%d\nresources: [../../base]\npatches: [{path: patch.yaml}]\n", i, i%9)
		f[d+"patch.yaml"] = fmt.Appendf(nil, "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: web}\nspec: {replicas: %d}\n", i)
	}
	return f
}
