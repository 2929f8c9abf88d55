package provider

// byName names every type that the API accepts.
var byName = map[string]Type{
	"generic":      {New: newGeneric, CommitStatusUpdates: true},
	"generic-hmac": {New: newGenericHMAC, CommitStatusUpdates: true},

	"azuredevops":     {New: newAzureDevOps, CommitStatusUpdates: true, Identity: true},
	"bitbucket":       {New: newBitbucket, CommitStatusUpdates: true},
	"bitbucketserver": {New: newBitbucketServer, CommitStatusUpdates: true},
	"gitea":           {New: newGitea, CommitStatusUpdates: true},
	"github":          {New: newGitHub, CommitStatusUpdates: true},
	"gitlab":          {New: newGitLab, CommitStatusUpdates: true},

	"giteapullrequestcomment":   {New: newGiteaComment},
	"githubdispatch":            {New: newGitHubDispatch},
	"githubpullrequestcomment":  {New: newGitHubComment},
	"gitlabmergerequestcomment": {New: newGitLabComment},

	"alertmanager":  {New: newAlertmanager},
	"azureeventhub": {New: newEventHub, Identity: true},
	"datadog":       {New: newDatadog},
	"discord":       {New: newDiscord},
	"googlechat":    {New: newGoogleChat},
	"googlepubsub":  {New: newGooglePubSub, Identity: true},
	"grafana":       {New: newGrafana},
	"incident.io":   {New: newIncident},
	"lark":          {New: newLark},
	"matrix":        {New: newMatrix},
	"msteams":       {New: newTeams},
	"nats":          {New: newNATS},
	"opsgenie":      {New: newOpsgenie},
	"otel":          {New: newOTel},
	"pagerduty":     {New: newPagerDuty},
	"rocket":        {New: newRocket},
	"sentry":        {New: newSentry},
	"slack":         {New: newSlack},
	"telegram":      {New: newTelegram},
	"webex":         {New: newWebex},
	"zoom":          {New: newZoom},
	"zulip":         {New: newZulip},
}
