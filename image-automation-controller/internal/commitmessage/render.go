// Package commitmessage renders the message of a commit from the template of an
// ImageUpdateAutomation.
package commitmessage

import (
	"errors"
	"fmt"
	"strings"

	"github.com/weirhq/weir/internal/rendering"
)

// Default is the message of automations without a template.
const Default = "Update from image update automation"

// ErrTemplate is wrapped by all errors that an edit of the template cures.
var ErrTemplate = errors.New("messageTemplate")

// Render executes the template text; an empty one gives Default. Errors wrap
// ErrTemplate, and rendering.ErrLimit or ErrRemovedField where those apply.
func Render(text string, data Data) (string, error) {
	if strings.TrimSpace(text) == "" {
		return Default, nil
	}
	message, err := rendering.Execute("messageTemplate", text, data)
	switch {
	case errors.Is(err, ErrRemovedField):
		return "", fmt.Errorf("%w: %w", ErrTemplate, ErrRemovedField)
	case err != nil:
		return "", fmt.Errorf("%w: %w", ErrTemplate, err)
	case strings.TrimSpace(message) == "":
		return "", fmt.Errorf("%w yields an empty commit message", ErrTemplate)
	}
	return message, nil
}
