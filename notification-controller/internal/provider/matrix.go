package provider

import (
	"context"
	"crypto/sha1"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	eventv1 "github.com/fluxcd/pkg/apis/event/v1beta1"
)

// matrix sends text messages to a room. The transaction is named after the
// event, so that an event that is sent twice appears once.
// https://spec.matrix.org/latest/client-server-api/#put_matrixclientv3roomsroomidsendeventtypetxnid
type matrix struct {
	server *url.URL
	target Target
}

type matrixMessage struct {
	Body string `json:"body"`
	Type string `json:"msgtype"`
}

// An event of Matrix is 65,536 bytes at most, all fields together.
const (
	matrixMax   = 25_000
	matrixFacts = 5000
)

func newMatrix(t Target) (Sender, error) {
	server, err := parseAddress(t.Address)
	if err != nil {
		return nil, err
	}
	if err := t.needToken(); err != nil {
		return nil, err
	}
	if err := t.needChannel("the room's id"); err != nil {
		return nil, err
	}
	return &matrix{server: server, target: t}, nil
}

func (m *matrix) Send(ctx context.Context, event *eventv1.Event) error {
	whole, err := json.Marshal(event)
	if err != nil {
		return Final(fmt.Errorf("encoding the event: %w", err))
	}
	name := sha1.Sum(whole)
	body, err := encoded(matrixMessage{Body: matrixText(event), Type: "m.text"})
	if err != nil {
		return err
	}
	to := m.server.JoinPath("_matrix/client/r0/rooms", url.PathEscape(m.target.Channel), "send/m.room.message", hex.EncodeToString(name[:]))
	h := http.Header{}
	m.target.authorize(h)
	_, err = do(ctx, m.target.Client, http.MethodPut, to, body, h, maxAnswer)
	return err
}

func matrixText(event *eventv1.Event) string {
	var b strings.Builder
	b.WriteString(either(event, "\U0001f6a8 ", "\U0001f4ab ") + objectName(event) + "\n" + cut(event.Message, matrixMax))
	for _, f := range factsWithin(event, matrixFacts) {
		b.WriteString("\n- " + f.key + ": " + f.value)
	}
	return b.String()
}
