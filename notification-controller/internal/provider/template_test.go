package provider

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	eventv1 "github.com/fluxcd/pkg/apis/event/v1beta1"
	"k8s.io/apimachinery/pkg/types"

	notificationv1beta3 "github.com/weirhq/weir/api/notification/v1beta3"
)

// TestTemplate asserts what a template makes of the message, and that the
// message of one that fails is sent as it is, with a warning on the Alert.
func TestTemplate(t *testing.T) {
	for name, tt := range map[string]struct{ template, want, warns string }{
		"none":      {want: "no <way>"},
		"blank":     {template: "  ", want: "no <way>"},
		"fields":    {template: `{{ .event.involvedObject.name }} of {{ .alert.metadata.name | upper }}: {{ .event.message }} ({{ .event.metadata.summary }})`, want: "apps of ALL: no <way> (staging)"},
		"condition": {template: `{{ if eq .event.severity "error" }}BROKEN{{ else }}fine{{ end }}`, want: "BROKEN"},
		"syntax":    {template: "{{ if }}", want: "no <way>", warns: "cannot be parsed"},
		"nothing":   {template: "{{ with .event.metadata.none }}x{{ end }}", want: "no <way>", warns: "no text"},
		"endless":   {template: "{{ range 9000000000 }}{{ end }}", want: "no <way>", warns: "stopped"},
		"huge":      {template: `{{ range until 9000 }}0123456789{{ end }}`, want: "no <way>", warns: "stopped"},
		"files":     {template: `{{ env "HOME" }}`, want: "no <way>", warns: "not defined"},
		"a method":  {template: `{{ .event.DeepCopy }}`, want: "<no value>"},
	} {
		t.Run(name, func(t *testing.T) {
			to := newSink(t)
			alert := anAlert()
			alert.Annotations = map[string]string{templateAnnotation: tt.template}
			var warned []string
			l := &Loaded{sender: senderTo(t, "generic", to.URL), Timeout: time.Minute, warn: func(key types.NamespacedName, reason, message string) {
				if key.String() != "ns/all" || reason != notificationv1beta3.InvalidConfigReason {
					t.Errorf("warned of %s with reason %s", key, reason)
				}
				warned = append(warned, message)
			}}
			event := sample()
			if err := l.Send(t.Context(), alert, event); err != nil {
				t.Fatal(err)
			}
			var got eventv1.Event
			if err := json.Unmarshal([]byte(to.bodies[0]), &got); err != nil || got.Message != tt.want {
				t.Errorf("got %q, %v", got.Message, err)
			}
			if event.Message != "no <way>" {
				t.Error("the event of the queue was changed")
			}
			if (len(warned) == 1) != (tt.warns != "") || len(warned) == 1 && !strings.Contains(warned[0], tt.warns) {
				t.Errorf("warned %q", warned)
			}
		})
	}
}
