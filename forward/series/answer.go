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

// wrongReceiver is how long to leave a receiver alone that will not take samples until a person
// has changed something: longer than most intervals, so that each reading makes one request.
const wrongReceiver = time.Minute

// maxAnswer bounds what is read of an answer, so that none can fill the memory.
const maxAnswer = 64 << 10

// judgeNone says what it means for the samples of a request that there was no answer.
func lossOfError(err error) *forward.Loss {
	l := &forward.Loss{Reason: forward.Unreachable, Err: err, Retry: true}
	var netErr net.Error
	if errors.Is(err, context.DeadlineExceeded) || errors.As(err, &netErr) && netErr.Timeout() {
		l.Reason = forward.Timeout
	}
	return l
}

// judge says what an answer means for the samples of its request; nil is delivered. said is what it holds,
// whole or not; now is the wall time.
func lossOfResponse(resp *http.Response, said []byte, whole bool, now time.Time) *forward.Loss {
	status := resp.StatusCode
	l := &forward.Loss{Err: describe(resp, said), Retry: true, RetryAfter: retryAfter(resp.Header, now)}
	switch {
	case status >= 200 && status < 300 && (!whole || understood(said)):
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

// understood tells an intake's answer to samples that it took, which is empty or an object, from that of
// something else that answers at this address.
func understood(said []byte) bool {
	var object map[string]json.RawMessage
	return len(said) == 0 || json.Unmarshal(said, &object) == nil
}

// describe quotes the answer: its status, where a redirect leads, and what the intake says.
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

// retryAfter reads how long the intake asks to be left alone: Retry-After in seconds or as a date,
// or Datadog's X-RateLimit-Reset in seconds.
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
