package slack_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/weirhq/weir/local/internal/slack"
)

func TestSinkKeepsMessages(t *testing.T) {
	s, err := slack.Start()
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	tests := []struct {
		body string
		want int
	}{
		{`{"channel":"ops","username":"weir","attachments":[{"color":"danger","author_name":"kustomization/a.b","text":"it\nfailed","fields":[{"title":"revision","value":"main"}]}]}`, http.StatusOK},
		{`not json`, http.StatusBadRequest},
	}
	for _, test := range tests {
		response, err := http.Post(s.URL, "application/json", strings.NewReader(test.body))
		if err != nil {
			t.Fatal(err)
		}
		_ = response.Body.Close()
		if response.StatusCode != test.want {
			t.Errorf("%s: status %d, want %d", test.body, response.StatusCode, test.want)
		}
	}
	if n := len(s.Messages); n != 1 {
		t.Fatalf("messages = %d, want 1", n)
	}
	want := []string{"weir  #ops", "kustomization/a.b", "it", "failed", "revision: main"}
	if diff := cmp.Diff(want, (<-s.Messages).Lines()); diff != "" {
		t.Errorf("lines (-want +got):\n%s", diff)
	}
}
