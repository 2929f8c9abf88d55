package bucket

import (
	"testing"
	"time"

	"github.com/fluxcd/pkg/apis/meta"

	"github.com/weirhq/weir/api/duration"
	sourcev1 "github.com/weirhq/weir/api/source/v1"
	"github.com/weirhq/weir/internal/cloudlogin"
	"github.com/weirhq/weir/internal/loop"
	"github.com/weirhq/weir/internal/testenv"
	"github.com/weirhq/weir/source-controller/internal/sourcetest"
)

func TestMain(m *testing.M) { testenv.Main(m) }

var must = sourcetest.Must

// rig reconciles Buckets of an S3 server behind TLS and keys.
type rig struct {
	*sourcetest.Rig[*sourcev1.Bucket]
	worker *Reconciler
	s3     *s3Server
}

func newRig(t *testing.T) *rig {
	t.Helper()
	g := &rig{sourcetest.NewRig(t, func() *sourcev1.Bucket { return &sourcev1.Bucket{} }, secretKey), nil, newS3Server(t, true)}
	g.restart()
	g.Secret("login", "accesskey", accessKey, "secretkey", secretKey)
	g.Secret("ca", "ca.crt", sourcetest.Authority(g.s3.Server))
	return g
}

// restart is a new process over the same storage.
func (g *rig) restart() {
	g.T.Helper()
	g.OpenStore()
	logins, err := cloudlogin.New(cloudlogin.Options{Client: g.C})
	must(g.T, err)
	g.worker = New(Options{Client: g.C, Logins: logins, Recorder: g.Env.Recorder, Store: g.Store, CacheDir: g.Storage + "/.weir/buckets"})
	g.Loop = loop.New[*sourcev1.Bucket](g.Env, g.worker)
}

// create makes a Bucket of the S3 server's.
func (g *rig) create(name string, change func(*sourcev1.BucketSpec)) {
	g.T.Helper()
	b := &sourcev1.Bucket{
		ObjectMeta: g.Meta(name),
		Spec: sourcev1.BucketSpec{
			Provider: "generic", Endpoint: g.s3.host(), BucketName: "app", Interval: duration.New(time.Hour),
			SecretRef: &meta.LocalObjectReference{Name: "login"}, CertSecretRef: &meta.LocalObjectReference{Name: "ca"},
		},
	}
	if change != nil {
		change(&b.Spec)
	}
	must(g.T, g.C.Create(g.T.Context(), b))
}

func (g *rig) update(name string, change func(*sourcev1.BucketSpec)) {
	g.T.Helper()
	g.Update(name, func(b *sourcev1.Bucket) { change(&b.Spec) })
}
