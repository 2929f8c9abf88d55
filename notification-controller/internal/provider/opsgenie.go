package provider

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"net/http"
	"net/url"

	eventv1 "github.com/fluxcd/pkg/apis/event/v1beta1"
)

// opsgenie creates the alert of an object on an error and closes it when the
// object recovers. The alias ties both together.
// https://docs.opsgenie.com/docs/alert-api
type opsgenie struct {
	to     *url.URL
	target Target
}

type opsgenieAlert struct {
	Message     string            `json:"message"`
	Alias       string            `json:"alias"`
	Description string            `json:"description"`
	Details     map[string]string `json:"details"`
}

type opsgenieClose struct {
	Source string `json:"source"`
	Note   string `json:"note"`
}

// The longest texts that Opsgenie takes, in bytes.
const (
	opsgenieMessage     = 130
	opsgenieDescription = 15_000
	opsgenieDetails     = 7500
)

func newOpsgenie(t Target) (Sender, error) {
	to, err := parseAddress(t.Address)
	if err != nil {
		return nil, err
	}
	if err := t.needToken(); err != nil {
		return nil, err
	}
	return skipProgress{&opsgenie{to: to, target: t}}, nil
}

func (o *opsgenie) Send(ctx context.Context, event *eventv1.Event) error {
	h := http.Header{}
	h.Set("Authorization", "GenieKey "+o.target.Token)
	alias := opsgenieAlias(event)
	if isError(event) {
		details := map[string]string{}
		for _, f := range factsWithin(event, opsgenieDetails) {
			details[f.key] = f.value
		}
		details["severity"] = event.Severity
		_, err := postJSON(ctx, o.target.Client, o.to, opsgenieAlert{
			Message: cut(event.InvolvedObject.Kind+"/"+event.InvolvedObject.Name, opsgenieMessage), Alias: alias,
			Description: cut(event.Message, opsgenieDescription), Details: details,
		}, h)
		return err
	}
	to := o.to.JoinPath(alias, "close")
	to.RawQuery = "identifierType=alias"
	_, err := postJSON(ctx, o.target.Client, to, opsgenieClose{Source: event.ReportingController, Note: cut(event.Message, opsgenieDescription)}, h)
	if codeOf(err) == http.StatusNotFound { // there was no alert
		return nil
	}
	return err
}

// opsgenieAlias is the same for all events of an object.
func opsgenieAlias(event *eventv1.Event) string {
	o := event.InvolvedObject
	sum := sha256.Sum256([]byte(o.Kind + "/" + o.Namespace + "/" + o.Name))
	return hex.EncodeToString(sum[:])
}
