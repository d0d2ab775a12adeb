// Package forward sends samples to receivers. A Sink makes one attempt to send to one receiver. The Forwarder runs each sink
// in a goroutine, so that a receiver that does not answer delays no other. It tries again until the next reading is due, if
// that makes sense, and counts what is dropped.
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
	// Receiver is a text for people: where samples go. It has no secret in it.
	Receiver() string
	// Acknowledged says that samples without a Loss have reached the receiver's host. Only then is it known which
	// samples are not delivered, so only then are these kept on disk.
	Acknowledged() bool
	// Send makes one attempt to deliver samples, in their order. It returns the samples that were not delivered, grouped
	// by cause, and nil if all were. It returns soon after ctx ends. It keeps no reference to samples.
	Send(ctx context.Context, samples []metric.Sample) []Loss
	// Close ends the connection. Send is not called after it.
	Close() error
}

// Loss is a group of samples that one attempt did not deliver, and why.
type Loss struct {
	Samples []metric.Sample
	Reason  Reason
	// Err is the error of the receiver or the network.
	Err error
	// Retry says that a later attempt may deliver these samples.
	Retry bool
	// RetryAfter is how long the receiver asks to wait, 0 if it does not.
	RetryAfter time.Duration
}

// Reason is the value of the tag "reason" of dropped samples.
type Reason string

// The reasons for which samples are not delivered.
const (
	Unreachable Reason = "unreachable"  // no connection, or it broke
	Timeout     Reason = "timeout"      // no answer in time
	Forbidden   Reason = "forbidden"    // the receiver does not accept the key
	Rejected    Reason = "rejected"     // the receiver said that the samples are wrong
	TooLarge    Reason = "too_large"    // one sample is larger than the receiver accepts
	Throttled   Reason = "throttled"    // the receiver asked for fewer requests
	ServerError Reason = "server_error" // the receiver failed
	BadAnswer   Reason = "bad_answer"   // the answer is not from the expected kind of receiver
	QueueFull   Reason = "queue_full"   // too many earlier readings are in the queue
	Age         Reason = "age"          // on disk, and too old now
	Size        Reason = "size"         // on disk, and removed to make room for newer ones
)

// samplesOf joins the samples of losses.
func samplesOf(losses []Loss) []metric.Sample {
	var samples []metric.Sample
	for _, l := range losses {
		samples = append(samples, l.Samples...)
	}
	return samples
}
