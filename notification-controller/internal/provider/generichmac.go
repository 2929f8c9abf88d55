package provider

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"

	eventv1 "github.com/fluxcd/pkg/apis/event/v1beta1"
)

// genericHMAC posts what generic posts, signed: X-Signature holds the
// HMAC-SHA256 of the body under the Secret's token.
type genericHMAC struct {
	to     *url.URL
	target Target
}

func newGenericHMAC(t Target) (Sender, error) {
	to, err := parseAddress(t.Address)
	if err != nil {
		return nil, err
	}
	if err := t.needToken(); err != nil {
		return nil, err
	}
	return &genericHMAC{to: to, target: t}, nil
}

func (g *genericHMAC) Send(ctx context.Context, event *eventv1.Event) error {
	body, err := json.Marshal(event)
	if err != nil {
		return Final(fmt.Errorf("encoding the event: %w", err))
	}
	h := http.Header{}
	for name, value := range g.target.Headers {
		h.Set(name, value)
	}
	h.Set("gotk-component", event.ReportingController)
	h.Set("X-Signature", "sha256="+sign(body, g.target.Token))
	_, err = do(ctx, g.target.Client, http.MethodPost, g.to, body, h, maxAnswer)
	return err
}

// sign returns the HMAC-SHA256 of body under key in hexadecimal digits.
func sign(body []byte, key string) string {
	mac := hmac.New(sha256.New, []byte(key))
	mac.Write(body)
	return hex.EncodeToString(mac.Sum(nil))
}
