package series

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/DataDog/datadog-api-client-go/v2/api/datadog"

	"socktally/forward"
)

// wrongReceiver is how long to leave a receiver alone that will not take samples until a person
// has changed something: longer than most intervals, so that each reading makes one request.
const wrongReceiver = time.Minute

// judge says what an answer means for the samples of its request; nil is delivered. The answer is
// nil if there was none.
func judge(resp *http.Response, err error) *forward.Loss {
	if resp == nil {
		l := &forward.Loss{Reason: forward.Unreachable, Err: err, Retry: true}
		var netErr net.Error
		if errors.Is(err, context.DeadlineExceeded) || errors.As(err, &netErr) && netErr.Timeout() {
			l.Reason = forward.Timeout
		}
		return l
	}
	var apiErr datadog.GenericOpenAPIError
	understood := !errors.As(err, &apiErr)
	status := resp.StatusCode
	l := &forward.Loss{Err: describe(resp, apiErr), Retry: true, RetryAfter: retryAfter(resp.Header, time.Now())}
	switch {
	case status >= 200 && status < 300 && understood:
		// An answer that broke off behind this status was given all the same.
		return nil
	case status == http.StatusBadRequest || status == http.StatusUnprocessableEntity:
		l.Reason, l.Retry = forward.Rejected, false
	case status == http.StatusRequestEntityTooLarge:
		l.Reason, l.Retry = forward.TooLarge, false
	case status == http.StatusUnauthorized || status == http.StatusForbidden:
		l.Reason = forward.Forbidden
		l.RetryAfter = max(l.RetryAfter, wrongReceiver)
	case status == http.StatusRequestTimeout:
		l.Reason = forward.Timeout
	case status == http.StatusTooManyRequests:
		l.Reason = forward.Throttled
	case status >= 500:
		l.Reason = forward.ServerError
	default: // a success that is no JSON, a redirect, not found
		l.Reason = forward.BadAnswer
		l.RetryAfter = max(l.RetryAfter, wrongReceiver)
	}
	return l
}

// describe quotes the answer: its status, where a redirect leads, and what the intake says.
func describe(resp *http.Response, apiErr datadog.GenericOpenAPIError) error {
	said := strings.Join(strings.Fields(string(apiErr.ErrorBody)), " ")
	const most = 200
	if len(said) > most {
		said = said[:most] + "..."
	}
	text := "the intake answered " + resp.Status
	if to := resp.Header.Get("Location"); to != "" {
		text += fmt.Sprintf(", a redirect to %q", to)
	}
	if said != "" {
		text += fmt.Sprintf(": %q", said)
	}
	return errors.New(text)
}
