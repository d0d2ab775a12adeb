package series

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"time"

	"socktally/internal/finding"
)

// probeTimeout is how long the attempt to reach the intake may take.
const probeTimeout = 5 * time.Second

// Probe checks whether the intake answers. It sends the key only if showKey, and never a sample.
func Probe(ctx context.Context, o Options, showKey bool, proxy func(*http.Request) (*url.URL, error)) []finding.Finding {
	unreachable := func(text, remedy string) []finding.Finding {
		return []finding.Finding{{Check: "receiver", State: finding.Bad, Text: text, Remedy: remedy}}
	}
	ctx, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, o.URL+"/api/v1/validate", nil)
	if err != nil {
		return unreachable(err.Error(), "correct SOCKTALLY_HTTP_URL")
	}
	if showKey && o.APIKey != "" {
		request.Header.Set("DD-API-KEY", o.APIKey)
	}
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.Proxy = proxy
	defer transport.CloseIdleConnections()
	answer, err := transport.RoundTrip(request) // RoundTrip follows no redirect, so the key goes nowhere else
	if err != nil {
		return unreachable(fmt.Sprintf("%s: %v", o.URL, err), "let this host reach it, or set SOCKTALLY_HTTP_URL, DD_SITE or HTTPS_PROXY")
	}
	answer.Body.Close()
	return []finding.Finding{{Check: "receiver", State: finding.OK, Text: o.URL + " answers"}, ofKey(answer, o.APIKey != "", showKey)}
}

// ofKey is the finding about the key.
func ofKey(answer *http.Response, set, shown bool) finding.Finding {
	key := finding.Finding{Check: "key", State: finding.OK}
	switch {
	case !set:
		key.Text = "none: SOCKTALLY_HTTP_URL needs none, as far as socktally knows"
	case !shown:
		key.Text = "set; --probe tries it"
	case answer.StatusCode == http.StatusOK:
		key.Text = "accepted"
	case answer.StatusCode == http.StatusForbidden || answer.StatusCode == http.StatusUnauthorized:
		key.State, key.Text, key.Remedy = finding.Bad, "refused: "+answer.Status, "correct DD_API_KEY, or DD_SITE where the key is of another site"
	default:
		key.State, key.Text, key.Remedy = finding.Less, "not known: the intake answers "+answer.Status, "correct SOCKTALLY_HTTP_URL, if samples do not arrive"
	}
	return key
}
