package provider

import eventv1 "github.com/fluxcd/pkg/apis/event/v1beta1"

// githubDispatch starts the workflows of a repository that listen for
// repository_dispatch with the type <Kind>/<name>.<namespace>.
// https://docs.github.com/rest/repos/repos#create-a-repository-dispatch-event
type githubDispatch struct {
	Type    string         `json:"event_type"`
	Payload *eventv1.Event `json:"client_payload"`
}

// GitHub takes 64 KB of payload, and types of 100 characters; these are bytes
// before they are encoded.
const (
	dispatchMessage = 25_000
	dispatchFacts   = 10_000
	dispatchType    = 100
)

func newGitHubDispatch(t Target) (Sender, error) {
	g, err := newGitHubAPI(t)
	if err != nil {
		return nil, err
	}
	return &poster{client: g.client, to: g.api.JoinPath("dispatches"), header: g.header, message: func(event *eventv1.Event) any {
		o, short := event.InvolvedObject, *event
		short.Message = cut(event.Message, dispatchMessage)
		if short.Metadata != nil {
			short.Metadata = map[string]string{}
			for _, f := range factsWithin(event, dispatchFacts) {
				short.Metadata[f.key] = f.value
			}
		}
		return githubDispatch{Type: cut(o.Kind+"/"+o.Name+"."+o.Namespace, dispatchType), Payload: &short}
	}}, nil
}
