package imagepolicy

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	imagev1 "github.com/weirhq/weir/api/image/v1"
	"github.com/weirhq/weir/image-automation-controller/internal/buildtime"
	"github.com/weirhq/weir/image-automation-controller/internal/imagerepository"
	"github.com/weirhq/weir/image-automation-controller/internal/policy"
	"github.com/weirhq/weir/image-automation-controller/internal/tagdb"
)

// errRank is wrapped when a tag cannot be ranked.
var errRank = errors.New("choosing a tag")

// A choice is where the evaluation of one policy stands, so that a scan which
// finds one new tag among thousands costs the look at one.
type choice struct {
	rules  string // text of the rules it was made by
	image  string // canonical name
	digest string // of the set of tags it is made of

	evaluation *policy.Evaluation
	yanked     map[string]bool      // tags that are marked as withdrawn
	built      map[string]time.Time // of the tags that could be chosen
}

// choices are remembered by policy. The zero value is ready.
type choices struct {
	mu       sync.Mutex
	byPolicy map[types.NamespacedName]*choice
	examined int // tags looked at, ever
}

// take gets a choice out, so that one which fails half-way is not found again.
func (c *choices) take(key types.NamespacedName) *choice {
	c.mu.Lock()
	defer c.mu.Unlock()
	taken := c.byPolicy[key]
	delete(c.byPolicy, key)
	return taken
}

func (c *choices) put(key types.NamespacedName, now *choice, examined int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.byPolicy == nil {
		c.byPolicy = map[types.NamespacedName]*choice{}
	}
	c.byPolicy[key] = now
	c.examined += examined
}

func (c *choices) forget(key types.NamespacedName) { c.take(key) }

// Examined counts the tags that were looked at since the start.
func (r *Reconciler) Examined() int {
	r.choices.mu.Lock()
	defer r.choices.mu.Unlock()
	return r.choices.examined
}

// Forget drops what is remembered of a policy. What it chooses next is made of
// all tags again.
func (r *Reconciler) Forget(p *imagev1.ImagePolicy) { r.choices.forget(client.ObjectKeyFromObject(p)) }

// choose picks the tag: from what the last scan has added, if that is enough,
// and otherwise from all tags. Errors wrap policy.ErrNoTag, errRank,
// tagdb.ErrAbsent, buildtime.ErrTooMany, or are those of the registry.
func (r *Reconciler) choose(ctx context.Context, p *imagev1.ImagePolicy, repo *imagev1.ImageRepository, image string, rules rules) (string, error) {
	key := client.ObjectKeyFromObject(p)
	if c := r.choices.take(key); c != nil && c.rules == rules.text && c.image == image && !(rules.byBuildTime && rules.always) {
		delta, ok := r.Tags.Since(repo.Namespace, repo.Name, c.digest)
		if ok && c.without(delta) {
			before := c.evaluation.Examined()
			if err := r.add(ctx, c, repo, rules, delta.Added); err != nil {
				return "", err
			}
			c.digest = delta.To
			r.choices.put(key, c, c.evaluation.Examined()-before)
			return c.evaluation.Latest()
		}
	}
	tags, set, err := r.Tags.Tags(repo.Namespace, repo.Name)
	if err != nil {
		return "", err
	}
	c := &choice{rules: rules.text, image: set.Image, digest: set.Digest, yanked: map[string]bool{}, built: map[string]time.Time{}}
	order := rules.order
	if rules.byBuildTime {
		order = order.ByBuildTime(func(tag string) (time.Time, bool) { at, ok := c.built[tag]; return at, ok })
	}
	c.evaluation = policy.Evaluate(rules.filter, order)
	if err := r.add(ctx, c, repo, rules, tags); err != nil {
		return "", err
	}
	r.choices.put(key, c, c.evaluation.Examined())
	return c.evaluation.Latest()
}

// without reports whether the choice can go on from here: what is gone or
// withdrawn did not matter.
func (c *choice) without(delta tagdb.Delta) bool {
	for _, tag := range delta.Removed {
		if strings.HasSuffix(tag, yankedSuffix) {
			return false // a tag may be back
		}
	}
	gone := slices.Clone(delta.Removed)
	for _, tag := range delta.Added {
		if of, marks := strings.CutSuffix(tag, yankedSuffix); marks {
			gone = append(gone, of)
		}
	}
	for _, tag := range gone {
		delete(c.built, tag)
	}
	return c.evaluation.Without(gone...)
}

// add evaluates more tags.
func (r *Reconciler) add(ctx context.Context, c *choice, repo *imagev1.ImageRepository, rules rules, tags []string) error {
	if rules.skipYanked {
		tags = c.unyanked(tags)
	}
	if rules.byBuildTime {
		if err := r.age(ctx, c, repo, rules, tags); err != nil {
			return err
		}
	}
	if err := c.evaluation.Add(tags...); err != nil {
		return fmt.Errorf("%w: %w", errRank, err)
	}
	return nil
}

// unyanked leaves out what is marked as withdrawn, and the marks.
func (c *choice) unyanked(tags []string) []string {
	for _, tag := range tags {
		if of, marks := strings.CutSuffix(tag, yankedSuffix); marks {
			c.yanked[of] = true
		}
	}
	var left []string
	for _, tag := range tags {
		if !c.yanked[tag] && !strings.HasSuffix(tag, yankedSuffix) {
			left = append(left, tag)
		}
	}
	return left
}

// age finds out when the images of the tags that take part were built.
func (r *Reconciler) age(ctx context.Context, c *choice, repo *imagev1.ImageRepository, rules rules, tags []string) error {
	var candidates []string
	for _, tag := range tags {
		if policy.Takes(rules.filter, rules.order, tag) {
			candidates = append(candidates, tag)
		}
	}
	if len(candidates) == 0 {
		return nil
	}
	if err := buildtime.Admit(len(c.built) + len(candidates)); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, imagerepository.Timeout(repo))
	defer cancel()
	access, err := r.Access.Of(ctx, repo)
	if err != nil {
		return err
	}
	built, err := r.Built.Of(ctx, access, candidates)
	for tag, at := range built {
		c.built[tag] = at
	}
	return err
}
