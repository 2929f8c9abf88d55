package demo

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"time"

	"sigs.k8s.io/controller-runtime/pkg/client"

	notificationv1 "github.com/weirhq/weir/api/notification/v1"
	"github.com/weirhq/weir/internal/toolkit"
)

// webhookTimeout bounds a call of a receiver.
const webhookTimeout = 10 * time.Second

// hook calls receivers as a Git host and a registry do.
type hook struct {
	token string // the shared secret of all receivers

	git, registry string // URLs; "" until the Receiver is ready
}

func newHook() *hook {
	return &hook{token: rand.Text()}
}

// onPush is called by the Git server after every push, ours, the user's and image automation's, and
// tells Weir as GitHub would.
func (d *demo) onPush(repository string) {
	d.mu.Lock()
	d.pushed = time.Now()
	url := d.hook.git
	d.mu.Unlock()
	if url == "" {
		return
	}
	go func() {
		if err := d.callGitHub(repository, url); err != nil {
			d.board.Note("webhook for the push: %v", err)
		}
	}()
}

// callGitHub sends what GitHub sends after a push:
// https://docs.github.com/webhooks/webhook-events-and-payloads#push
func (d *demo) callGitHub(repository, url string) error {
	head, err := d.git.Head(repository, branch)
	if err != nil {
		return err
	}
	body, err := json.Marshal(map[string]any{
		"ref": "refs/heads/" + branch, "after": head,
		"repository": map[string]string{"full_name": "demo/" + repository},
	})
	if err != nil {
		return err
	}
	return call(url, body, map[string]string{
		"X-GitHub-Event":      "push",
		"X-Hub-Signature-256": "sha256=" + d.hook.sign(body),
	})
}

// callRegistry tells Weir that an image was pushed.
func (d *demo) callRegistry(image string) error {
	body, err := json.Marshal(map[string]string{"image": image})
	if err != nil {
		return err
	}
	return call(d.hook.registry, body, map[string]string{"X-Signature": "sha256=" + d.hook.sign(body)})
}

// sign is the HMAC-SHA256 of body in hexadecimal.
func (h *hook) sign(body []byte) string {
	mac := hmac.New(sha256.New, []byte(h.token))
	mac.Write(body)
	return hex.EncodeToString(mac.Sum(nil))
}

func call(url string, body []byte, header map[string]string) error {
	ctx, cancel := context.WithTimeout(context.Background(), webhookTimeout)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, url, bytes.NewReader(body))
	if err != nil {
		return err
	}
	request.Header.Set("Content-Type", "application/json")
	for name, value := range header {
		request.Header.Set(name, value)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(response.Body, 1<<10))
	if err != nil {
		return err
	}
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("the receiver answered %s: %s", response.Status, answer)
	}
	return nil
}

// receiverURL waits for nothing: it returns where a ready Receiver listens.
func (d *demo) receiverURL(ctx context.Context, name string) (string, error) {
	var r notificationv1.Receiver
	if err := d.client.Get(ctx, client.ObjectKey{Namespace: Namespace, Name: name}, &r); err != nil {
		return "", err
	}
	return "http://" + d.controllers.Address(toolkit.Notification, "webhooks") + r.Status.WebhookPath, nil
}
