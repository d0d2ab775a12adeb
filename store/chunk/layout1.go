package chunk

import (
	"encoding/binary"
	"hash/crc32"
	"socktally/record"
)

// Layout 1 had no names of columns. Its columns were these, in this order. After the columns of DNS came the latencies,
// without a form: for each record, both of its latencies.
var (
	layout1Flows = [...]string{
		"client_owner", "server_owner", "client_ip", "server_ip", "client_port", "server_port",
		"protocol", "family", "source", "direction", "server_domain",
		"bytes_sent_by_client", "bytes_sent_by_server", "packets_sent_by_client", "packets_sent_by_server",
		"rtt_sum", "rtt_samples", "tcp_retransmits", "tcp_established_connections", "tcp_closed_connections",
		"tcp_refusals", "tcp_timeouts", "tcp_unreachables", "tcp_resets",
		"tcp_delivered_ce", "tcp_reord_seen", "tcp_rcv_ooo_pack",
		"known", "tcp_rto_count", "tcp_recovery_count",
	}
	layout1DNS = [...]string{
		"client_owner", "server_owner", "client_ip", "server_ip", "client_port", "server_port",
		"protocol", "dns_query", "dns_qtype",
		"dns_total_requests", "dns_successful_responses", "dns_responses.nxdomain", "dns_responses.servfail",
		"dns_responses.other", "dns_timeouts",
	}
	// layout1Known are the sets of counters. The column known had the index of a set.
	layout1Known = [...]string{"", "tcp_rto_count", "tcp_recovery_count", "tcp_rto_count tcp_recovery_count"}
)

// layout1Checksum returns the checksum of the bytes after it. It does not protect the layout's number.
func layout1Checksum(payload []byte) uint32 {
	return crc32.Checksum(payload[headerSize:], crc32.MakeTable(crc32.Castagnoli))
}

// readLayout1 reads the body of a chunk of layout 1. Its order is: number of records, texts, addresses, owners, columns,
// latencies.
func (d *Decoder) readLayout1(body []byte, t *table, names []string) error {
	d.begin(body)
	rows := d.uvarint()
	if rows == 0 || rows > MaxRecords {
		return ErrDamaged
	}
	t.begin(int(rows))
	for n := d.count(); n > 0 && !d.bad; n-- {
		d.addText(d.bytes())
	}
	for n := d.count(); n > 0 && !d.bad; n-- {
		d.addAddr(d.bytes())
	}
	for n := d.count(); n > 0 && !d.bad; n-- {
		d.readOwner1()
	}
	for _, name := range names {
		switch c := t.byName[name]; {
		case c == nil: // a counter that this program no longer has
			d.next(1)
			d.bytes()
		case name == "known":
			d.readKnown1(c, t.rows)
		default:
			d.readColumn(c, t.rows)
		}
	}
	if t == d.dnsTable && !d.bad {
		d.readLatencies1(t)
		d.decideDirections1(t)
	}
	if d.bad {
		return ErrDamaged
	}
	d.start(t)
	return nil
}

func (d *Decoder) readOwner1() {
	var o record.Owner
	o.PID, o.CgroupID, o.NetNS = uint32(d.uvarint()), d.uvarint(), uint32(d.uvarint())
	for _, s := range [...]*string{&o.Process, &o.Service, &o.Env, &o.Version, &o.Cgroup, &o.ContainerID, &o.PodUID} {
		if n := d.uvarint(); n < uint64(len(d.texts)) {
			*s = d.texts[n]
		} else {
			d.fail()
		}
	}
	from := d.rest
	for n := d.count(); n > 0 && !d.bad; n-- {
		d.uvarint()
	}
	if d.bad {
		return
	}
	_, size := binary.Uvarint(from)
	o.Tags = d.list(from[size : len(from)-len(d.rest)])
	d.owners = append(d.owners, o)
}

// readKnown1 turns the index of a set into the number of a text, as layout 2 has it.
func (d *Decoder) readKnown1(c *cell, rows int) {
	first := uint64(len(d.texts))
	d.texts = append(d.texts, layout1Known[:]...)
	c.present = true
	c.numbers = d.numbers(c.numbers, rows)
	for i, n := range c.numbers {
		if n >= uint64(len(layout1Known)) {
			d.fail()
			return
		}
		c.numbers[i] = first + n
	}
}

// readLatencies1 separates the two latencies of each record into two columns.
func (d *Decoder) readLatencies1(t *table) {
	for i := range d.latencies {
		d.latencies[i] = d.latencies[i][:0]
	}
	for range t.rows {
		for i := range d.latencies {
			d.latencies[i] = appendBytes(d.latencies[i], d.bytes())
		}
	}
	for i, name := range [...]string{"dns_success_latency", "dns_failure_latency"} {
		c := t.byName[name]
		c.present, c.blobs = true, d.latencies[i]
	}
}

// decideDirections1 decides which ends were on this host, because layout 1 did not keep that: the ends with a known
// process. If neither has one, it is the client.
func (d *Decoder) decideDirections1(t *table) {
	knows := func(side string, row int) bool {
		owners := t.byName[side].numbers
		return d.owners[owners[min(row, len(owners)-1)]].PID != 0
	}
	outgoing := uint64(len(d.texts))
	d.texts = append(d.texts, string(record.Outgoing), string(record.Incoming), string(record.Local))
	c := t.byName["direction"]
	c.present, c.numbers = true, c.numbers[:0]
	for i := range t.rows {
		n := outgoing
		if knows("server_owner", i) {
			n++
			if knows("client_owner", i) {
				n++
			}
		}
		c.numbers = append(c.numbers, n)
	}
}
