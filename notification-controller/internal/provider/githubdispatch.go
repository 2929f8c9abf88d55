package provider

import eventv1 "github.com/fluxcd/pkg/apis/event/v1beta1"

// githubDispatch starts the workflows of a repository that listen for
// repository_dispatch with the type <Kind>/<name>.<namespace>.
// https://docs.github.com/rest/repos/repos#create-a-repository-dispatch-event
type githubDispatch struct {
	Type    string         `json:"event_type"`
	Payload *eventv1.Event `json:"client_payload"`
}

func newGitHubDispatch(t Target) (Sender, error) {
	g, err := newGitHubAPI(t)
	if err != nil {
		return nil, err
	}
	return &poster{client: t.Client, to: g.api.JoinPath("dispatches"), header: g.header(), message: func(event *eventv1.Event) any {
		o := event.InvolvedObject
		return githubDispatch{Type: o.Kind + "/" + o.Name + "." + o.Namespace, Payload: event}
	}}, nil
}
