package flows

import (
	"context"
	"socktally/record"
	"testing"
)

// A walk reads a busy socket without the lock of the socket.
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
	var sum record.Counters
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
