package provider

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/messaging/azeventhubs"
	eventv1 "github.com/fluxcd/pkg/apis/event/v1beta1"
	"github.com/fluxcd/pkg/auth/azure"

	"github.com/weirhq/weir/internal/secrets"
)

// eventHub sends the event as JSON to a hub of Azure Event Hubs, over AMQP.
// https://learn.microsoft.com/azure/event-hubs/event-hubs-amqp-protocol
type eventHub struct {
	host     string // of the namespace, for messages
	producer *azeventhubs.ProducerClient
}

func newEventHub(t Target) (Sender, error) {
	shared := strings.Contains(t.Address, "SharedAccessKey")
	switch {
	case t.Address == "":
		return nil, fmt.Errorf("%w: no address: it is the name of the hub, or a connection string", ErrInvalid)
	case shared && t.Token != "":
		return nil, fmt.Errorf("%w: a connection string and the key \"token\" of the secret exclude each other", ErrInvalid)
	case shared && t.Identity.serviceAccount != "":
		return nil, fmt.Errorf("%w: a connection string and spec.serviceAccountName exclude each other", ErrInvalid)
	}
	if err := t.Identity.check(t.Token); err != nil {
		return nil, err
	}
	if shared {
		return newSharedEventHub(t)
	}
	if err := t.needChannel("the Event Hubs namespace"); err != nil {
		return nil, err
	}
	host := t.Channel
	if !strings.Contains(host, ".") {
		host += ".servicebus.windows.net"
	}
	if t.Token == "" && !eventHubHost(host) {
		return nil, fmt.Errorf("%w: without a token in the secret, spec.channel must be a namespace of Azure (<name>.servicebus.windows.net)", ErrInvalid)
	}
	credential := azure.NewTokenCredential(context.Background(), t.options(azure.ScopeEventHubs)...)
	if t.Token != "" {
		credential = fixedToken(t.Token)
	}
	producer, err := azeventhubs.NewProducerClient(host, t.Address, credential, t.eventHubOptions(host))
	if err != nil {
		return nil, fmt.Errorf("%w: the address and spec.channel name no hub of Azure Event Hubs", ErrInvalid)
	}
	return &eventHub{host: host, producer: producer}, nil
}

// eventHubHost says whether tokens of an identity may go to the host.
func eventHubHost(host string) bool {
	name, domain, _ := strings.Cut(strings.ToLower(host), ".")
	return name != "" && slices.Contains([]string{"servicebus.windows.net", "servicebus.chinacloudapi.cn", "servicebus.usgovcloudapi.net"}, domain)
}

// newSharedEventHub uses a connection string with the name of the hub.
func newSharedEventHub(t Target) (Sender, error) {
	props, err := azeventhubs.ParseConnectionString(t.Address)
	if err != nil || props.EntityPath == nil {
		return nil, fmt.Errorf("%w: the address is no connection string with Endpoint, SharedAccessKeyName, SharedAccessKey and EntityPath", ErrInvalid)
	}
	if props.SharedAccessKey != nil {
		secrets.Register(*props.SharedAccessKey)
	}
	producer, err := azeventhubs.NewProducerClientFromConnectionString(t.Address, "", t.eventHubOptions(props.FullyQualifiedNamespace))
	if err != nil {
		return nil, fmt.Errorf("%w: the connection string cannot be used", ErrInvalid)
	}
	return &eventHub{host: props.FullyQualifiedNamespace, producer: producer}, nil
}

// eventHubOptions make the library dial as the Provider says, always with TLS,
// and try once: trying again is the queue's part. The library takes any
// connection where it asks for one over a web socket.
func (t *Target) eventHubOptions(host string) *azeventhubs.ProducerClientOptions {
	config := &tls.Config{MinVersion: tls.VersionTLS12}
	if t.TLS != nil {
		config = t.TLS.Clone()
	}
	config.ServerName = host
	target := *t
	return &azeventhubs.ProducerClientOptions{
		ApplicationID: userAgent, RetryOptions: azeventhubs.RetryOptions{MaxRetries: -1},
		NewWebSocketConn: func(ctx context.Context, _ azeventhubs.WebSocketConnParams) (net.Conn, error) {
			conn, err := target.dial(ctx, net.JoinHostPort(host, eventHubPort))
			if err != nil {
				return nil, err
			}
			secure := tls.Client(conn, config)
			if err := secure.HandshakeContext(ctx); err != nil {
				conn.Close()
				return nil, err
			}
			return secure, nil
		},
	}
}

// eventHubPort is that of AMQP over TLS.
var eventHubPort = "5671"

// Send implements Sender.
func (h *eventHub) Send(ctx context.Context, event *eventv1.Event) error {
	body, err := json.Marshal(event)
	if err != nil {
		return Final(fmt.Errorf("encoding the event: %w", err))
	}
	batch, err := h.producer.NewEventDataBatch(ctx, nil)
	if err != nil {
		return h.failure(ctx, err)
	}
	kind := "application/json"
	err = batch.AddEventData(&azeventhubs.EventData{Body: body, ContentType: &kind}, nil)
	if errors.Is(err, azeventhubs.ErrEventDataTooLarge) {
		return Final(fmt.Errorf("sending to %s: the event is larger than the hub takes", h.host))
	}
	if err != nil {
		return h.failure(ctx, err)
	}
	if err := h.producer.SendEventDataBatch(ctx, batch, nil); err != nil {
		return h.failure(ctx, err)
	}
	return nil
}

func (h *eventHub) failure(ctx context.Context, err error) error {
	text := cut(secrets.Redact(err.Error()), 2*maxQuoted)
	if errors.Is(err, context.DeadlineExceeded) || ctx.Err() != nil {
		text = "no answer within the provider's timeout"
	}
	return &Failure{Err: fmt.Errorf("sending to %s: %s", h.host, text)}
}

// Close implements the optional part of Sender.
func (h *eventHub) Close() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	_ = h.producer.Close(ctx) // it is not used again
}

// fixedToken is a token that somebody else renews in the Secret.
type fixedToken string

// GetToken implements azcore.TokenCredential.
func (f fixedToken) GetToken(context.Context, policy.TokenRequestOptions) (azcore.AccessToken, error) {
	return azcore.AccessToken{Token: string(f), ExpiresOn: time.Now().Add(time.Hour)}, nil
}
