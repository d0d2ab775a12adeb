package flows

import (
	"context"
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"socktally/flows/coverage"
	"socktally/record"
	"sync/atomic"
	"testing"
	"time"
)

func (ns *namespace) listenUDP(network, address string) *net.UDPConn {
	ns.t.Helper()
	var c net.PacketConn
	ns.do(func() (err error) {
		c, err = net.ListenPacket(network, address)
		return err
	})
	ns.t.Cleanup(func() { c.Close() })
	return c.(*net.UDPConn)
}

func (ns *namespace) dialUDP(network, address string) *net.UDPConn {
	ns.t.Helper()
	var c net.Conn
	ns.do(func() (err error) {
		c, err = net.Dial(network, address)
		return err
	})
	ns.t.Cleanup(func() { c.Close() })
	return c.(*net.UDPConn)
}

func udpPort(c *net.UDPConn) uint16 { return c.LocalAddr().(*net.UDPAddr).AddrPort().Port() }

// answer answers each datagram with as many bytes as its first two bytes say, and a shorter one with nothing. It counts
// what it receives.
func answer(c *net.UDPConn, received *talk) {
	buffer, reply := make([]byte, 1<<16), make([]byte, 1<<16)
	for {
		n, from, err := c.ReadFromUDPAddrPort(buffer)
		if err != nil {
			return
		}
		received.bytesUp.Add(uint64(n))
		received.packetsUp.Add(1)
		if n < 2 {
			continue
		}
		size := binary.BigEndian.Uint16(buffer)
		received.bytesDown.Add(uint64(size))
		received.packetsDown.Add(1)
		c.WriteToUDPAddrPort(reply[:size], from)
	}
}

// talk is what two ends have sent to each other, by their own counts.
type talk struct {
	bytesUp, bytesDown, packetsUp, packetsDown atomic.Uint64
}

func (t *talk) counters() record.Counters {
	return record.Counters{
		BytesSentByClient: t.bytesUp.Load(), BytesSentByServer: t.bytesDown.Load(),
		PacketsSentByClient: t.packetsUp.Load(), PacketsSentByServer: t.packetsDown.Load(),
	}
}

// ask sends a datagram of up bytes and awaits the answer of down. to is not valid for a connected
// socket.
func ask(c *net.UDPConn, to netip.AddrPort, up, down int) error {
	message := make([]byte, up)
	binary.BigEndian.PutUint16(message, uint16(down))
	var err error
	if to.IsValid() {
		_, err = c.WriteToUDPAddrPort(message, to)
	} else {
		_, err = c.Write(message)
	}
	if err != nil {
		return err
	}
	c.SetReadDeadline(time.Now().Add(patience))
	n, err := c.Read(make([]byte, 1<<16))
	if err == nil && n != down {
		err = fmt.Errorf("the answer has %d bytes, want %d", n, down)
	}
	return err
}

// tallyUDP tallies once: nothing is late, because a datagram is counted before it can be read.
func tallyUDP(t testing.TB, c *Counter, ports ...uint16) (record.Counters, []record.Flow) {
	t.Helper()
	got, err := c.Tally(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	var sum record.Counters
	var records []record.Flow
	for _, r := range got {
		for _, port := range ports {
			if r.Protocol == "udp" && r.Server.Port == port {
				records = append(records, r)
				sum = plus(sum, r.Counters)
			}
		}
	}
	return sum, records
}

func openUDPFor(t testing.TB, o Options) *Counter {
	t.Helper()
	c := openFor(t, o)
	needUDP(t, c)
	return c
}

func needUDP(t testing.TB, c *Counter) {
	t.Helper()
	if err := loadErrorOf(c, coverage.UDP); isRefused(err) {
		refused(t, "UDP", err)
	} else if err != nil {
		t.Fatal(err)
	}
}
