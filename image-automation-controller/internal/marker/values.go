package marker

import (
	"encoding/json"
	"strings"
)

// Token is what a file must contain to be worth parsing.
const Token = "$imagepolicy"

// Ref is the image that a policy has chosen. Digest may be empty.
type Ref struct{ Name, Tag, Digest string }

// String is the reference as it is written into an image field.
func (r Ref) String() string {
	s := r.Name
	if r.Tag != "" {
		s += ":" + r.Tag
	}
	if r.Digest != "" {
		s += "@" + r.Digest
	}
	return s
}

// Values holds the new scalar for each marker text, such as "ns:policy:tag".
type Values map[string]string

// Add registers the four markers of one policy. Without a digest the marker
// ":digest" has no value, so that scalars marked with it stay as they are.
func (v Values) Add(namespace, policy string, ref Ref) {
	base := namespace + ":" + policy
	v[base] = ref.String()
	v[base+":name"] = ref.Name
	v[base+":tag"] = ref.Tag
	if ref.Digest != "" {
		v[base+":digest"] = ref.Digest
	}
}

// setter returns the marker text in a comment, and whether there is one. The
// comment must be a JSON object of strings; anything else is only a comment.
func setter(comment string) (string, bool) {
	for line := range strings.SplitSeq(comment, "\n") {
		if !strings.Contains(line, Token) {
			continue
		}
		var fields map[string]string
		text := strings.TrimLeft(strings.TrimSpace(line), "#")
		if json.Unmarshal([]byte(text), &fields) == nil && fields[Token] != "" {
			return fields[Token], true
		}
	}
	return "", false
}
