package provider

// types names every type that the API accepts. One without a constructor is
// answered with a message that names it.
var types = map[string]Type{
	"generic":      {New: newGeneric, CommitStatusUpdates: true},
	"generic-hmac": {New: newGenericHMAC, CommitStatusUpdates: true},
	"slack":        {New: newSlack},

	"github":          {New: newGitHub, CommitStatusUpdates: true},
	"gitlab":          {CommitStatusUpdates: true},
	"gitea":           {CommitStatusUpdates: true},
	"bitbucket":       {CommitStatusUpdates: true},
	"bitbucketserver": {CommitStatusUpdates: true},
	"azuredevops":     {CommitStatusUpdates: true},

	"githubdispatch":            {},
	"githubpullrequestcomment":  {},
	"gitlabmergerequestcomment": {},
	"giteapullrequestcomment":   {},

	"alertmanager":  {},
	"azureeventhub": {},
	"datadog":       {},
	"discord":       {},
	"googlechat":    {},
	"googlepubsub":  {},
	"grafana":       {},
	"incident.io":   {},
	"lark":          {},
	"matrix":        {},
	"msteams":       {},
	"nats":          {},
	"opsgenie":      {},
	"otel":          {},
	"pagerduty":     {},
	"rocket":        {},
	"sentry":        {},
	"telegram":      {},
	"webex":         {},
	"zoom":          {},
	"zulip":         {},
}
