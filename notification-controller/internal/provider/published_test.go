package provider

import (
	"encoding/json"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	eventv1 "github.com/fluxcd/pkg/apis/event/v1beta1"
)

// A rule is what a service publishes of one field. The path of a field in a
// list goes through "[]".
type rule struct {
	path     string
	kind     string // text, time, number, flag, texts (a map of them), map, list, of texts
	required bool
	most     int    // characters, entries
	oneOf    string // separated by spaces
}

// publication is what a service publishes of a message.
type publication struct {
	at    string // what the path of the address contains
	size  int    // bytes of the whole, where that is limited
	rules []rule
}

// published has the compact form of the services' own documentation: of
// Alertmanager's api/v2/openapi.yaml (postableAlerts), PagerDuty's Events API v2,
// the schema of Adaptive Cards 1.4, and the reference pages of the others.
var published = map[string][]publication{
	"alertmanager": {{rules: []rule{
		{path: "[].labels", kind: "texts", required: true}, {path: "[].annotations", kind: "texts"},
		{path: "[].startsAt", kind: "time"}, {path: "[].endsAt", kind: "time"}, {path: "[].generatorURL", kind: "text"},
		{path: "[].status", kind: "text"}, // is not part of it, but was always sent
	}}},
	"pagerduty": {
		{at: "/v2/enqueue", size: 512_000, rules: []rule{
			{path: "routing_key", kind: "text", required: true}, {path: "event_action", kind: "text", required: true, oneOf: "trigger acknowledge resolve"},
			{path: "dedup_key", kind: "text", most: 255}, {path: "client", kind: "text"}, {path: "client_url", kind: "text"},
			{path: "payload.summary", kind: "text", required: true, most: 1024}, {path: "payload.source", kind: "text", required: true},
			{path: "payload.severity", kind: "text", required: true, oneOf: "critical warning error info"}, {path: "payload.timestamp", kind: "time"},
			{path: "payload.component", kind: "text"}, {path: "payload.group", kind: "text"}, {path: "payload.class", kind: "text"}, {path: "payload.custom_details", kind: "texts"},
		}},
		{at: "/v2/change/enqueue", size: 512_000, rules: []rule{
			{path: "routing_key", kind: "text", required: true}, {path: "payload.summary", kind: "text", required: true, most: 1024},
			{path: "payload.source", kind: "text"}, {path: "payload.timestamp", kind: "time"}, {path: "payload.custom_details", kind: "texts"},
		}},
	},
	"msteams": {{size: 28_000, rules: []rule{
		{path: "type", kind: "text", required: true, oneOf: "message"},
		{path: "attachments[].contentType", kind: "text", required: true, oneOf: "application/vnd.microsoft.card.adaptive"},
		{path: "attachments[].content.$schema", kind: "text"}, {path: "attachments[].content.type", kind: "text", required: true, oneOf: "AdaptiveCard"},
		{path: "attachments[].content.version", kind: "text", required: true, oneOf: "1.4"}, {path: "attachments[].content.msteams", kind: "map"},
		{path: "attachments[].content.body[].type", kind: "text", required: true, oneOf: "TextBlock FactSet"},
		{path: "attachments[].content.body[].text", kind: "text"}, {path: "attachments[].content.body[].wrap", kind: "flag"},
		{path: "attachments[].content.body[].size", kind: "text", oneOf: "Default Small Medium Large ExtraLarge"},
		{path: "attachments[].content.body[].weight", kind: "text", oneOf: "Default Lighter Bolder"},
		{path: "attachments[].content.body[].color", kind: "text", oneOf: "default dark light accent good warning attention"},
		{path: "attachments[].content.body[].facts[].title", kind: "text", required: true}, {path: "attachments[].content.body[].facts[].value", kind: "text", required: true},
	}}},
	"googlechat": {{size: 32_000, rules: []rule{
		{path: "cards[].header.title", kind: "text", required: true}, {path: "cards[].header.subtitle", kind: "text"},
		{path: "cards[].sections[].widgets[].textParagraph.text", kind: "text", required: true},
		{path: "cards[].sections[].widgets[].keyValue.topLabel", kind: "text"}, {path: "cards[].sections[].widgets[].keyValue.content", kind: "text", required: true},
		{path: "cards[].sections[].widgets[].keyValue.contentMultiline", kind: "flag"},
	}}},
	"opsgenie": {
		{at: "/close", rules: []rule{{path: "source", kind: "text", most: 100}, {path: "note", kind: "text", most: 25_000}}},
		{rules: []rule{
			{path: "message", kind: "text", required: true, most: 130}, {path: "alias", kind: "text", most: 512},
			{path: "description", kind: "text", most: 15_000}, {path: "details", kind: "texts", most: 8000},
		}},
	},
	"datadog": {{rules: []rule{
		{path: "title", kind: "text", required: true, most: 100}, {path: "text", kind: "text", required: true, most: 4000}, {path: "tags", kind: "of texts"},
		{path: "source_type_name", kind: "text"}, {path: "date_happened", kind: "number"}, {path: "aggregation_key", kind: "text", most: 100},
		{path: "alert_type", kind: "text", oneOf: "error warning info success user_update recommendation snapshot"},
	}}},
	"grafana": {{rules: []rule{
		{path: "text", kind: "text", required: true}, {path: "tags", kind: "of texts"}, {path: "time", kind: "number"}, {path: "when", kind: "number"},
	}}},
	"incident.io": {{rules: []rule{
		{path: "title", kind: "text", required: true}, {path: "status", kind: "text", required: true, oneOf: "firing resolved"}, {path: "deduplication_key", kind: "text"},
		{path: "description", kind: "text"}, {path: "source_url", kind: "text"}, {path: "metadata", kind: "texts"},
	}}},
	"telegram": {{rules: []rule{
		{path: "chat_id", kind: "text", required: true}, {path: "message_thread_id", kind: "number"}, {path: "text", kind: "text", required: true, most: 4096},
		{path: "parse_mode", kind: "text", oneOf: "MarkdownV2 HTML Markdown"},
	}}},
	"webex":  {{rules: []rule{{path: "roomId", kind: "text", required: true}, {path: "markdown", kind: "text", required: true, most: 7439}}}},
	"matrix": {{size: 65_000, rules: []rule{{path: "body", kind: "text", required: true}, {path: "msgtype", kind: "text", required: true, oneOf: "m.text"}}}},
	"lark": {{size: 20_000, rules: []rule{
		{path: "msg_type", kind: "text", required: true, oneOf: "interactive"}, {path: "card.config", kind: "map"},
		{path: "card.header.title.tag", kind: "text", required: true, oneOf: "plain_text"}, {path: "card.header.title.content", kind: "text", required: true},
		{path: "card.header.template", kind: "text", oneOf: "red turquoise"}, {path: "card.elements[].tag", kind: "text", required: true, oneOf: "div"},
		{path: "card.elements[].text.tag", kind: "text", required: true, oneOf: "lark_md"}, {path: "card.elements[].text.content", kind: "text", required: true},
	}}},
	"zoom": {{rules: []rule{
		{path: "content.head.text", kind: "text", required: true}, {path: "content.head.sub_head", kind: "texts"},
		{path: "content.body[].type", kind: "text", required: true, oneOf: "message fields"}, {path: "content.body[].text", kind: "text"},
		{path: "content.body[].items[].key", kind: "text", required: true}, {path: "content.body[].items[].value", kind: "text", required: true},
	}}},
	"githubdispatch": {{size: 65_000, rules: []rule{
		{path: "event_type", kind: "text", required: true, most: 100}, {path: "client_payload", kind: "map", most: 10},
	}}},
	"github": {{rules: []rule{
		{path: "state", kind: "text", required: true, oneOf: "error failure pending success"}, {path: "context", kind: "text"}, {path: "description", kind: "text", most: 140},
	}}},
	"gitlab": {{rules: []rule{
		{path: "state", kind: "text", required: true, oneOf: "pending running success failed canceled skipped"}, {path: "name", kind: "text", most: 255},
		{path: "description", kind: "text", most: 255},
	}}},
	"bitbucket": {{rules: []rule{
		{path: "key", kind: "text", required: true, most: 40}, {path: "state", kind: "text", required: true, oneOf: "INPROGRESS SUCCESSFUL FAILED STOPPED"},
		{path: "url", kind: "text", required: true}, {path: "name", kind: "text", most: 255}, {path: "description", kind: "text", most: 255},
	}}},
	"azuredevops": {{rules: []rule{
		{path: "state", kind: "text", required: true, oneOf: "notSet pending succeeded failed error notApplicable"}, {path: "description", kind: "text"},
		{path: "context.name", kind: "text", required: true}, {path: "context.genre", kind: "text"},
	}}},
}

// TestPublishedSchemas checks what is sent, of short events and of very long
// ones, against what the services publish.
func TestPublishedSchemas(t *testing.T) {
	ends := long()
	ends.Severity, ends.Reason = "info", "ReconciliationSucceeded"
	named := long()
	named.InvolvedObject.Name, named.InvolvedObject.Namespace, named.InvolvedObject.UID = strings.Repeat("n", 253), strings.Repeat("s", 63), ""
	bare := &eventv1.Event{Severity: "error", Reason: "Failed", Message: "no", Timestamp: sample().Timestamp, ReportingController: "x"}
	bare.Metadata = map[string]string{"revision": "main@sha1:" + sha}
	for name, schemas := range published {
		for what, event := range map[string]*eventv1.Event{"error": sample(), "recovery": recovery(), "progress": progressing(), "long": long(), "long end": ends, "long name": named, "bare": bare} {
			t.Run(name+"/"+what, func(t *testing.T) {
				to := newSink(t)
				if err := send(t.Context(), senderTo(t, name, to.URL), event); err != nil {
					t.Fatal(err)
				}
				for n, r := range to.seen {
					if r.Method == "GET" {
						continue
					}
					i := slices.IndexFunc(schemas, func(s publication) bool { return strings.Contains(r.URL.Path, s.at) })
					for _, problem := range schemas[i].check(to.bodies[n]) {
						t.Errorf("%s: %s", r.URL.Path, problem)
					}
				}
			})
		}
	}
}

func (s publication) check(body string) (problems []string) {
	if s.size > 0 && len(body) > s.size {
		problems = append(problems, fmt.Sprintf("%d bytes, more than %d", len(body), s.size))
	}
	var message any
	if err := json.Unmarshal([]byte(body), &message); err != nil {
		return append(problems, err.Error())
	}
	return append(problems, s.walk("", message)...)
}

// walk checks a value and all below it.
func (s publication) walk(path string, v any) (problems []string) {
	if i := slices.IndexFunc(s.rules, func(r rule) bool { return r.path == path }); i >= 0 {
		if problem := s.rules[i].check(v); problem != "" {
			problems = append(problems, path+": "+problem)
		}
		return problems
	}
	switch v := v.(type) {
	case []any:
		for _, item := range v {
			problems = append(problems, s.walk(path+"[]", item)...)
		}
	case map[string]any:
		prefix := path
		if prefix != "" {
			prefix += "."
		}
		for _, key := range slices.Sorted(maps.Keys(v)) {
			problems = append(problems, s.walk(prefix+key, v[key])...)
		}
		for _, r := range s.rules {
			if rest, below := strings.CutPrefix(r.path, prefix); below && r.required && !strings.ContainsAny(rest, ".[") && v[rest] == nil {
				problems = append(problems, r.path+" is missing")
			}
		}
	default:
		problems = append(problems, fmt.Sprintf("%s is not known: %v", path, v))
	}
	return problems
}

var rfc3339 = regexp.MustCompile(`^\d{4}-\d\d-\d\dT`)

func (r rule) check(v any) string {
	text, isText := v.(string)
	size, ok := utf8.RuneCountInString(text), isText
	switch r.kind {
	case "time":
		_, err := time.Parse(time.RFC3339, text)
		ok = err == nil && rfc3339.MatchString(text)
	case "number":
		_, ok = v.(float64)
	case "flag":
		_, ok = v.(bool)
	case "of texts":
		list, isList := v.([]any)
		ok = isList && !slices.ContainsFunc(list, func(item any) bool { _, is := item.(string); return !is })
	case "map":
		m, isMap := v.(map[string]any)
		ok, size = isMap, len(m)
	case "texts":
		var m map[string]any
		m, ok = v.(map[string]any)
		size = 0
		for key, value := range m {
			text, is := value.(string)
			ok = ok && is
			size += utf8.RuneCountInString(key) + utf8.RuneCountInString(text)
		}
	}
	switch {
	case !ok:
		return fmt.Sprintf("no %s: %.50v", r.kind, v)
	case r.required && r.kind == "text" && text == "":
		return "empty"
	case r.most > 0 && size > r.most:
		return fmt.Sprintf("%d, more than %d", size, r.most)
	case r.oneOf != "" && !slices.Contains(strings.Fields(r.oneOf), text):
		return fmt.Sprintf("%q, none of %s", text, r.oneOf)
	}
	return ""
}
