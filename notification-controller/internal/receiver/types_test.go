package receiver

import (
	"context"
	"crypto/hmac"
	"encoding/hex"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/fluxcd/pkg/apis/meta"
	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	notificationv1 "github.com/weirhq/weir/api/notification/v1"
	"github.com/weirhq/weir/notification-controller/internal/issuer"
	"github.com/weirhq/weir/notification-controller/internal/listener"
)

const testToken = "a-token-of-thirty-two-characters"

func hmacOf(algorithm, body string) string {
	mac := hmac.New(hashes[algorithm], []byte(testToken))
	mac.Write([]byte(body))
	return algorithm + "=" + hex.EncodeToString(mac.Sum(nil))
}

// sender is what the table needs to know of a type.
type sender struct {
	header func(body string) http.Header // that its sender sends with a body
	good   string                        // a body that it sends
	wrong  string                        // a signed body with a field of a wrong type; "" if no field is read
	proof  string                        // the header that proves the sender; "" if none does
	bare   bool                          // the proof is the token and says nothing of the body
	blind  bool                          // the body is not looked at
	ping   bool                          // the good body asks for nothing

	edit   func(*notificationv1.Receiver)
	secret map[string]string // besides the token
	tokens *issuer.Verifier
}

// cluster answers what a Handler asks of the API server: one Secret, and
// objects that can be annotated.
type cluster struct {
	client.Client
	secret map[string]string

	mu    sync.Mutex
	asked []string // names of the objects that were annotated
}

func (c *cluster) Get(_ context.Context, key client.ObjectKey, obj client.Object, _ ...client.GetOption) error {
	secret, ok := obj.(*corev1.Secret)
	if !ok {
		return errors.New("only secrets are read")
	}
	secret.Name, secret.Namespace, secret.Data = key.Name, key.Namespace, map[string][]byte{}
	for k, v := range c.secret {
		secret.Data[k] = []byte(v)
	}
	return nil
}

func (c *cluster) Patch(_ context.Context, obj client.Object, _ client.Patch, _ ...client.PatchOption) error {
	c.mu.Lock() // objects are annotated side by side
	defer c.mu.Unlock()
	c.asked = append(c.asked, obj.GetName())
	return nil
}

// serve returns the address of the webhook of a Receiver, served as the
// program serves it, and the cluster behind it.
func serve(t *testing.T, kind string, s sender, o Options) (url string, c *cluster) {
	t.Helper()
	c = &cluster{secret: map[string]string{keyToken: testToken}}
	for k, v := range s.secret {
		c.secret[k] = v
	}
	obj := notificationv1.Receiver{
		ObjectMeta: metav1.ObjectMeta{Name: "r", Namespace: "ns", UID: "1", ResourceVersion: "1"},
		Spec: notificationv1.ReceiverSpec{
			Type: kind, SecretRef: &meta.LocalObjectReference{Name: "s"},
			Resources: []notificationv1.ReceiverResource{{CrossNamespaceObjectReference: notificationv1.CrossNamespaceObjectReference{Kind: "GitRepository", Name: "repo"}}},
		},
	}
	if s.edit != nil {
		s.edit(&obj)
	}
	token := testToken
	if kind == notificationv1.GenericOIDCReceiver {
		token = ""
	}
	obj.Status.WebhookPath = obj.GetWebhookPath(token)
	obj.Status.Conditions = []metav1.Condition{{Type: meta.ReadyCondition, Status: metav1.ConditionTrue}}
	o.Client, o.Live, o.Tokens, o.Log = c, c, s.tokens, logr.Discard()
	o.Find = func(_ context.Context, path string) ([]notificationv1.Receiver, error) {
		if path != obj.Status.WebhookPath {
			return nil, nil
		}
		return []notificationv1.Receiver{obj}, nil
	}
	ctx, stop := context.WithCancel(t.Context())
	at, done := make(chan net.Addr, 1), make(chan error, 1)
	server := &listener.Server{
		Name: "receiver", Addr: "127.0.0.1:0", Handler: NewHandler(o), Log: logr.Discard(),
		ReadTimeout: 500 * time.Millisecond, Listening: func(a net.Addr) { at <- a },
	}
	go func() { done <- server.Start(ctx) }()
	t.Cleanup(func() {
		stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return "http://" + (<-at).String() + obj.Status.WebhookPath, c
}

// call posts a body and returns the code and the text of the answer.
func call(t *testing.T, url string, header http.Header, body io.Reader) (int, string) {
	t.Helper()
	r, err := http.NewRequest(http.MethodPost, url, body)
	if err != nil {
		t.Fatal(err)
	}
	r.Header = header
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(text)
}

// slow is a body of which only the first byte comes before the server gives
// up, and the rest never.
type slow struct {
	begun bool
	end   <-chan struct{}
}

func (s *slow) Read(p []byte) (int, error) {
	if !s.begun {
		s.begun = true
		p[0] = '{'
		return 1, nil
	}
	<-s.end
	return 0, io.ErrUnexpectedEOF
}

// table makes calls of all kinds. None but the right one may set off
// anything, and all others end in 4xx.
func table(t *testing.T, kind string, s sender) {
	t.Helper()
	url, c := serve(t, kind, s, Options{})
	without, wrong, gzip := s.header(s.good), s.header(s.good), s.header(s.good)
	if s.proof != "" {
		without.Del(s.proof)
		v := wrong.Get(s.proof)
		wrong.Set(s.proof, v[:len(v)-6]+strings.Repeat("0", 6))
		if v == wrong.Get(s.proof) {
			wrong.Set(s.proof, v[:len(v)-6]+strings.Repeat("1", 6))
		}
	}
	gzip.Set("Content-Encoding", "gzip")
	end := make(chan struct{})
	defer close(end)
	tests := map[string]struct {
		header  http.Header
		body    io.Reader
		want    int
		refused bool
	}{
		"right":                   {s.header(s.good), strings.NewReader(s.good), 0, false},
		"no proof":                {without, strings.NewReader(s.good), 400, s.proof != ""},
		"wrong proof":             {wrong, strings.NewReader(s.good), 400, s.proof != ""},
		"right over another body": {s.header(s.good), strings.NewReader(s.good + " "), 400, s.proof != "" && !s.bare},
		"empty":                   {s.header(""), strings.NewReader(""), 400, !s.blind},
		"null":                    {s.header("null"), strings.NewReader("null"), 400, !s.blind},
		"list":                    {s.header("[]"), strings.NewReader("[]"), 400, !s.blind},
		"wrong types":             {s.header(s.wrong), strings.NewReader(s.wrong), 400, s.wrong != "" || !s.blind},
		"cut off":                 {s.header(`{"ref":"a`), strings.NewReader(`{"ref":"a`), 400, !s.blind},
		"nested without end":      {s.header(strings.Repeat(`{"a":`, 20000)), strings.NewReader(strings.Repeat(`{"a":`, 20000)), 400, !s.blind},
		"too large":               {s.header(s.good), strings.NewReader(strings.Repeat("x", listener.MaxBody+1)), 413, true},
		"gzip":                    {gzip, strings.NewReader(s.good), 400, true},
		"slow":                    {s.header("{"), &slow{end: end}, 400, true},
	}
	for what, tt := range tests {
		t.Run(what, func(t *testing.T) {
			c.asked = nil
			code, text := call(t, url, tt.header, tt.body)
			if tt.refused && (code != tt.want || len(c.asked) > 0) {
				t.Errorf("got %d %q and %v asked, want %d and nothing", code, text, c.asked, tt.want)
			}
			if !tt.refused && (code != http.StatusOK || len(c.asked) != 1 && !s.ping) {
				t.Errorf("got %d %q and %v asked, want 200 and one object", code, text, c.asked)
			}
			if strings.Contains(text, testToken) {
				t.Errorf("the answer holds the token: %s", text)
			}
		})
	}
}

func TestEveryTypeHasATest(t *testing.T) {
	for name := range kinds {
		if _, err := os.Stat(strings.ReplaceAll(name, "-", "") + "_test.go"); err != nil {
			t.Errorf("type %q: %v", name, err)
		}
	}
}

func FuzzRead(f *testing.F) {
	f.Add("push", "application/json", `{"ref":"a"}`)
	f.Add("ping", "application/x-www-form-urlencoded", "payload=%7B%7D")
	f.Add("dev.cdevents.change.merged.0.2.0", "", `{"context":{"version":"0.4.1"},"subject":{}}`)
	f.Add("", "", `{"message":{"data":"e30="}}`)
	all := map[string]Type{}
	for name, make := range kinds {
		r := &notificationv1.Receiver{Spec: notificationv1.ReceiverSpec{Type: name}}
		if name == notificationv1.GenericOIDCReceiver {
			r.Spec.OIDCProviders = []notificationv1.OIDCProvider{{IssuerURL: "https://example.com", Validations: []notificationv1.OIDCValidation{{Expression: "true"}}}}
		}
		kind, err := make(r, nil)
		if err != nil {
			f.Fatal(err)
		}
		all[name] = kind
	}
	f.Fuzz(func(t *testing.T, event, contentType, body string) {
		r := Request{Header: http.Header{"X-Github-Event": {event}, "X-Gitlab-Event": {event}, "X-Event-Key": {event}, "Ce-Type": {event}, "Content-Type": {contentType}}, Body: []byte(body)}
		for name, kind := range all {
			call, err := kind.Read(r)
			if err != nil && !errors.Is(err, ErrPayload) {
				t.Errorf("%s: %v", name, err)
			}
			call.JSON = true
			if call.Body == nil {
				call.Body = r.Body
			}
			if _, err := call.fields(); err != nil && !errors.Is(err, ErrPayload) {
				t.Errorf("%s: %v", name, err)
			}
		}
	})
}

// The server's own limits hold for calls that never come to the handler.
func TestLimits(t *testing.T) {
	url, c := serve(t, "generic", sender{}, Options{Rate: 1})
	codes := map[int]int{}
	for range 8 {
		r, err := http.NewRequest(http.MethodPost, url, strings.NewReader("{}"))
		if err != nil {
			t.Fatal(err)
		}
		resp, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		codes[resp.StatusCode]++
		if resp.StatusCode == http.StatusTooManyRequests && resp.Header.Get("Retry-After") == "" {
			t.Error("429 without Retry-After")
		}
	}
	if codes[200] < burst || codes[429] == 0 || codes[200]+codes[429] != 8 || len(c.asked) != codes[200] {
		t.Errorf("codes %v, %d objects asked; want the first %d at least, and not all", codes, len(c.asked), burst)
	}
	if code, _ := call(t, url[:strings.Index(url, "/hook/")]+"/hook/00", nil, nil); code != http.StatusNotFound {
		t.Errorf("an unknown path: got %d, want 404", code)
	}
	l := limits{rate: 1}
	for i := range maxLimits + 10 {
		l.wait(types.UID(strconv.Itoa(i)))
	}
	if len(l.calls) > maxLimits {
		t.Errorf("%d callers are counted", len(l.calls))
	}
}

func TestMethods(t *testing.T) {
	for kind, want := range map[string]map[string]int{
		"generic":      {"GET": 200, "PUT": 200, "POST": 200, "HEAD": 405, "OPTIONS": 405, "DELETE": 405},
		"generic-hmac": {"GET": 405, "PUT": 405, "POST": 400},
	} {
		url, c := serve(t, kind, sender{}, Options{})
		for method, code := range want {
			c.asked = nil
			r, err := http.NewRequest(method, url, nil)
			if err != nil {
				t.Fatal(err)
			}
			resp, err := http.DefaultClient.Do(r)
			if err != nil {
				t.Fatal(err)
			}
			resp.Body.Close()
			if resp.StatusCode != code || (len(c.asked) == 1) != (code == 200) {
				t.Errorf("%s %s: got %d and %d objects asked, want %d", kind, method, resp.StatusCode, len(c.asked), code)
			}
		}
	}
}

func TestAnswerSaysHowMany(t *testing.T) {
	url, c := serve(t, "generic", sender{edit: func(r *notificationv1.Receiver) {
		for range 2 {
			r.Spec.Resources = append(r.Spec.Resources, r.Spec.Resources[0])
		}
	}}, Options{})
	if code, text := call(t, url, nil, nil); code != 200 || text != "3 objects were asked to reconcile\n" || len(c.asked) != 3 {
		t.Errorf("got %d %q, %v", code, text, c.asked)
	}
	url, c = serve(t, "generic", sender{edit: func(r *notificationv1.Receiver) {
		r.Spec.Resources = append(r.Spec.Resources, r.Spec.Resources[0])
		r.Spec.Resources[0].Filter = "true" // needs to read the object, which fails here
	}}, Options{})
	if code, text := call(t, url, nil, nil); code != 500 || text != "1 of 2 objects were asked to reconcile\n" || len(c.asked) != 1 {
		t.Errorf("got %d %q, %v", code, text, c.asked)
	}
}

func TestShortTokensCanBeRefused(t *testing.T) {
	for _, refuse := range []bool{false, true} {
		url, c := serve(t, "generic", sender{}, Options{RefuseShort: refuse})
		c.secret[keyToken] = "short"
		code, _ := call(t, url, nil, nil)
		if want := map[bool]int{false: 404, true: 503}[refuse]; code != want { // 404: the path is that of the other token
			t.Errorf("refuse %t: got %d, want %d", refuse, code, want)
		}
	}
}
