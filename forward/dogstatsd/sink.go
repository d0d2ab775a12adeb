// Package dogstatsd sends samples in the DogStatsD format, over UDP, over a unix datagram or stream socket, or to any
// writer. Datadog's client formats the lines and makes payloads of them. This package owns the connection: so it knows
// which samples were in a payload that could not be written, and it can look up the address again after an error.
package dogstatsd

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"syscall"
	"time"

	"github.com/DataDog/datadog-go/v5/statsd"

	"socktally/forward"
	"socktally/internal/clock"
	"socktally/internal/environ"
	"socktally/metric"
)

// The largest safe payloads by Datadog's documentation. For UDP it is an Ethernet frame less the headers, for a unix
// socket the Agent's buffer.
const (
	udpPayload  = 1432
	unixPayload = 8192
)

// maxFresh is the largest age of a sample that is sent without a timestamp. The Agent aggregates such samples in buckets of
// 10 s. It does not aggregate lines with a timestamp.
const maxFresh = 10 * time.Second

// Options are the settings that all constructors share.
type Options struct {
	// Tags are added to every sample.
	Tags  []string
	Clock clock.Clock // the machine's if nil
}

// Sink sends samples to one DogStatsD receiver.
type Sink struct {
	name         string
	receiver     string
	acknowledged bool
	paced        bool // the receiver may silently drop what it cannot read fast enough
	tags         []string
	clock        clock.Clock
	client       *statsd.Client
	wire         *wire
}

// New returns the sink "dogstatsd". The network is udp, unixgram, unixstream, or unix for a unix socket of either kind. The
// target is host:port or a path. The receiver need not exist yet.
func New(network, target string, o Options) (*Sink, error) {
	s := &Sink{name: "dogstatsd", receiver: network + "://" + target, acknowledged: network != "udp", paced: network == "udp"}
	size := unixPayload
	if network == "udp" {
		size = udpPayload
	}
	return s, s.open(&conn{network: network, target: target}, size, o)
}

// NewWriter returns a sink with the given name that writes one line per sample to w.
func NewWriter(name string, w io.Writer, o Options) (*Sink, error) {
	s := &Sink{name: name, receiver: "the standard output"}
	return s, s.open(writer{w}, unixPayload, o)
}

// open makes the client, which writes payloads of at most size bytes to c.
func (s *Sink) open(c payloadWriter, size int, o Options) error {
	s.tags, s.clock = o.Tags, clock.OrSystem(o.Clock)
	s.wire = &wire{to: c}
	// The client would add these tags to every line, but the metrics of flows have the tags of the flow's owner.
	restore, err := environ.Set(map[string]string{"DD_ENV": "", "DD_SERVICE": "", "DD_VERSION": ""})
	if err != nil {
		return fmt.Errorf("make DogStatsD client: %w", err)
	}
	defer restore()
	client, err := statsd.NewWithWriter(s.wire,
		statsd.WithMaxBytesPerPayload(size),
		// With one worker the order of samples is kept. So it is known which samples are in a lost payload.
		statsd.WithWorkersCount(1),
		statsd.WithSenderQueueSize(queuedPayloads),
		statsd.WithBufferPoolSize(queuedPayloads),
		// Send flushes, so no timer is needed.
		statsd.WithBufferFlushInterval(24*time.Hour),
		statsd.WithoutClientSideAggregation(),
		// The Forwarder has these counts already.
		statsd.WithoutTelemetry(),
		statsd.WithErrorHandler(s.wire.clientError),
	)
	if err != nil {
		return fmt.Errorf("make DogStatsD client: %w", err)
	}
	s.client = client
	return nil
}

// sendTimeout is how long all writes of one Send may take. A receiver on this host that takes longer hangs.
const sendTimeout = 2 * time.Second

// queuedPayloads is how many payloads the client can queue; it drops more than that. Send flushes earlier.
const queuedPayloads = 64

// Name implements forward.Sink.
func (s *Sink) Name() string { return s.name }

// Receiver implements forward.Sink.
func (s *Sink) Receiver() string { return s.receiver }

// Acknowledged implements forward.Sink. A write to a unix socket succeeds or returns an error.
func (s *Sink) Acknowledged() bool { return s.acknowledged }

// Close implements forward.Sink.
func (s *Sink) Close() error { return s.client.Close() }

// flushEvery is how many samples the client gets between two flushes. A payload has at least one sample, so the queue
// cannot be full.
const flushEvery = queuedPayloads / 2

// The kernel's default receive buffer of a UDP socket has room for about 90 payloads. A reading fits into it. A tally of
// flows is larger: it is sent at such a speed that nothing is lost if the receiver does not read for 20 ms.
const (
	burstFlushes = 8
	burstPause   = time.Millisecond
)

// pause gives the receiver time to empty its buffer. There is no pause after the first flushes.
func (s *Sink) pause(ctx context.Context, flushes int) {
	if !s.paced || flushes < burstFlushes {
		return
	}
	select {
	case <-ctx.Done():
	case <-s.clock.After(burstPause):
	}
}

// Send implements forward.Sink. A UDP receiver that does not run is noticed by the ICMP error. On this host that comes at
// once.
func (s *Sink) Send(ctx context.Context, samples []metric.Sample) []forward.Loss {
	bounded, cancel := context.WithTimeout(ctx, sendTimeout)
	defer cancel()
	s.wire.begin(bounded)
	var losses []forward.Loss
	var queued []metric.Sample
	flush := func() {
		if err := s.client.Flush(); err != nil {
			losses = append(losses, loss(queued, err))
		} else {
			losses = append(losses, s.wire.lost(queued)...)
		}
		queued = queued[:0]
	}
	now := s.clock.Now()
	for i, sample := range samples {
		if err := s.put(sample, now); err != nil {
			losses = append(losses, loss([]metric.Sample{sample}, err))
			continue
		}
		if queued = append(queued, sample); len(queued) == flushEvery {
			flush()
			s.pause(ctx, i/flushEvery)
		}
	}
	flush()
	return losses
}

// put gives one sample to the client.
func (s *Sink) put(m metric.Sample, now time.Time) error {
	const everyOne = 1 // sample rate
	tags := metric.AllTags(s.tags, m)
	fresh := now.Sub(m.Time) < maxFresh
	switch {
	case m.Kind == metric.Count && fresh:
		return s.client.Count(m.Name, int64(m.Value), tags, everyOne)
	case m.Kind == metric.Count:
		return s.client.CountWithTimestamp(m.Name, int64(m.Value), tags, everyOne, m.Time)
	case fresh:
		return s.client.Gauge(m.Name, m.Value, tags, everyOne)
	default:
		return s.client.GaugeWithTimestamp(m.Name, m.Value, tags, everyOne, m.Time)
	}
}

// loss is what an error of the client or the socket means for samples.
func loss(samples []metric.Sample, err error) forward.Loss {
	l := forward.Loss{Samples: slices.Clone(samples), Reason: forward.Unreachable, Err: err, Retry: true}
	var tooLong statsd.MessageTooLongError
	var netErr net.Error
	switch {
	case errors.As(err, &tooLong), errors.Is(err, syscall.EMSGSIZE):
		l.Reason, l.Retry = forward.TooLarge, false
	case errors.As(err, &netErr) && netErr.Timeout():
		l.Reason = forward.Timeout
	}
	return l
}

// wire is the writer of the client. The client writes payloads in a goroutine of its own. From begin to lost, wire notes
// the result of each payload in order.
type wire struct {
	to       payloadWriter
	deadline time.Time
	payloads []payload
	err      error // reported by the client itself
}

// payload is the number of samples in one write and its error.
type payload struct {
	samples int
	err     error
}

func (w *wire) begin(ctx context.Context) {
	w.deadline, _ = ctx.Deadline()
	w.payloads = w.payloads[:0]
	w.err = nil
}

// Write implements io.Writer for the client. Every sample is one line.
func (w *wire) Write(p []byte) (int, error) {
	err := w.to.writePayload(p, w.deadline)
	w.payloads = append(w.payloads, payload{bytes.Count(p, []byte{'\n'}), err})
	if err != nil {
		return 0, err
	}
	return len(p), nil
}

// Close implements io.Closer for the client.
func (w *wire) Close() error { return w.to.Close() }

// clientError gets the errors that the client would print otherwise. Errors of Write are known already.
func (w *wire) clientError(err error) {
	var full *statsd.ErrorSenderChannelFull
	if errors.As(err, &full) {
		w.err = err
	}
}

// lost returns which of the samples since the last call were not written.
func (w *wire) lost(samples []metric.Sample) []forward.Loss {
	var losses []forward.Loss
	rest := samples
	for _, p := range w.payloads {
		n := min(p.samples, len(rest))
		if p.err != nil {
			losses = append(losses, loss(rest[:n], p.err))
		}
		rest = rest[n:]
	}
	w.payloads = w.payloads[:0]
	if len(rest) > 0 { // the client did not write them
		err := w.err
		if err == nil {
			err = errors.New("the DogStatsD client wrote fewer samples than it took")
		}
		losses = append(losses, loss(rest, err))
	}
	return losses
}
