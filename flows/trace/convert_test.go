package trace

import (
	"bytes"
	"encoding/binary"
	"net/netip"
	"testing"

	"socktally/bpf"
	"socktally/flows/coverage"
	"socktally/flows/end"
	"socktally/flows/process"
	"socktally/record"
)

// What the client sends, the server receives.
func TestFlowOf(t *testing.T) {
	raw := bpf.FlowsFlow{Sent: 1, Received: 2, SegsOut: 3, SegsIn: 4, Rtos: 5}
	key := bpf.FlowsFlowKey{
		Local: netip.MustParseAddr("10.0.0.1").As16(), Remote: netip.MustParseAddr("fd00::1").As16(), Port: 443, Pid: 7, Role: uint8(end.Client),
	}
	got := flowOf(&key, &raw, record.KnowsRTOCount)
	want := record.Counters{
		BytesSentByClient: 1, BytesSentByServer: 2, PacketsSentByClient: 3, PacketsSentByServer: 4, RTOCount: 5, Known: record.KnowsRTOCount,
	}
	if got.Counters != want || got.Local.String() != "10.0.0.1" || got.Remote.String() != "fd00::1" || got.Owner.PID != 7 || got.Overflow() {
		t.Errorf("got %+v", got)
	}
	key.Role, raw.Sent = uint8(end.Server), ^uint64(0) // -1: see notNegative
	got = flowOf(&key, &raw, 0)
	want = record.Counters{BytesSentByClient: 2, PacketsSentByClient: 4, PacketsSentByServer: 3, RTOCount: 5}
	if got.Counters != want {
		t.Errorf("got %+v", got)
	}
	for _, key := range overflowKeys() {
		if got := flowOf(&key, &raw, 0); !got.Overflow() {
			t.Errorf("got %+v", got)
		}
	}
}

// sample is a process as the programs write it to the ring buffer.
func sample(t *testing.T, p bpf.FlowsProcess, environ string, groups ...string) []byte {
	t.Helper()
	p.Size = uint32(len(environ))
	for i, g := range groups {
		copy(p.Cgroups[i][:], g)
	}
	var b bytes.Buffer
	if err := binary.Write(&b, binary.NativeEndian, p); err != nil {
		t.Fatal(err)
	}
	b.WriteString(environ + "what was there before")
	return b.Bytes()
}

func TestLearn(t *testing.T) {
	tracer := &Tracer{table: process.NewTable("/nonexistent", 8), report: &coverage.Report{}}
	const environ = "A=b\x00DD_SERVICE=shop\x00"
	tracer.learn(sample(t, bpf.FlowsProcess{Pid: 42, StartId: 9, Cgroup: 7, Total: uint32(len(environ))}, environ, "b.scope", "a.slice", "", ""))
	got := tracer.table.Describe(process.Ref{PID: 42, StartID: 9, CgroupID: 7})
	if got.Service != "shop" || got.Cgroup != "a.slice/b.scope" {
		t.Errorf("got %+v", got)
	}
	for _, bad := range [][]byte{nil, {1, 2}, sample(t, bpf.FlowsProcess{}, "")[:100]} {
		tracer.learn(bad)
	}
}
