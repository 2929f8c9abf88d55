package provider

import "testing"

func TestRocketSends(t *testing.T) {
	expectAttachments(t, "rocket", "/owner/planted-secret-value", "ops", map[string]string{"error": "#B22222", "info": "#0076D7"})
}
