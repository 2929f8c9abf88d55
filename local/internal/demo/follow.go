package demo

import (
	"context"
	"fmt"
	"path/filepath"
	"time"

	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	kustomizev1 "github.com/weirhq/weir/api/kustomize/v1"
	"github.com/weirhq/weir/internal/toolkit"
)

// followInterval is how often what went on is looked up after the demonstration.
const followInterval = 500 * time.Millisecond

// usage says what can be done now.
func (d *demo) usage() {
	d.board.Title("Everything stays up until Ctrl-C")
	d.board.Note("export KUBECONFIG=%s", d.controlPlane.Kubeconfig)
	d.board.Note("kubectl get gitrepositories,kustomizations,imagepolicies -A")
	if d.Repo == "" {
		d.board.Note("kubectl -n %s get all       (Pods are simulated: nothing runs, so there is nothing to open in a browser)", appNamespace)
		d.board.Note("")
		d.board.Note("cd %s       then edit, git commit, git push: it is applied at once", filepath.Join(d.Dir, "shop"))
		d.board.Note("The repository is %s (user %s; the clone knows the password).", d.git.URL(exampleRepository), gitUser)
		d.board.Note("An annotation weir.dev/simulate: fail, stall or crashloop on the Pod template makes Pods go wrong.")
	} else {
		d.board.Note("Commits to %s are applied by themselves; Pods are simulated.", d.Repo)
	}
	d.board.Note("Weir's objects: %s", d.objectsFile())
	d.board.Note("Logs: %s", filepath.Join(d.Dir, "logs"))
}

// follow tells what Weir says until ctx ends. It is an error when one of the processes ends before.
func (d *demo) follow(ctx context.Context) error {
	tick := time.NewTicker(followInterval)
	defer tick.Stop()
	said := map[string]string{}
	d.changes(ctx, said, false)
	for {
		select {
		case <-ctx.Done():
			d.board.Title("Stopping")
			return nil
		case m := <-d.slack.Messages:
			d.board.Note("A message for Slack:")
			d.board.Quote(m.Lines())
		case <-tick.C:
			if p := d.lost(); p != nil {
				return fmt.Errorf("%s ended; the end of its log:\n%s", p.Name, p.Tail(tailLines))
			}
			d.changes(ctx, said, true)
		}
	}
}

// lost returns a process that has ended, or nil.
func (d *demo) lost() *toolkit.Process {
	all := []*toolkit.Process{d.controlPlane.Process}
	for _, name := range toolkit.All {
		all = append(all, d.controllers.Process(name))
	}
	for _, p := range all {
		select {
		case <-p.Ended():
			return p
		default:
		}
	}
	return nil
}

// changes tells what Kustomizations say now and did not say before.
func (d *demo) changes(ctx context.Context, said map[string]string, tell bool) {
	var list kustomizev1.KustomizationList
	if err := d.client.List(ctx, &list); err != nil {
		return // ctx has ended, or the control plane, which lost notices
	}
	for i := range list.Items {
		k := &list.Items[i]
		c := apimeta.FindStatusCondition(k.Status.Conditions, "Ready")
		if c == nil || c.Status == metav1.ConditionUnknown {
			continue // still at it
		}
		now := fmt.Sprintf("ready %s: %s", c.Status, c.Message)
		if said[k.Name] == now {
			continue
		}
		said[k.Name] = now
		if k.Name == ownName {
			if _, err := d.nameNamespace(ctx, k); err != nil {
				d.board.Note("Kustomization %s: %v", k.Name, err)
			}
		}
		if tell {
			d.board.Note("%s  Kustomization %s %s", time.Now().Format(time.TimeOnly), k.Name, now)
		}
	}
}
