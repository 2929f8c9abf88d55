package provider

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"strconv"
	"strings"

	eventv1 "github.com/fluxcd/pkg/apis/event/v1beta1"
)

const (
	// changeRequestKey is the metadata key with the number of a pull request.
	changeRequestKey = "change_request"
	// maxPages bounds the pages of comments that are searched, a hundred
	// comments each.
	maxPages = 100
	pageSize = 100
	// maxComment bounds a comment, in bytes; GitHub takes 65,536 characters.
	maxComment = 60_000
)

var changeRequest = regexp.MustCompile(`^[0-9]{1,18}$`)

// commenter keeps one comment for each object and Provider at a pull request,
// and writes each further event into it. A marker that readers do not see
// tells which comment it is.
type commenter struct {
	client *http.Client
	header http.Header
	uid    string
	// list is where the comments of a pull request are, and new ones posted.
	list func(number string) *url.URL
	// one is where a comment is changed, by the method change.
	one    func(number string, id int64) *url.URL
	change string
	paged  bool // the list comes in pages
}

type comment struct {
	ID   int64  `json:"id"`
	Body string `json:"body"`
}

func (c *commenter) Send(ctx context.Context, event *eventv1.Event) error {
	number := event.Metadata[changeRequestKey]
	if number == "" {
		return nil // it is not about a pull request
	}
	if !changeRequest.MatchString(number) {
		return Final(fmt.Errorf("metadata %q is %q, no number of a pull request", changeRequestKey, number))
	}
	o := event.InvolvedObject
	marker := fmt.Sprintf("<!-- flux-pr-comment-key:%s/%s/%s/%s -->", c.uid, o.Kind, o.Namespace, o.Name)
	found, err := c.find(ctx, number, marker)
	if err != nil {
		return err
	}
	body, err := encoded(map[string]string{"body": commentOf(event, marker)})
	if err != nil {
		return err
	}
	method, to := http.MethodPost, c.list(number)
	if found != 0 {
		method, to = c.change, c.one(number, found)
	}
	_, err = do(ctx, c.client, method, to, body, c.header, maxAnswer)
	return err
}

// find searches all comments for the marker; 0 means that there is none.
func (c *commenter) find(ctx context.Context, number, marker string) (int64, error) {
	for page := 1; page <= maxPages; page++ {
		from := c.list(number)
		if c.paged {
			from.RawQuery = url.Values{"per_page": {strconv.Itoa(pageSize)}, "page": {strconv.Itoa(page)}}.Encode()
		}
		answer, err := do(ctx, c.client, http.MethodGet, from, nil, c.header, maxComments)
		if err != nil {
			return 0, err
		}
		var comments []comment
		if err := json.Unmarshal(answer, &comments); err != nil {
			return 0, &Failure{Err: fmt.Errorf("GET %s: the answer is no list of comments", host(from))}
		}
		for _, k := range comments {
			if strings.Contains(k.Body, marker) {
				return k.ID, nil
			}
		}
		if !c.paged || len(comments) < pageSize {
			return 0, nil
		}
	}
	return 0, Final(fmt.Errorf("pull request %s has more than %d comments", number, maxPages*pageSize))
}

// maxComments bounds a page of comments, in bytes.
const maxComments = 32 << 20

func commentOf(event *eventv1.Event, marker string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "## Flux Status\n\n%s **%s**: %s\n\n", either(event, "⚠️", "✅"), objectName(event), event.Reason)
	b.WriteString(cut(event.Message, maxComment/2))
	b.WriteString("\n\nMetadata:\n")
	for _, f := range factsOf(event) {
		if line := "* `" + f.key + "`: " + f.value + "\n"; b.Len()+len(line) < maxComment {
			b.WriteString(line)
		}
	}
	return marker + "\n" + b.String() // the marker first: it must never be cut off
}
