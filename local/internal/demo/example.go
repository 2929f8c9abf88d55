package demo

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	imagev1 "github.com/weirhq/weir/api/image/v1"
	kustomizev1 "github.com/weirhq/weir/api/kustomize/v1"
	notificationv1 "github.com/weirhq/weir/api/notification/v1"
	sourcev1 "github.com/weirhq/weir/api/source/v1"
	"github.com/weirhq/weir/internal/toolkit"
)

// Names of the example's objects.
const (
	appNamespace = "shop-dev"
	app          = "web"
	imagePath    = "shop/web"
)

func weirMeta(name string) metav1.ObjectMeta {
	return metav1.ObjectMeta{Namespace: Namespace, Name: name}
}

// showExample brings the example up and demonstrates on it.
func (d *demo) showExample(ctx context.Context) error {
	w, err := d.prepareExample(ctx)
	if err != nil {
		return err
	}
	if err := d.bringUp(ctx, w); err != nil {
		return err
	}
	for _, step := range []func(context.Context, *worktree) error{
		d.showCommit, d.showDrift, d.showImage, d.showFailure, d.showRevert,
	} {
		if err := step(ctx, w); err != nil {
			return err
		}
	}
	return nil
}

// prepareExample makes the repository, its clone and the first images.
func (d *demo) prepareExample(ctx context.Context) (*worktree, error) {
	files, err := exampleContent(d.registry.Host)
	if err != nil {
		return nil, err
	}
	if err := d.git.Init(exampleRepository, files); err != nil {
		return nil, fmt.Errorf("example repository: %w", err)
	}
	if err := d.registry.Push(ctx, imagePath, "0.9.0", "1.0.0", "latest"); err != nil {
		return nil, err
	}
	return d.clone(ctx)
}

// bringUp applies Weir's objects and waits until the application is healthy.
func (d *demo) bringUp(ctx context.Context, w *worktree) error {
	d.board.Title("From a Git repository to running objects")
	d.board.Note("A GitRepository, a Kustomization, Receivers, an Alert and image automation are applied once: %s", d.objectsFile())
	hash, err := git(ctx, w.dir, "rev-parse", "HEAD")
	if err != nil {
		return err
	}
	began := time.Now()
	err = d.apply(ctx, "example.yaml", map[string]string{
		"GitUser": gitUser, "GitPassword": d.hook.token, "GitURL": d.git.URL(exampleRepository), "HookToken": d.hook.token,
		"SlackURL": d.slack.URL, "Image": d.registry.Host + "/" + imagePath,
	})
	if err != nil {
		return err
	}
	err = d.table(ctx, began,
		task{"Git revision fetched", toolkit.Source, d.fetched("shop", hash)},
		task{"objects applied", toolkit.Kustomize, d.deployment(func(v *appsv1.Deployment) bool { return v.UID != "" })},
		task{"healthy", toolkit.Kustomize, d.healthy(hash, 2)},
		task{"webhook of the Git host", toolkit.Notification, d.isReady(&notificationv1.Receiver{ObjectMeta: weirMeta("git")})},
		task{"webhook of the registry", toolkit.Notification, d.isReady(&notificationv1.Receiver{ObjectMeta: weirMeta("registry")})},
		task{"image tags read", toolkit.ImageAutomation, d.isReady(&imagev1.ImageRepository{ObjectMeta: weirMeta("web")})},
		task{"image policy", toolkit.ImageAutomation, d.policy("1.0.0")},
		task{"image automation", toolkit.ImageAutomation, d.isReady(&imagev1.ImageUpdateAutomation{ObjectMeta: weirMeta("shop")})},
	)
	if err != nil {
		return err
	}
	return d.connectHooks(ctx)
}

// connectHooks tells the Git host and the registry where to call.
func (d *demo) connectHooks(ctx context.Context) error {
	git, err := d.receiverURL(ctx, "git")
	if err != nil {
		return err
	}
	registry, err := d.receiverURL(ctx, "registry")
	if err != nil {
		return err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.hook.git, d.hook.registry = git, registry
	return nil
}

func (d *demo) showCommit(ctx context.Context, w *worktree) error {
	d.board.Title("1. A new commit is applied")
	d.board.Note("A commit changes the greeting and asks for 3 replicas. The Git host's signed webhook makes Weir look at once.")
	if err := errors.Join(
		w.edit("base/configmap.yaml", "greeting: hello", "greeting: good morning"),
		w.edit("overlays/dev/kustomization.yaml", "count: 2", "count: 3"),
	); err != nil {
		return err
	}
	hash, at, err := d.push(ctx, w, "Say good morning, with three replicas")
	if err != nil {
		return err
	}
	return d.table(ctx, at,
		task{"Git revision fetched", toolkit.Source, d.fetched("shop", hash)},
		task{"objects applied", toolkit.Kustomize, func(ctx context.Context) (string, bool, error) {
			var config corev1.ConfigMap
			err := d.client.Get(ctx, client.ObjectKey{Namespace: appNamespace, Name: app}, &config)
			return "ConfigMap web says " + config.Data["greeting"], config.Data["greeting"] == "good morning", err
		}},
		task{"healthy", toolkit.Kustomize, d.healthy(hash, 3)},
	)
}

func (d *demo) showDrift(ctx context.Context, _ *worktree) error {
	d.board.Title("2. A hand edit is corrected")
	d.board.Note("Somebody scales the Deployment to 7 and deletes the Service by hand. Git still says 3 replicas and a Service.")
	key := client.ObjectKey{Namespace: appNamespace, Name: app}
	var service corev1.Service
	if err := d.client.Get(ctx, key, &service); err != nil {
		return err
	}
	gone := service.UID
	at := time.Now()
	if err := d.scale(ctx, key, 7); err != nil {
		return err
	}
	err := d.table(ctx, at, task{"replicas are 3 again", toolkit.Kustomize,
		d.deployment(func(v *appsv1.Deployment) bool { return *v.Spec.Replicas == 3 })})
	if err != nil {
		return err
	}
	at = time.Now()
	if err := d.client.Delete(ctx, &service); err != nil {
		return err
	}
	return d.table(ctx, at, task{"the Service is back", toolkit.Kustomize, func(ctx context.Context) (string, bool, error) {
		var fresh corev1.Service
		err := d.client.Get(ctx, key, &fresh)
		return "Service " + app + ", created anew", err == nil && fresh.UID != gone, err
	}})
}

// scale changes a Deployment as kubectl does for somebody.
func (d *demo) scale(ctx context.Context, key client.ObjectKey, replicas int) error {
	deployment := &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Namespace: key.Namespace, Name: key.Name}}
	patch := fmt.Sprintf(`{"spec":{"replicas":%d}}`, replicas)
	return d.client.Patch(ctx, deployment, client.RawPatch("application/merge-patch+json", []byte(patch)), client.FieldOwner("kubectl"))
}

func (d *demo) showImage(ctx context.Context, w *worktree) error {
	d.board.Title("3. A new image tag becomes a commit and is rolled out")
	d.board.Note("web:1.1.0 is pushed to the registry, whose webhook tells Weir. Weir commits the new tag and applies that commit.")
	if err := d.registry.Push(ctx, imagePath, "1.1.0"); err != nil {
		return err
	}
	at := time.Now()
	if err := d.callRegistry(imagePath + ":1.1.0"); err != nil {
		return fmt.Errorf("webhook of the registry: %w", err)
	}
	err := d.table(ctx, at,
		task{"tag found by the policy", toolkit.ImageAutomation, d.policy("1.1.0")},
		task{"commit pushed", toolkit.ImageAutomation, d.committed(":1.1.0")},
		task{"rolled out", toolkit.Kustomize, d.rolledOut(":1.1.0")},
	)
	if err != nil {
		return err
	}
	_, err = git(ctx, w.dir, "pull", "-q")
	return err
}

// committed is a check for the tip of the branch to have the image.
func (d *demo) committed(tag string) check {
	return func(context.Context) (string, bool, error) {
		file, err := d.git.File(exampleRepository, branch, "base/deployment.yaml")
		if err != nil || !strings.Contains(file, tag+" #") {
			return "no commit yet", false, err
		}
		seen, err := d.git.Git(exampleRepository, "log", "-1", "--format=%h by %an: %s", branch)
		return seen, err == nil, err
	}
}

// rolledOut is a check for the tip of the branch to be applied and for all Pods to have the image.
func (d *demo) rolledOut(tag string) check {
	return func(ctx context.Context) (string, bool, error) {
		hash, err := d.git.Head(exampleRepository, branch)
		if err != nil {
			return "", false, err
		}
		var v appsv1.Deployment
		if err := d.client.Get(ctx, client.ObjectKey{Namespace: appNamespace, Name: app}, &v); err != nil {
			return "", false, err
		}
		image := v.Spec.Template.Spec.Containers[0].Image
		seen := fmt.Sprintf("%s, %d of %d Pods", image, v.Status.UpdatedReplicas, *v.Spec.Replicas)
		if !strings.HasSuffix(image, tag) || v.Status.UpdatedReplicas != *v.Spec.Replicas {
			return seen, false, nil
		}
		_, healthy, err := d.healthy(hash, *v.Spec.Replicas)(ctx)
		return seen, healthy, err
	}
}

func (d *demo) showFailure(ctx context.Context, w *worktree) error {
	d.board.Title("4. A bad commit raises an alert")
	d.board.Note("A commit sets a port that does not exist. The API server refuses it; nothing of the commit is applied.")
	for len(d.slack.Messages) > 0 {
		<-d.slack.Messages
	}
	if err := w.edit("base/deployment.yaml", "containerPort: 8080", "containerPort: 80800"); err != nil {
		return err
	}
	_, at, err := d.push(ctx, w, "Listen on port 80800")
	if err != nil {
		return err
	}
	var lines []string
	err = d.table(ctx, at,
		task{"commit refused", toolkit.Kustomize, d.refused("80800")},
		task{"alert delivered", toolkit.Notification, func(context.Context) (string, bool, error) {
			select {
			case m := <-d.slack.Messages:
				lines = m.Lines()
				return "to Slack, channel " + m.Channel, strings.Contains(strings.Join(lines, " "), "80800"), nil
			default:
				return "no message", false, nil
			}
		}},
		task{"the application runs on", toolkit.Kustomize, d.deployment(func(v *appsv1.Deployment) bool {
			return v.Spec.Template.Spec.Containers[0].Ports[0].ContainerPort == 8080 && v.Status.AvailableReplicas == 3
		})},
	)
	if err != nil {
		return err
	}
	d.board.Note("In Slack it looks like this:")
	d.board.Quote(lines)
	return nil
}

func (d *demo) showRevert(ctx context.Context, w *worktree) error {
	d.board.Title("5. git revert heals it")
	d.board.Note("The bad commit is reverted and pushed.")
	hash, at, err := d.revert(ctx, w)
	if err != nil {
		return err
	}
	return d.table(ctx, at,
		task{"Git revision fetched", toolkit.Source, d.fetched("shop", hash)},
		task{"healthy", toolkit.Kustomize, d.healthy(hash, 3)},
	)
}

// refused is a check for the Kustomization not to be ready because of text.
func (d *demo) refused(text string) check {
	return func(ctx context.Context) (string, bool, error) {
		k := kustomizev1.Kustomization{ObjectMeta: weirMeta("shop")}
		if err := d.client.Get(ctx, client.ObjectKeyFromObject(&k), &k); err != nil {
			return "", false, err
		}
		message, ok := ready(&k)
		return strings.ReplaceAll(message, "\n", " "), !ok && strings.Contains(message, text), nil
	}
}

// fetched is a check for the commit to be the artifact of the GitRepository.
func (d *demo) fetched(name, hash string) check {
	return func(ctx context.Context) (string, bool, error) {
		r := sourcev1.GitRepository{ObjectMeta: weirMeta(name)}
		if err := d.client.Get(ctx, client.ObjectKeyFromObject(&r), &r); err != nil {
			return "", false, err
		}
		message, ok := ready(&r)
		if r.Status.Artifact == nil || !strings.HasSuffix(r.Status.Artifact.Revision, hash) {
			return message, false, nil
		}
		return r.Status.Artifact.Revision, ok, nil
	}
}

// healthy is a check for the commit to be applied and for all its objects to work.
func (d *demo) healthy(hash string, replicas int32) check {
	return func(ctx context.Context) (string, bool, error) {
		k := kustomizev1.Kustomization{ObjectMeta: weirMeta("shop")}
		if err := d.client.Get(ctx, client.ObjectKeyFromObject(&k), &k); err != nil {
			return "", false, err
		}
		message, ok := ready(&k)
		if !ok || !strings.HasSuffix(k.Status.LastAppliedRevision, hash) {
			return message, false, nil
		}
		return d.deployment(func(v *appsv1.Deployment) bool { return v.Status.AvailableReplicas == replicas })(ctx)
	}
}

// deployment is a check of the example's Deployment.
func (d *demo) deployment(done func(*appsv1.Deployment) bool) check {
	return func(ctx context.Context) (string, bool, error) {
		var v appsv1.Deployment
		if err := d.client.Get(ctx, client.ObjectKey{Namespace: appNamespace, Name: app}, &v); err != nil {
			return "", false, err
		}
		seen := fmt.Sprintf("Deployment %s: %d of %d Pods available", app, v.Status.AvailableReplicas, *v.Spec.Replicas)
		return seen, done(&v), nil
	}
}

// policy is a check for the ImagePolicy to have chosen tag.
func (d *demo) policy(tag string) check {
	return func(ctx context.Context) (string, bool, error) {
		p := imagev1.ImagePolicy{ObjectMeta: weirMeta("web")}
		if err := d.client.Get(ctx, client.ObjectKeyFromObject(&p), &p); err != nil {
			return "", false, err
		}
		message, ok := ready(&p)
		return message, ok && p.Status.LatestRef != nil && p.Status.LatestRef.Tag == tag, nil
	}
}
