package dogstatsd

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"socktally/forward"
	"socktally/forward/forwardtest"
	"socktally/metric"
)

// receiver collects DogStatsD lines from a real socket.
type receiver struct {
	mu    sync.Mutex
	lines []string
	more  chan struct{}
}

func newReceiver() *receiver { return &receiver{more: make(chan struct{}, 1)} }

func (r *receiver) add(payload []byte) {
	r.mu.Lock()
	r.lines = append(r.lines, strings.Split(strings.TrimSuffix(string(payload), "\n"), "\n")...)
	r.mu.Unlock()
	select {
	case r.more <- struct{}{}:
	default:
	}
}

func (r *receiver) Received(t *testing.T, n int) []metric.Sample {
	t.Helper()
	timeout := time.After(time.Minute)
	for {
		r.mu.Lock()
		lines := r.lines
		r.mu.Unlock()
		if len(lines) >= n {
			samples := make([]metric.Sample, 0, len(lines))
			for _, l := range lines {
				samples = append(samples, parseLine(t, l))
			}
			return samples
		}
		select {
		case <-r.more:
		case <-timeout:
			t.Fatalf("received %d of %d lines", len(lines), n)
		}
	}
}

// parseLine parses a line. Its tags must be own:tag and then those of the sample. A line without a timestamp has the time
// of its arrival.
func parseLine(t *testing.T, line string) metric.Sample {
	t.Helper()
	var s metric.Sample
	parts := strings.Split(line, "|")
	name, value, _ := strings.Cut(parts[0], ":")
	s.Name = name
	var err error
	if s.Value, err = strconv.ParseFloat(value, 64); err != nil {
		t.Fatalf("line %q: %v", line, err)
	}
	switch parts[1] {
	case "g":
	case "c":
		s.Kind = metric.Count
	default:
		t.Fatalf("line %q has an unknown type", line)
	}
	s.Time = time.Now()
	for _, p := range parts[2:] {
		switch p[0] {
		case '#':
			tags := strings.Split(p[1:], ",")
			if tags[0] != "own:tag" {
				t.Fatalf("line %q lacks the sink's tag", line)
			}
			if len(tags) > 1 {
				s.Tags = tags[1:]
			}
		case 'T':
			seconds, err := strconv.ParseInt(p[1:], 10, 64)
			if err != nil {
				t.Fatalf("line %q: %v", line, err)
			}
			s.Time = time.Unix(seconds, 0)
		}
	}
	return s
}

func listen(t *testing.T, network, address string) (string, *receiver) {
	t.Helper()
	r := newReceiver()
	if network == "unix" {
		l, err := net.Listen(network, address)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { l.Close() })
		go func() {
			for {
				c, err := l.Accept()
				if err != nil {
					return
				}
				go readFrames(c, r)
			}
		}()
		return address, r
	}
	c, err := net.ListenPacket(network, address)
	if err != nil {
		t.Skipf("cannot listen: %v", err)
	}
	t.Cleanup(func() { c.Close() })
	go func() {
		buf := make([]byte, 1<<16)
		for {
			n, _, err := c.ReadFrom(buf)
			if err != nil {
				return
			}
			r.add(buf[:n])
		}
	}()
	return c.LocalAddr().String(), r
}

func readFrames(c net.Conn, r *receiver) {
	defer c.Close()
	for {
		var length uint32
		if binary.Read(c, binary.LittleEndian, &length) != nil {
			return
		}
		payload := make([]byte, length)
		if _, err := io.ReadFull(c, payload); err != nil {
			return
		}
		r.add(payload)
	}
}

var own = Options{Tags: []string{"own:tag"}}

func open(t *testing.T, network, target string) *Sink {
	t.Helper()
	s, err := New(network, target, own)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func TestConformance(t *testing.T) {
	for _, test := range []struct{ name, listen, address, network string }{
		{"udp4", "udp4", "127.0.0.1:0", "udp"},
		{"udp6", "udp6", "[::1]:0", "udp"},
		{"unix datagram", "unixgram", "dsd.sock", "unixgram"},
		{"unix stream", "unix", "dsd.sock", "unixstream"},
		{"unix datagram, found out", "unixgram", "dsd.sock", "unix"},
		{"unix stream, found out", "unix", "dsd.sock", "unix"},
	} {
		t.Run(test.name, func(t *testing.T) {
			forwardtest.Run(t, func(t *testing.T) (forward.Sink, forwardtest.Receiver) {
				address := test.address
				if strings.HasPrefix(test.listen, "unix") {
					address = filepath.Join(t.TempDir(), address)
				}
				target, r := listen(t, test.listen, address)
				return open(t, test.network, target), r
			})
		})
	}
	t.Run("writer", func(t *testing.T) {
		forwardtest.Run(t, func(t *testing.T) (forward.Sink, forwardtest.Receiver) {
			r := newReceiver()
			s, err := NewWriter("stdout", writerFunc(r.add), own)
			if err != nil {
				t.Fatal(err)
			}
			return s, r
		})
	})
}

type writerFunc func([]byte)

func (f writerFunc) Write(p []byte) (int, error) { f(p); return len(p), nil }

func TestDeadReceiver(t *testing.T) {
	t.Run("udp port", func(t *testing.T) {
		c, err := net.ListenPacket("udp4", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		c.Close()
		forwardtest.Loses(t, open(t, "udp", c.LocalAddr().String()), forward.Unreachable, true)
	})
	t.Run("no socket", func(t *testing.T) {
		forwardtest.Loses(t, open(t, "unix", filepath.Join(t.TempDir(), "none")), forward.Unreachable, true)
	})
	t.Run("plain file", func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "file")
		if err := os.WriteFile(path, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		forwardtest.Loses(t, open(t, "unix", path), forward.Unreachable, true)
	})
	t.Run("unknown host", func(t *testing.T) {
		forwardtest.Loses(t, open(t, "udp", "receiver.invalid:8125"), forward.Unreachable, true)
	})
	t.Run("writer", func(t *testing.T) {
		r, w := io.Pipe()
		r.CloseWithError(errors.New("nobody reads"))
		s, err := NewWriter("stdout", w, own)
		if err != nil {
			t.Fatal(err)
		}
		forwardtest.Loses(t, s, forward.Unreachable, true)
	})
}

// TestHungReceiver fills the buffer of a datagram socket that nobody reads, so that the next write has to wait.
func TestHungReceiver(t *testing.T) {
	path := filepath.Join(t.TempDir(), "hung")
	c, err := net.ListenPacket("unixgram", path)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	filler, err := net.Dial("unixgram", path)
	if err != nil {
		t.Fatal(err)
	}
	defer filler.Close()
	for {
		if err := filler.SetWriteDeadline(time.Now().Add(50 * time.Millisecond)); err != nil {
			t.Fatal(err)
		}
		if _, err := filler.Write([]byte("x")); err != nil {
			break
		}
	}
	forwardtest.Loses(t, open(t, "unixgram", path), forward.Timeout, true)
}

func TestReceiverThatComesBack(t *testing.T) {
	path := filepath.Join(t.TempDir(), "dsd.sock")
	s := open(t, "unix", path)
	sample := []metric.Sample{{Name: "sockstat.tcp.inuse", Value: 1, Time: time.Now()}}
	if lost := s.Send(t.Context(), sample); len(lost) != 1 {
		t.Fatalf("before the receiver is there, Send lost %v", lost)
	}
	_, r := listen(t, "unixgram", path)
	if lost := s.Send(t.Context(), sample); lost != nil {
		t.Fatalf("once the receiver is there, Send lost %v", lost)
	}
	r.Received(t, 1)
}

// TestOnlyLostPayloadIsReported sends one sample that is too large for a payload, between others.
func TestOnlyLostPayloadIsReported(t *testing.T) {
	target, r := listen(t, "udp4", "127.0.0.1:0")
	s := open(t, "udp", target)
	now := time.Now()
	huge := metric.Sample{Name: "sockstat.tcp.tw", Value: 2, Time: now, Tags: []string{"t:" + strings.Repeat("x", 2000)}}
	lost := s.Send(t.Context(), []metric.Sample{
		{Name: "sockstat.tcp.inuse", Value: 1, Time: now}, huge, {Name: "sockstat.udp.inuse", Value: 3, Time: now},
	})
	if len(lost) != 1 || len(lost[0].Samples) != 1 || lost[0].Samples[0].Name != huge.Name || lost[0].Reason != forward.TooLarge || lost[0].Retry {
		t.Fatalf("Send lost %+v, want the sample that is too large and no other", lost)
	}
	if got := r.Received(t, 2); len(got) != 2 {
		t.Errorf("received %v", got)
	}
}

func TestAcknowledged(t *testing.T) {
	for network, want := range map[string]bool{"udp": false, "unix": true, "unixgram": true, "unixstream": true} {
		if got := open(t, network, "127.0.0.1:1").Acknowledged(); got != want {
			t.Errorf("%s: Acknowledged() = %v, want %v", network, got, want)
		}
	}
}

// TestEnvironmentTags has the variables from which the client would add tags to every line.
func TestEnvironmentTags(t *testing.T) {
	t.Setenv("DD_ENV", "prod")
	t.Setenv("DD_SERVICE", "edge")
	var out bytes.Buffer
	s, err := NewWriter("stdout", &out, Options{Tags: []string{"env:prod", "service:edge", "team:net"}})
	if err != nil {
		t.Fatal(err)
	}
	s.Send(t.Context(), []metric.Sample{
		{Name: "sockstat.tcp.inuse", Value: 1, Time: time.Now()},
		{Name: metric.FlowReset, Kind: metric.Count, Value: 2, Time: time.Now(), Tags: []string{"service:db"}},
		{Name: metric.FlowReset, Kind: metric.Count, Value: 3, Time: time.Now(), Tags: []string{"env:n/a", "remote:x"}},
	})
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	want := "sockstat.tcp.inuse:1|g|#env:prod,service:edge,team:net\n" +
		"socktally.flow.reset:2|c|#env:prod,team:net,service:db\n" +
		"socktally.flow.reset:3|c|#team:net,env:n/a,remote:x\n"
	if got := out.String(); got != want {
		t.Errorf("got  %q\nwant %q", got, want)
	}
	if os.Getenv("DD_ENV") != "prod" || os.Getenv("DD_SERVICE") != "edge" {
		t.Error("the environment has changed")
	}
}

func BenchmarkSend(b *testing.B) {
	s, err := NewWriter("discard", io.Discard, own)
	if err != nil {
		b.Fatal(err)
	}
	samples := make([]metric.Sample, 40)
	for i := range samples {
		samples[i] = metric.Sample{Name: "sockstat.tcp.inuse", Value: float64(i), Time: time.Now()}
	}
	b.ReportAllocs()
	for b.Loop() {
		s.Send(b.Context(), samples)
	}
}
