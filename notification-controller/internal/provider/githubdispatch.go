package provider

import eventv1 "github.com/fluxcd/pkg/apis/event/v1beta1"

// githubDispatch starts the workflows of a repository that listen for
// repository_dispatch with the type <Kind>/<name>.<namespace>.
// https://docs.github.com/rest/repos/repos#create-a-repository-dispatch-event
type githubDispatch struct {
	Type    string         `json:"event_type"`
	Payload *eventv1.Event `json:"client_payload"`
}

// dispatchMessage bounds the message, in bytes: GitHub takes 64 KB of payload.
const dispatchMessage = 25_000

func newGitHubDispatch(t Target) (Sender, error) {
	g, err := newGitHubAPI(t)
	if err != nil {
		return nil, err
	}
	return &poster{client: g.client, to: g.api.JoinPath("dispatches"), header: g.header, message: func(event *eventv1.Event) any {
		o, short := event.InvolvedObject, *event
		short.Message = cut(event.Message, dispatchMessage)
		return githubDispatch{Type: o.Kind + "/" + o.Name + "." + o.Namespace, Payload: &short}
	}}, nil
}
