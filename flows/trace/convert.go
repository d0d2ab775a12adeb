package trace

import (
	"net/netip"

	"socktally/bpf"
	"socktally/flows/end"
	"socktally/flows/process"
	"socktally/record"
)

// flowOf converts a flow from the structures of the BPF programs.
func flowOf(k *bpf.FlowsFlowKey, f *bpf.FlowsFlow, known record.Known) end.Flow {
	return end.Flow{
		Key: end.Key{
			Local: address(k.Local), Remote: address(k.Remote), Port: k.Port,
			Role: end.Role(k.Role), PeerIsLocal: k.PeerIsLocal != 0, PeerPID: k.PeerPid,
			Owner: process.Ref{PID: k.Pid, NetNS: k.Netns, StartID: k.StartId, CgroupID: k.Cgroup, Comm: f.Comm},
		},
		Counters: countersOf(f, end.Role(k.Role), known),
	}
}

func countersOf(f *bpf.FlowsFlow, role end.Role, known record.Known) record.Counters {
	c := record.Counters{
		BytesSentByClient:   notNegative(f.Sent),
		BytesSentByServer:   notNegative(f.Received),
		PacketsSentByClient: f.SegsOut,
		PacketsSentByServer: f.SegsIn,
		RTTSum:              f.RttSum,
		RTTSamples:          uint64(f.RttSamples),
		Retransmits:         uint64(f.Retransmits),
		Established:         uint64(f.Established),
		Closed:              uint64(f.Closed),
		Refusals:            uint64(f.Refused),
		Resets:              uint64(f.Reset),
		Timeouts:            uint64(f.TimedOut),
		Unreachables:        uint64(f.Unreachable),
		DeliveredCE:         uint64(f.DeliveredCe),
		ReordSeen:           uint64(f.ReordSeen),
		RcvOOOPack:          uint64(f.Ooo),
		RTOCount:            uint64(f.Rtos),
		RecoveryCount:       uint64(f.RtoRecoveries),
		Known:               known,
	}
	if role == end.Server {
		return c.Reversed()
	}
	return c
}

// overflowKeys are the keys that are in a table from the start.
func overflowKeys() []bpf.FlowsFlowKey {
	return []bpf.FlowsFlowKey{
		{Role: uint8(end.Client)},
		{Role: uint8(end.Server)},
		{Role: uint8(end.Server), PeerIsLocal: 1},
	}
}

// notNegative returns 0 for a negative number. A walk may count the peer's FIN as a byte: the kernel adds it to the bytes
// first and marks it as a FIN a moment later. The close subtracts it again. If that is all that happens in a later
// interval, the sum is -1.
func notNegative(n uint64) uint64 {
	if int64(n) < 0 {
		return 0
	}
	return n
}

// address converts an address. All zeros, as in the key of an overflow record, become the invalid address.
func address(a [16]byte) netip.Addr {
	if a == [16]byte{} {
		return netip.Addr{}
	}
	return netip.AddrFrom16(a).Unmap()
}
