package series

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strconv"
	"strings"
	"time"

	"socktally/forward"
)

// wrongReceiver is the wait before the next request if the receiver will not accept samples until somebody changes the
// settings. It is longer than most intervals, so each reading makes at most one request.
const wrongReceiver = time.Minute

// maxAnswer is how many bytes of an answer are read.
const maxAnswer = 64 << 10

// lossOfError is the Loss of the samples of a request without an answer.
func lossOfError(err error) *forward.Loss {
	l := &forward.Loss{Reason: forward.Unreachable, Err: err, Retry: true}
	var netErr net.Error
	if errors.Is(err, context.DeadlineExceeded) || errors.As(err, &netErr) && netErr.Timeout() {
		l.Reason = forward.Timeout
	}
	return l
}

// lossOfResponse is the Loss of the samples of a request with an answer, nil if they are delivered. said is the body of
// the answer; whole says that all of it was read. now is the wall time.
func lossOfResponse(resp *http.Response, said []byte, whole bool, now time.Time) *forward.Loss {
	status := resp.StatusCode
	l := &forward.Loss{Err: describe(resp, said), Retry: true, RetryAfter: retryAfter(resp.Header, now)}
	switch {
	case status >= 200 && status < 300 && (!whole || understood(said)):
		// With this status the samples are delivered, even if the body could not be read to its end.
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
	default: // a success without JSON, a redirect, not found
		l.Reason = forward.BadAnswer
		l.RetryAfter = max(l.RetryAfter, wrongReceiver)
	}
	return l
}

// understood says whether the body is an intake's answer, which is empty or a JSON object. Otherwise another server
// answers at this address.
func understood(said []byte) bool {
	var object map[string]json.RawMessage
	return len(said) == 0 || json.Unmarshal(said, &object) == nil
}

// describe makes an error from the answer: its status, the target of a redirect, and its body.
func describe(resp *http.Response, body []byte) error {
	said := strings.Join(strings.Fields(string(body)), " ")
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

// retryAfter is how long the intake asks to wait: Retry-After in seconds or as a date, or Datadog's X-RateLimit-Reset in
// seconds.
func retryAfter(h http.Header, now time.Time) time.Duration {
	for _, name := range []string{"Retry-After", "X-RateLimit-Reset"} {
		value := h.Get(name)
		if seconds, err := strconv.ParseUint(value, 10, 31); err == nil {
			return time.Duration(seconds) * time.Second
		}
		if t, err := http.ParseTime(value); err == nil && t.After(now) {
			return t.Sub(now)
		}
	}
	return 0
}
