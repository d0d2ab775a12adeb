package dogstatsd

import (
	"bytes"
	"fmt"
	"net"
	"testing"
	"time"

	"socktally/metric"
)

// TestManySamplesByUDP sends the samples of a large tally of flows. The receiver has the kernel's default buffer, and
// sometimes does not read for a moment, as on a busy host.
func TestManySamplesByUDP(t *testing.T) {
	c, err := net.ListenPacket("udp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	const n = 5000
	received := make(chan int, 1)
	var away time.Duration // the longest time from one datagram to the next
	go func() {
		lines, buf := 0, make([]byte, 1<<16)
		var last time.Time
		for datagrams := 0; lines < n; datagrams++ {
			c.SetReadDeadline(time.Now().Add(2 * time.Second))
			size, _, err := c.ReadFrom(buf)
			if err != nil {
				break
			}
			if datagrams > 0 {
				away = max(away, time.Since(last))
			}
			last = time.Now()
			lines += bytes.Count(buf[:size], []byte{'\n'})
			if datagrams%50 == 0 {
				time.Sleep(2 * time.Millisecond)
			}
		}
		received <- lines
	}()
	s, err := New("udp", c.LocalAddr().String(), own)
	if err != nil {
		t.Fatal(err)
	}
	samples := make([]metric.Sample, n)
	for i := range samples {
		samples[i] = metric.Sample{Name: metric.FlowBytesSent, Kind: metric.Count, Value: 1, Time: time.Now(), Tags: []string{
			"direction:outgoing", "protocol:tcp", "service:checkout", fmt.Sprintf("remote:192.0.2.%d", i), "server_port:443",
		}}
	}
	begin := time.Now()
	if losses := s.Send(t.Context(), samples); losses != nil {
		t.Errorf("lost %+v", losses)
	}
	took := time.Since(begin)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	got := <-received
	t.Logf("%d of %d samples came in %v", got, n, took)
	// If the machine was so busy that the receiver could not run for longer than that, the result says nothing about the
	// sender.
	if got != n && away < 20*time.Millisecond {
		t.Errorf("%d of %d samples came, and the receiver was away for %v at most", got, n, away)
	}
}
