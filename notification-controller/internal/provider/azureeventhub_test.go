package provider

import (
	"encoding/json"
	"net"
	"strings"
	"testing"

	eventv1 "github.com/fluxcd/pkg/apis/event/v1beta1"
	"github.com/google/go-cmp/cmp"

	"github.com/weirhq/weir/internal/cloudlogin/cloudtest"
	"github.com/weirhq/weir/internal/secrets"
)

const hubHost = "weir.servicebus.windows.net"

// hubTarget is a Provider whose proxy leads to a hub.
func hubTarget(t *testing.T, h *hub) Target {
	t.Helper()
	stand := &cloudtest.Internet{Conns: map[string]func(net.Conn){hubHost: func(c net.Conn) { h.serve(t, c) }}}
	proxy := stand.Start(t)
	return Target{Address: "events", Channel: "weir", Token: "jwt." + planted, Proxy: proxy, Client: clientOf(proxy, nil)}
}

func hubSender(t *testing.T, target Target) Sender {
	t.Helper()
	s, err := newEventHub(target)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.(*eventHub).Close)
	return s
}

func TestAzureEventHubSends(t *testing.T) {
	h := &hub{accept: true}
	s := hubSender(t, hubTarget(t, h))
	for range 2 {
		if err := send(t.Context(), s, sample()); err != nil {
			t.Fatal(err)
		}
	}
	if len(h.events) != 2 || len(h.tokens) != 1 {
		t.Fatalf("%d events with %d tokens at %q", len(h.events), len(h.tokens), h.paths)
	}
	var got eventv1.Event
	if err := json.Unmarshal(h.events[1], &got); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(*sample(), got); diff != "" {
		t.Error(diff)
	}
	if h.kinds[0] != symbol("application/json") && h.kinds[0] != "application/json" {
		t.Errorf("content type %v", h.kinds[0])
	}
	if token := h.tokens[0]; token["token"] != "jwt."+planted || token["operation"] != "put-token" || token["type"] != "jwt" || !strings.Contains(token["name"].(string), hubHost+"/events") {
		t.Errorf("token %v", token)
	}
	if !strings.HasSuffix(h.paths[len(h.paths)-1], "events") {
		t.Errorf("links to %q", h.paths)
	}
}

// TestAzureEventHubSharedAccess asserts that a connection string is enough, and
// that its key does not leave the process.
func TestAzureEventHubSharedAccess(t *testing.T) {
	h := &hub{accept: true}
	target := hubTarget(t, h)
	target.Channel, target.Token = "", ""
	target.Address = "Endpoint=sb://" + hubHost + "/;SharedAccessKeyName=send;SharedAccessKey=" + planted + ";EntityPath=events"
	if err := send(t.Context(), hubSender(t, target), sample()); err != nil || len(h.events) != 1 {
		t.Fatalf("%d events, %v", len(h.events), err)
	}
	token, _ := h.tokens[0]["token"].(string)
	if !strings.HasPrefix(token, "SharedAccessSignature ") || !strings.Contains(token, "skn=send") || strings.Contains(token, planted) || h.tokens[0]["type"] != "servicebus.windows.net:sastoken" {
		t.Errorf("token %v", h.tokens[0])
	}
}

func TestAzureEventHubRefusals(t *testing.T) {
	secrets.Register(planted)
	for name, tt := range map[string]struct {
		hub    *hub
		change func(*Target)
	}{
		"the token":         {hub: &hub{status: 401}, change: func(*Target) {}},
		"the message":       {hub: &hub{}, change: func(*Target) {}},
		"no such host":      {hub: &hub{accept: true}, change: func(t *Target) { t.Channel = "other" }},
		"unknown authority": {hub: &hub{accept: true}, change: func(t *Target) { t.Channel, t.Token = "127.0.0.1", "x" }},
	} {
		t.Run(name, func(t *testing.T) {
			target := hubTarget(t, tt.hub)
			tt.change(&target)
			err := send(t.Context(), hubSender(t, target), sample())
			if err == nil || IsFinal(err) || strings.Contains(err.Error(), planted) || len(tt.hub.events) != 0 {
				t.Errorf("got %v with %d events", err, len(tt.hub.events))
			}
		})
	}
}

func TestAzureEventHubRefuses(t *testing.T) {
	const shared = "Endpoint=sb://" + hubHost + "/;SharedAccessKeyName=send;SharedAccessKey=" + planted
	refuses(t, "azureeventhub", map[string]func(*Target){
		"no hub":                   noAddress,
		"no namespace":             noChannel,
		"shared key and token":     func(t *Target) { t.Address = shared + ";EntityPath=x" },
		"shared key without a hub": func(t *Target) { t.Address, t.Token = shared, "" },
		"shared key and identity":  func(t *Target) { t.Address, t.Token, t.Identity.serviceAccount = shared+";EntityPath=x", "", "robot" },
		"token and identity":       func(t *Target) { t.Identity.serviceAccount = "robot" },
		"identity elsewhere":       func(t *Target) { t.Token, t.Channel = "", "hub.example.com" },
		"the gate is off":          func(t *Target) { t.Token, t.Identity.serviceAccount = "", "robot" },
	})
}
