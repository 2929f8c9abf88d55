package cloudtest

import (
	"fmt"
	"net/http"
	"strings"
)

// EntraHost is where Azure's libraries look for tokens.
const EntraHost = "login.microsoftonline.com"

// Entra answers for EntraHost: what the tenant's endpoints are by itself, and requests
// for tokens by the handler.
func Entra(tenant string, token http.HandlerFunc) http.HandlerFunc {
	at := "https://" + EntraHost + "/" + tenant
	return func(w http.ResponseWriter, q *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		switch {
		case strings.HasSuffix(q.URL.Path, "/discovery/instance"):
			fmt.Fprintf(w, `{"tenant_discovery_endpoint":%q,"metadata":[]}`, at+"/v2.0/.well-known/openid-configuration")
		case strings.HasSuffix(q.URL.Path, "/.well-known/openid-configuration"):
			fmt.Fprintf(w, `{"token_endpoint":%q,"authorization_endpoint":%q,"issuer":%q}`, at+"/oauth2/v2.0/token", at+"/oauth2/v2.0/authorize", at+"/v2.0")
		default:
			token(w, q)
		}
	}
}
