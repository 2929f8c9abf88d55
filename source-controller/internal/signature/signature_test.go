package signature_test

import (
	"errors"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	ggcr "github.com/google/go-containerregistry/pkg/registry"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"github.com/weirhq/weir/internal/registry"
	"github.com/weirhq/weir/source-controller/internal/signature"
	st "github.com/weirhq/weir/source-controller/internal/signature/signaturetest"
)

// lab is a registry with two artifacts in it.
type lab struct {
	url        string
	client     *registry.Client
	access     registry.Access
	app, other name.Digest
}

func newLab(t *testing.T, referrersAPI bool) *lab {
	t.Helper()
	s := httptest.NewServer(ggcr.New(ggcr.Logger(log.New(io.Discard, "", 0)), ggcr.WithReferrersSupport(referrersAPI)))
	t.Cleanup(s.Close)
	repository, err := registry.ParseRepository(strings.TrimPrefix(s.URL, "http://")+"/app", false)
	st.Must(t, err)
	l := &lab{url: s.URL, client: &registry.Client{}, access: registry.Access{Repository: repository}}
	l.app, l.other = l.push(t), l.push(t)
	return l
}

func (l *lab) push(t *testing.T) name.Digest {
	t.Helper()
	img, err := random.Image(64, 1)
	st.Must(t, err)
	h, err := img.Digest()
	st.Must(t, err)
	ref := l.access.Repository.Digest(h.String())
	st.Must(t, remote.Write(ref, img))
	return ref
}

// verify asks v about the artifact app.
func (l *lab) verify(t *testing.T, v signature.Verifier) (bool, error) {
	return v.Verify(t.Context(), signature.Artifact{Registry: l.client, Access: l.access, Digest: l.app.DigestStr()})
}

const (
	subject = "builder@example.com"
	issuer  = "https://issuer.example.com"
)

// check holds the outcome of a verification: text is what the error says, "" for
// none.
func check(t *testing.T, ok bool, err error, text string) {
	t.Helper()
	if text == "" {
		if err != nil || !ok {
			t.Errorf("got %t, %v", ok, err)
		}
		return
	}
	if ok || !errors.Is(err, signature.ErrUntrusted) || !strings.Contains(err.Error(), text) {
		t.Errorf("got %t, %v; want an error about %q", ok, err, text)
	}
}

func TestKeys(t *testing.T) {
	trusted, unknown := st.NewKey(t), st.NewKey(t)
	for name, c := range map[string]struct {
		sign func(t *testing.T, l *lab)
		text string
	}{
		"nothing": {func(*testing.T, *lab) {}, "has no signature"},
		"layer": {func(t *testing.T, l *lab) {
			st.PutLayers(t, l.app, st.KeyLayer(t, trusted, st.Payload(l.app.DigestStr())))
		}, ""},
		"layer by another": {func(t *testing.T, l *lab) {
			st.PutLayers(t, l.app, st.KeyLayer(t, unknown, st.Payload(l.app.DigestStr())))
		}, "none of the trusted keys"},
		"layer of another artifact": {func(t *testing.T, l *lab) {
			st.PutLayers(t, l.app, st.KeyLayer(t, trusted, st.Payload(l.other.DigestStr())))
		}, "of another artifact"},
		"layer under another artifact": {func(t *testing.T, l *lab) {
			st.PutLayers(t, l.other, st.KeyLayer(t, trusted, st.Payload(l.app.DigestStr())))
		}, "has no signature"},
		"layer with another claim": {func(t *testing.T, l *lab) {
			text := strings.Replace(string(st.Payload(l.app.DigestStr())), "cosign container image signature", "revocation", 1)
			st.PutLayers(t, l.app, st.KeyLayer(t, trusted, []byte(text)))
		}, `"revocation"`},
		"layer changed": {func(t *testing.T, l *lab) {
			s := st.KeyLayer(t, trusted, st.Payload(l.other.DigestStr()))
			s.Payload = st.Payload(l.app.DigestStr())
			st.PutLayers(t, l.app, s)
		}, "none of the trusted keys"},
		"layer without signature": {func(t *testing.T, l *lab) {
			st.PutLayers(t, l.app, st.Layer{Payload: st.Payload(l.app.DigestStr())})
		}, "no signature"},
		"the second layer": {func(t *testing.T, l *lab) {
			st.PutLayers(t, l.app, st.KeyLayer(t, unknown, st.Payload(l.app.DigestStr())), st.KeyLayer(t, trusted, st.Payload(l.app.DigestStr())))
		}, ""},
		"bundle": {func(t *testing.T, l *lab) {
			st.PutBundle(t, l.app, st.KeyBundle(t, trusted, st.Statement(l.app.DigestStr(), st.SignPredicate)))
		}, ""},
		"bundle by another": {func(t *testing.T, l *lab) {
			st.PutBundle(t, l.app, st.KeyBundle(t, unknown, st.Statement(l.app.DigestStr(), st.SignPredicate)))
		}, "none of the trusted keys"},
		"bundle of another artifact": {func(t *testing.T, l *lab) {
			st.PutBundle(t, l.app, st.KeyBundle(t, trusted, st.Statement(l.other.DigestStr(), st.SignPredicate)))
		}, "another artifact"},
		"bundle with an attestation": {func(t *testing.T, l *lab) {
			st.PutBundle(t, l.app, st.KeyBundle(t, trusted, st.Statement(l.app.DigestStr(), "https://slsa.dev/provenance/v1")))
		}, "an attestation, not a signature"},
		"no bundle":       {func(t *testing.T, l *lab) { st.PutBundle(t, l.app, []byte("{")) }, "no bundle"},
		"an empty bundle": {func(t *testing.T, l *lab) { st.PutBundle(t, l.app, []byte("{}")) }, "no bundle"},
		"keyless":         {func(t *testing.T, l *lab) { keylessBundle(t, l, st.NewSigstore(t), issuer) }, "none of the trusted keys"},
		"the second bundle": {func(t *testing.T, l *lab) {
			st.PutBundle(t, l.app, st.KeyBundle(t, unknown, st.Statement(l.app.DigestStr(), st.SignPredicate)))
			st.PutBundle(t, l.app, st.KeyBundle(t, trusted, st.Statement(l.app.DigestStr(), st.SignPredicate)))
		}, ""},
		"bad bundle, good layer": {func(t *testing.T, l *lab) {
			st.PutBundle(t, l.app, []byte("{}"))
			st.PutLayers(t, l.app, st.KeyLayer(t, trusted, st.Payload(l.app.DigestStr())))
		}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			for _, api := range []bool{true, false} {
				l := newLab(t, api)
				c.sign(t, l)
				v, err := signature.NewKeys(map[string][]byte{"a.pub": st.PEM(t, st.NewKey(t)), "b.pub": st.PEM(t, trusted), "c.txt": []byte("no key")})
				st.Must(t, err)
				ok, err := l.verify(t, v)
				check(t, ok, err, c.text)
			}
		})
	}
}

func keylessBundle(t *testing.T, l *lab, s *st.Sigstore, issuer string) {
	t.Helper()
	st.PutBundle(t, l.app, s.Bundle(t, subject, issuer, st.Statement(l.app.DigestStr(), st.SignPredicate)))
}

func keylessLayer(t *testing.T, l *lab, s *st.Sigstore, issuer string) {
	t.Helper()
	st.PutLayers(t, l.app, s.Layer(t, subject, issuer, st.Payload(l.app.DigestStr())))
}

func TestKeyless(t *testing.T) {
	ours, theirs := st.NewSigstore(t), st.NewSigstore(t)
	same := []signature.Identity{{Issuer: `^https://issuer\.example\.com$`, Subject: `@example\.com$`}}
	for name, c := range map[string]struct {
		sign       func(t *testing.T, l *lab)
		root       st.Root
		identities []signature.Identity
		text       string
	}{
		"nothing":             {func(*testing.T, *lab) {}, st.Root{}, same, "has no signature"},
		"bundle":              {func(t *testing.T, l *lab) { keylessBundle(t, l, ours, issuer) }, st.Root{}, same, ""},
		"bundle, anybody":     {func(t *testing.T, l *lab) { keylessBundle(t, l, ours, issuer) }, st.Root{}, nil, ""},
		"bundle, only a log":  {func(t *testing.T, l *lab) { keylessBundle(t, l, ours, issuer) }, st.Root{NoTimestamps: true}, same, ""},
		"bundle, only a time": {func(t *testing.T, l *lab) { keylessBundle(t, l, ours, issuer) }, st.Root{NoLog: true}, same, ""},
		"bundle, second identity": {func(t *testing.T, l *lab) { keylessBundle(t, l, ours, issuer) }, st.Root{},
			append([]signature.Identity{{Issuer: "nobody", Subject: "nobody"}}, same...), ""},
		"bundle, other issuer":               {func(t *testing.T, l *lab) { keylessBundle(t, l, ours, "https://evil.example.com") }, st.Root{}, same, "identity"},
		"bundle, other subject":              {func(t *testing.T, l *lab) { keylessBundle(t, l, ours, issuer) }, st.Root{}, []signature.Identity{{Issuer: ".*", Subject: "^other$"}}, "identity"},
		"bundle, other authority":            {func(t *testing.T, l *lab) { keylessBundle(t, l, theirs, issuer) }, st.Root{}, same, "verify"},
		"bundle, certificate not in the log": {func(t *testing.T, l *lab) { keylessBundle(t, l, ours, issuer) }, st.Root{CertificateLog: true}, same, "certificate timestamp"},
		"bundle, other artifact": {func(t *testing.T, l *lab) {
			st.PutBundle(t, l.app, ours.Bundle(t, subject, issuer, st.Statement(l.other.DigestStr(), st.SignPredicate)))
		}, st.Root{}, same, "verify"},
		"bundle, attestation": {func(t *testing.T, l *lab) {
			st.PutBundle(t, l.app, ours.Bundle(t, subject, issuer, st.Statement(l.app.DigestStr(), "https://slsa.dev/provenance/v1")))
		}, st.Root{}, same, "an attestation, not a signature"},
		"bundle with a key": {func(t *testing.T, l *lab) {
			st.PutBundle(t, l.app, st.KeyBundle(t, st.NewKey(t), st.Statement(l.app.DigestStr(), st.SignPredicate)))
		}, st.Root{}, same, "log"},
		"layer":               {func(t *testing.T, l *lab) { keylessLayer(t, l, ours, issuer) }, st.Root{}, same, ""},
		"layer, only a log":   {func(t *testing.T, l *lab) { keylessLayer(t, l, ours, issuer) }, st.Root{NoTimestamps: true}, same, ""},
		"layer, only a time":  {func(t *testing.T, l *lab) { keylessLayer(t, l, ours, issuer) }, st.Root{NoLog: true}, same, ""},
		"layer, other issuer": {func(t *testing.T, l *lab) { keylessLayer(t, l, ours, "https://evil.example.com") }, st.Root{}, same, "identity"},
		"layer, other root":   {func(t *testing.T, l *lab) { keylessLayer(t, l, theirs, issuer) }, st.Root{}, same, "verify"},
		"layer, other payload": {func(t *testing.T, l *lab) {
			s := ours.Layer(t, subject, issuer, st.Payload(l.other.DigestStr()))
			s.Payload = st.Payload(l.app.DigestStr())
			st.PutLayers(t, l.app, s)
		}, st.Root{}, same, "verify"},
		"layer, other artifact": {func(t *testing.T, l *lab) {
			st.PutLayers(t, l.app, ours.Layer(t, subject, issuer, st.Payload(l.other.DigestStr())))
		}, st.Root{}, same, "of another artifact"},
		"layer, entry of another signature": {func(t *testing.T, l *lab) {
			s := ours.Layer(t, subject, issuer, st.Payload(l.app.DigestStr()))
			s.Annotations["dev.sigstore.cosign/bundle"] = ours.Layer(t, subject, issuer, []byte("else")).Annotations["dev.sigstore.cosign/bundle"]
			st.PutLayers(t, l.app, s)
		}, st.Root{}, same, "verify"},
		"layer without a log entry": {func(t *testing.T, l *lab) {
			s := ours.Layer(t, subject, issuer, st.Payload(l.app.DigestStr()))
			delete(s.Annotations, "dev.sigstore.cosign/bundle")
			st.PutLayers(t, l.app, s)
		}, st.Root{}, same, "log"},
		"layer with a key": {func(t *testing.T, l *lab) {
			st.PutLayers(t, l.app, st.KeyLayer(t, st.NewKey(t), st.Payload(l.app.DigestStr())))
		}, st.Root{}, same, "no certificate"},
		"layer with garbage": {func(t *testing.T, l *lab) {
			s := ours.Layer(t, subject, issuer, st.Payload(l.app.DigestStr()))
			s.Annotations["dev.sigstore.cosign/bundle"] = `{"Payload":{"body":"e30=","logID":"zz"}}`
			st.PutLayers(t, l.app, s)
		}, st.Root{}, same, "dev.sigstore.cosign/bundle"},
	} {
		t.Run(name, func(t *testing.T) {
			l := newLab(t, true)
			c.sign(t, l)
			trusted, err := signature.ParseTrustedRoot(ours.TrustedRoot(t, c.root))
			st.Must(t, err)
			v, err := signature.NewKeyless(trusted, c.identities)
			st.Must(t, err)
			ok, err := l.verify(t, v)
			check(t, ok, err, c.text)
		})
	}
}

func TestNotation(t *testing.T) {
	ours, theirs := st.NewNotary(), st.NewNotary()
	strict := st.Policy("strict", "*")
	for name, c := range map[string]struct {
		sign   func(t *testing.T, l *lab)
		policy []byte
		text   string
		passes bool // without being verified
	}{
		"nothing":        {func(*testing.T, *lab) {}, strict, "has no signature", false},
		"JWS":            {func(t *testing.T, l *lab) { ours.Sign(t, l.app, st.JWS, 0) }, strict, "", false},
		"COSE":           {func(t *testing.T, l *lab) { ours.Sign(t, l.app, st.COSE, 0) }, strict, "", false},
		"identity":       {func(t *testing.T, l *lab) { ours.Sign(t, l.app, st.JWS, 0) }, st.Policy("strict", ours.Subject()), "", false},
		"other identity": {func(t *testing.T, l *lab) { ours.Sign(t, l.app, st.JWS, 0) }, st.Policy("strict", "x509.subject: C=US, ST=WA, O=Evil"), "not accepted", false},
		"other root":     {func(t *testing.T, l *lab) { theirs.Sign(t, l.app, st.JWS, 0) }, strict, "not accepted", false},
		"other artifact": {func(t *testing.T, l *lab) { ours.SignFor(t, l.other, l.app, st.JWS, 0) }, strict, "mismatch", false},
		"the second": {func(t *testing.T, l *lab) {
			theirs.Sign(t, l.app, st.JWS, 0)
			ours.Sign(t, l.app, st.JWS, 0)
		}, strict, "", false},
		"other scope": {func(t *testing.T, l *lab) { ours.Sign(t, l.app, st.JWS, 0) }, st.PolicyFor("registry.test/else", "strict", "*"), "no policy", false},
		"garbage": {func(t *testing.T, l *lab) {
			st.Refer(t, l.app, "application/vnd.cncf.notary.signature", st.JWS, []byte("{}"))
		}, strict, "not accepted", false},
		"unknown envelope": {func(t *testing.T, l *lab) {
			st.Refer(t, l.app, "application/vnd.cncf.notary.signature", "application/else", []byte("{}"))
		}, strict, "not accepted", false},
		"skip": {func(*testing.T, *lab) {}, st.Policy("skip", "*"), "", true},
	} {
		t.Run(name, func(t *testing.T) {
			l := newLab(t, true)
			c.sign(t, l)
			v, err := signature.NewNotation(map[string][]byte{"trustpolicy.json": c.policy, "ca.crt": ours.Root()})
			st.Must(t, err)
			ok, err := l.verify(t, v)
			if c.passes {
				if ok || err != nil {
					t.Errorf("got %t, %v", ok, err)
				}
				return
			}
			check(t, ok, err, c.text)
		})
	}
}

// TestNotationExpired asserts that a signature ends when it says so.
func TestNotationExpired(t *testing.T) {
	notary := st.NewNotary()
	l := newLab(t, true)
	notary.Sign(t, l.app, st.JWS, time.Second)
	v, err := signature.NewNotation(map[string][]byte{"trustpolicy.json": st.Policy("strict", "*"), "ca.pem": notary.Root()})
	st.Must(t, err)
	for { // until the second is over, whenever that is
		ok, err := l.verify(t, v)
		if !ok {
			check(t, ok, err, "expired")
			return
		}
	}
}

func TestNothingToTrust(t *testing.T) {
	root := st.NewNotary().Root()
	sigstore := st.NewSigstore(t)
	keys := func(data map[string][]byte) error { _, err := signature.NewKeys(data); return err }
	notation := func(data map[string][]byte) error { _, err := signature.NewNotation(data); return err }
	for name, c := range map[string]struct {
		err  error
		text string
	}{
		"no keys":            {keys(nil), ".pub"},
		"keys of other name": {keys(map[string][]byte{"cosign.key": st.PEM(t, st.NewKey(t))}), ".pub"},
		"no PEM":             {keys(map[string][]byte{"a.pub": []byte("key")}), `"a.pub"`},
		"one of two":         {keys(map[string][]byte{"a.pub": st.PEM(t, st.NewKey(t)), "b.pub": nil}), `"b.pub"`},
		"no policy":          {notation(map[string][]byte{"ca.crt": root}), "trustpolicy.json"},
		"no JSON":            {notation(map[string][]byte{"trustpolicy.json": []byte("{"), "ca.crt": root}), "trustpolicy.json"},
		"empty policy":       {notation(map[string][]byte{"trustpolicy.json": []byte("{}"), "ca.crt": root}), "trustpolicy.json"},
		"no certificate":     {notation(map[string][]byte{"trustpolicy.json": st.Policy("strict", "*")}), "certificate"},
		"bad certificate":    {notation(map[string][]byte{"trustpolicy.json": st.Policy("strict", "*"), "ca.crt": []byte("x")}), `"ca.crt"`},
		"no root":            {func() error { _, err := signature.ParseTrustedRoot([]byte("{}")); return err }(), "trusted root"},
		"no time": {func() error {
			trusted, err := signature.ParseTrustedRoot(sigstore.TrustedRoot(t, st.Root{NoLog: true, NoTimestamps: true}))
			st.Must(t, err)
			_, err = signature.NewKeyless(trusted, nil)
			return err
		}(), "when a signature was made"},
		"bad identity": {func() error {
			trusted, err := signature.ParseTrustedRoot(sigstore.TrustedRoot(t, st.Root{}))
			st.Must(t, err)
			_, err = signature.NewKeyless(trusted, []signature.Identity{{Issuer: "(", Subject: "x"}})
			return err
		}(), "identity"},
		"empty identity": {func() error {
			trusted, err := signature.ParseTrustedRoot(sigstore.TrustedRoot(t, st.Root{}))
			st.Must(t, err)
			_, err = signature.NewKeyless(trusted, []signature.Identity{{}})
			return err
		}(), "identity"},
		"public root unreachable": {func() error {
			_, err := (&signature.Public{URL: "http://127.0.0.1:1"}).Get(t.Context())
			return err
		}(), "trustedRootSecretRef"},
	} {
		t.Run(name, func(t *testing.T) {
			if !errors.Is(c.err, signature.ErrTrust) || !strings.Contains(c.err.Error(), c.text) {
				t.Errorf("got %v, want ErrTrust about %q", c.err, c.text)
			}
		})
	}
}

// TestManySignatures asserts that a registry cannot keep us busy with signatures.
func TestManySignatures(t *testing.T) {
	l := newLab(t, true)
	var layers []st.Layer
	for range 60 {
		layers = append(layers, st.KeyLayer(t, st.NewKey(t), st.Payload(l.app.DigestStr())))
	}
	trusted := st.NewKey(t)
	st.PutLayers(t, l.app, append(layers, st.KeyLayer(t, trusted, st.Payload(l.app.DigestStr())))...)
	v, err := signature.NewKeys(map[string][]byte{"a.pub": st.PEM(t, trusted)})
	st.Must(t, err)
	ok, err := l.verify(t, v)
	check(t, ok, err, "among the 50")
}

// TestRegistryFails asserts that a registry which does not answer is not taken for
// one without signatures.
func TestRegistryFails(t *testing.T) {
	l := newLab(t, true)
	broken := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/v2/" {
			return
		}
		w.WriteHeader(http.StatusTeapot)
	}))
	defer broken.Close()
	repository, err := registry.ParseRepository(strings.TrimPrefix(broken.URL, "http://")+"/app", false)
	st.Must(t, err)
	l.access.Repository = repository
	v, err := signature.NewKeys(map[string][]byte{"a.pub": st.PEM(t, st.NewKey(t))})
	st.Must(t, err)
	if ok, err := l.verify(t, v); ok || err == nil || errors.Is(err, signature.ErrUntrusted) {
		t.Errorf("got %t, %v", ok, err)
	}
}
