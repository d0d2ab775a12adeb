package flows

import (
	"io"
	"os"
	"socktally/record"
	"testing"
)

// A connection that is open at two polls is counted as the tracer counts it. One that is open at no poll is not counted.
func TestSockDiag(t *testing.T) {
	client, server := newWire(t)
	l := server.listen("tcp", "[::]:0")
	old := client.dial("tcp4", addrPort(serverIPv4, port(l)))
	oldServer, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	old.Write(make([]byte, 1000))
	io.ReadFull(oldServer, make([]byte, 1000))

	counter := openFor(t, Options{Mode: SockDiag})
	old.Write(make([]byte, 30))
	io.ReadFull(oldServer, make([]byte, 30))
	young := client.dial("tcp6", addrPort(serverIPv6, port(l)))
	youngServer, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	young.Write(make([]byte, 400))
	io.ReadFull(youngServer, make([]byte, 400))
	youngServer.Write(make([]byte, 5000))
	io.ReadFull(young, make([]byte, 5000))

	sum, records := tallyUntil(t, counter, port(l), 0)
	wantOutcome(t, sum, outcome{Up: 430, Down: 5000, Established: 1})
	for _, r := range records {
		if r.Direction != record.Local || r.Source != record.FromSockDiag ||
			r.Client.Owner.PID != uint32(os.Getpid()) || r.Server.Owner.PID != uint32(os.Getpid()) {
			t.Errorf("got %+v", r)
		}
	}

	// The last byte, and a whole short connection, are sent between two polls.
	young.Write(make([]byte, 1))
	young.Close()
	io.Copy(io.Discard, youngServer)
	youngServer.Close()
	go exchange(l, 10)
	upload(t, client.dial("tcp4", addrPort(serverIPv4, port(l))), 10)
	sum, _ = tallyUntil(t, counter, port(l), 1)
	wantOutcome(t, sum, outcome{Closed: 1})
}

// The same scenarios as for the tracer. An attempt that fails is not counted. If a connection ends between two polls, its
// last bytes and the reason of its end are not counted.
func TestSockDiagMissesFailuresAndEndings(t *testing.T) {
	client, server := newWire(t)
	counter := openFor(t, Options{Mode: SockDiag})
	for _, tc := range failures {
		t.Run(tc.name, func(t *testing.T) {
			client.fail(t, server, tc.rule, tc.address)
			sum, _ := tallyUntil(t, counter, 7, 0)
			wantOutcome(t, sum, outcome{})
		})
	}
	for _, tc := range endings(server) {
		t.Run(tc.name, func(t *testing.T) {
			l := server.listen("tcp4", addrPort(serverIPv4, 0))
			var begin record.Counters
			tc.play(t, client, server, l, func() { begin, _ = tallyUntil(t, counter, port(l), 0) })
			end, _ := tallyUntil(t, counter, port(l), 1)
			wantOutcome(t, plus(begin, end), outcome{Up: 1000, Established: 1, Closed: 1})
		})
	}
}
