package flows

import (
	"context"
	"io"
	"testing"
)

// An open connection is told by differences: what it did since the last tally, and nothing when it
// did nothing.
func TestOpenConnection(t *testing.T) {
	client, server := newWire(t)
	counter := openFor(t, Options{Mode: EBPF})
	l := server.listen("tcp4", addrPort(serverIPv4, 0))
	c := client.dial("tcp4", l.Addr().String())
	s, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	say := func(from io.Writer, to io.Reader, n int) {
		from.Write(make([]byte, n))
		io.ReadFull(to, make([]byte, n))
	}
	say(c, s, 1000)
	sum, _ := tallyUntil(t, counter, port(l), 0)
	wantOutcome(t, sum, outcome{Up: 1000, Established: 1})
	say(c, s, 5)
	say(s, c, 7000)
	sum, _ = tallyUntil(t, counter, port(l), 0)
	wantOutcome(t, sum, outcome{Up: 5, Down: 7000})
	tallyUntil(t, counter, port(l), 0) // a last acknowledgement may have been late
	if _, records := tallyUntil(t, counter, port(l), 0); len(records) != 0 {
		t.Errorf("nothing happened: %+v", records)
	}
	c.CloseWrite()
	io.Copy(io.Discard, s)
	s.Close()
	sum, _ = tallyUntil(t, counter, port(l), 1)
	wantOutcome(t, sum, outcome{Closed: 1})
}

// The walk reads a busy socket without its lock.
func TestTalliesDuringTransfer(t *testing.T) {
	client, server := newWire(t)
	counter := openFor(t, Options{Mode: EBPF})
	l := server.listen("tcp4", addrPort(serverIPv4, 0))
	const n, m = 1<<30 + 12345, 1 << 28
	go exchange(l, m)
	c := client.dial("tcp4", l.Addr().String())
	done := make(chan struct{})
	go func() {
		defer close(done)
		upload(t, c, n)
	}()
	var sum Counters
	tallies := 0
	for transferring := true; transferring; tallies++ {
		select {
		case <-done:
			transferring = false
		default:
		}
		records, err := counter.Tally(context.Background())
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range records {
			if r.Server.Port != port(l) {
				continue
			}
			if r.BytesSentByClient > n || r.BytesSentByServer > m {
				t.Errorf("one interval has more than all: %+v", r.Counters)
			}
			sum = plus(sum, r.Counters)
		}
	}
	if sum.Closed == 0 {
		rest, _ := tallyUntil(t, counter, port(l), 1)
		sum = plus(sum, rest)
	}
	t.Logf("%d tallies", tallies)
	wantOutcome(t, sum, outcome{Up: n, Down: m, Established: 1, Closed: 1})
}
