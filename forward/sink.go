// Package forward hands samples to receivers. A Sink makes one attempt at one receiver; the
// Forwarder runs every sink on its own, so that a dead receiver delays no other, retries what is
// worth retrying within the reading's own interval, and counts what it had to give up.
package forward

import (
	"context"
	"time"

	"socktally/metric"
)

// Sink delivers samples to one receiver. The Forwarder calls a sink from one goroutine at a time.
type Sink interface {
	// Name is the value of the tag "sink" in socktally's own metrics.
	Name() string
	// Receiver says for people where samples go. It holds no secret.
	Receiver() string
	// Acknowledged says that samples without a Loss have reached the receiver's host. What such a
	// sink cannot deliver is worth keeping; else nobody knows what there is to send again.
	Acknowledged() bool
	// Send makes one attempt to deliver samples, in their order, and returns what was not
	// delivered, grouped by cause; nothing lost is nil. It returns soon after ctx ends. It keeps
	// no reference to samples.
	Send(ctx context.Context, samples []metric.Sample) []Loss
	// Close ends the connection. Send is not called after it.
	Close() error
}

// Loss is a group of samples that one attempt did not deliver, and why.
type Loss struct {
	Samples []metric.Sample
	Reason  Reason
	// Err is what the receiver or the network said.
	Err error
	// Retry says that a later attempt may deliver these samples.
	Retry bool
	// RetryAfter is the time that the receiver asked to be left alone, 0 if it did not.
	RetryAfter time.Duration
}

// Reason is the value of the tag "reason" of dropped samples.
type Reason string

// The reasons for which samples are not delivered.
const (
	Unreachable Reason = "unreachable"  // no connection, or it broke
	Timeout     Reason = "timeout"      // no answer in time
	Forbidden   Reason = "forbidden"    // the key was refused
	Rejected    Reason = "rejected"     // the receiver said that the samples are wrong
	TooLarge    Reason = "too_large"    // one sample alone is larger than the receiver takes
	Throttled   Reason = "throttled"    // the receiver asked for fewer requests
	ServerError Reason = "server_error" // the receiver failed
	BadAnswer   Reason = "bad_answer"   // what answered is not the receiver that was meant
	QueueFull   Reason = "queue_full"   // earlier readings were still on their way
	Age         Reason = "age"          // kept until they were too old
	Size        Reason = "size"         // kept until newer ones needed the room
)

// samplesOf joins the samples of losses.
func samplesOf(losses []Loss) []metric.Sample {
	var samples []metric.Sample
	for _, l := range losses {
		samples = append(samples, l.Samples...)
	}
	return samples
}
