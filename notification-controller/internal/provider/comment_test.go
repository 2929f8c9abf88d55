package provider

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"
)

// changes serves 250 comments, of which number 150 has the marker, and checks
// that this one is changed.
func changes(t *testing.T, name, method, path string) {
	t.Helper()
	var all []comment
	for i := 1; i <= 250; i++ {
		c := comment{ID: int64(i), Body: "looks good"}
		if i == 150 {
			c.Body += "<!-- flux-pr-comment-key:abcd-1/Kustomization/ns/apps -->"
		}
		all = append(all, c)
	}
	var changed []string
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodGet {
			changed = append(changed, r.Method+" "+strings.ReplaceAll(r.URL.EscapedPath(), "%2F", "/"))
			return
		}
		page := all
		if size, err := strconv.Atoi(r.URL.Query().Get("per_page")); err == nil {
			n, _ := strconv.Atoi(r.URL.Query().Get("page"))
			page = all[min((n-1)*size, len(all)):min(n*size, len(all))]
		}
		if err := json.NewEncoder(w).Encode(page); err != nil {
			t.Error(err)
		}
	}))
	defer server.Close()
	if err := senderTo(t, name, server.URL).Send(context.Background(), sample()); err != nil {
		t.Fatal(err)
	}
	if got, want := fmt.Sprint(changed), fmt.Sprint([]string{method + " " + path}); got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	none := sample()
	delete(none.Metadata, changeRequestKey)
	changed = nil
	if err := senderTo(t, name, server.URL).Send(context.Background(), none); err != nil || len(changed) != 0 {
		t.Errorf("no pull request: %v, %v", changed, err)
	}
	none.Metadata[changeRequestKey] = "7/../8"
	if err := senderTo(t, name, server.URL).Send(context.Background(), none); !IsFinal(err) {
		t.Errorf("a number that is none: %v", err)
	}
}
